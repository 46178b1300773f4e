//! Which of the kernels that a suite offers is the wanted one.
//!
//! Decides purely: what is offered is text that apt-cache wrote.

use std::cmp::Reverse;

use super::{
    arch::Arch,
    pins::{NEWEST, Pin},
};

/// Debian's kernel for virtual machines: it has fewer drivers than the others, and the same network.
pub(crate) const FLAVOUR: &str = "cloud";

/// Packages that a kernel may consist of: up to 7.1 one that has everything, later several.
const PARTS: [&str; 4] = ["image", "binary", "modules", "base"];

/// A kernel that a suite has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// As in [`Pin`].
    pub(crate) release: String,
    /// As in [`Pin`].
    pub(crate) version: String,
    /// `NAME=VERSION` of each.
    pub(crate) packages: Vec<String>,
}

/// The kernels in the output of `apt-cache madison`: lines `NAME | VERSION | SOURCE`.
pub(crate) fn offered(madison: &str, arch: Arch) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for line in madison.lines() {
        let mut fields = line.split('|').map(str::trim);
        let (Some(name), Some(version)) = (fields.next(), fields.next()) else { continue };
        let name = name.split(':').next().unwrap_or(name);
        let Some(release) = release(name, arch) else { continue };
        let package = format!("{name}={version}");
        match offers.iter_mut().find(|offer| offer.release == release && offer.version == version) {
            Some(offer) => offer.packages.push(package),
            None => offers.push(Offer { release, version: version.to_owned(), packages: vec![package] }),
        }
    }
    // A part alone is no kernel.
    offers.retain(|offer| offer.packages.iter().any(|package| package.starts_with("linux-image-")));
    offers
}

/// The release whose part the package `name` is; none of a package that only depends on the latest.
pub(crate) fn release(name: &str, arch: Arch) -> Option<String> {
    let rest = name.strip_prefix("linux-")?.strip_suffix(&format!("-{FLAVOUR}-{}", arch.debian()))?;
    let release = PARTS.iter().find_map(|part| rest.strip_prefix(part)?.strip_prefix('-'))?;
    let begins_with_digit = release.starts_with(|letter: char| letter.is_ascii_digit());
    (begins_with_digit && numbers(release).len() > 2).then(|| release.to_owned())
}

/// Those of `offers` that `pin` stands for, the best first: the pinned one, then the latest of its series.
pub(crate) fn choose(offers: &[Offer], pin: &Pin) -> Vec<Offer> {
    let is_newest = pin.name == NEWEST;
    let mut chosen: Vec<_> = offers.iter().filter(|offer| is_newest || in_series(&offer.release, &pin.name)).collect();
    let pinned = |offer: &Offer| !is_newest && offer.release == pin.release && offer.version == pin.version;
    chosen.sort_by_key(|offer| Reverse((pinned(offer), numbers(&offer.release), numbers(&offer.version))));
    chosen.into_iter().cloned().collect()
}

/// Whether "6.1.0-56" is of the series "6.1".
fn in_series(release: &str, series: &str) -> bool {
    numbers(release).starts_with(&numbers(series))
}

/// The numbers in a text, by which versions are compared.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADISON: &str = "
linux-image-6.1.0-55-cloud-amd64 |  6.1.190-1 | http://mirror.example/security s/main amd64 Packages
linux-image-6.1.0-56-cloud-amd64 |  6.1.192-2 | http://mirror.example/security s/main amd64 Packages
linux-image-6.18.15+deb13-cloud-amd64 | 6.18.15-1~bpo13+1 | http://mirror.example b/main amd64 Packages
linux-image-6.18.9+deb13-cloud-amd64 | 6.18.9-1~bpo13+1 | http://mirror.example b/main amd64 Packages
linux-image-7.3.4+deb13-cloud-amd64 | 7.3.4-1~bpo13+1 | http://mirror.example b/main amd64 Packages
linux-binary-7.3.4+deb13-cloud-amd64 | 7.3.4-1~bpo13+1 | http://mirror.example b/main amd64 Packages
linux-modules-7.3.4+deb13-cloud-amd64 | 7.3.4-1~bpo13+1 | http://mirror.example b/main amd64 Packages
linux-modules-7.3.5+deb13-cloud-amd64 | 7.3.5-1~bpo13+1 | http://mirror.example b/main amd64 Packages
";

    fn chosen(name: &str, release: &str, version: &str) -> Option<String> {
        let pin = Pin { name: name.into(), suite: "s".into(), release: release.into(), version: version.into() };
        choose(&offered(MADISON, Arch::X86_64), &pin).into_iter().map(|offer| offer.release).next()
    }

    #[test]
    fn choose_pinned_one_is_taken_although_there_is_a_later_one() {
        assert_eq!(chosen("6.1", "6.1.0-55", "6.1.190-1").unwrap(), "6.1.0-55");
    }

    #[test]
    fn choose_pinned_one_is_gone_takes_the_latest_of_its_series() {
        assert_eq!(chosen("6.18", "6.18.7+deb13", "6.18.7-1").unwrap(), "6.18.15+deb13");
        assert_eq!(chosen("6.1", "6.1.0-56", "6.1.192-1").unwrap(), "6.1.0-56");
        assert_eq!(chosen("6.12", "6.12.1+deb13", "6.12.1-1"), None);
    }

    #[test]
    fn choose_newest_is_the_latest_whatever_is_pinned() {
        assert_eq!(chosen("newest", "6.18.15+deb13", "6.18.15-1~bpo13+1").unwrap(), "7.3.4+deb13");
    }

    #[test]
    fn offered_kernel_in_parts_is_one_offer() {
        let offers = offered(MADISON, Arch::X86_64);
        assert_eq!(offers.len(), 5);
        assert_eq!(offers[4].packages.len(), 3);
        assert_eq!(offers[4].packages[1], "linux-binary-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1");
    }

    #[test]
    fn release_of_other_packages_is_none() {
        for name in [
            "linux-image-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
            "linux-headers-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-cloud-arm64",
        ] {
            assert_eq!(release(name, Arch::X86_64), None, "{name}");
        }
        assert_eq!(release("linux-image-6.1.0-56-cloud-arm64", Arch::Aarch64).unwrap(), "6.1.0-56");
    }
}
