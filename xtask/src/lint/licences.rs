//! Licences of the dependencies: each offers one that is on the list.

use spdx::{Expression, LicenseReq, ParseMode};

use super::tree::Finding;
use crate::workspace::Package;

/// SPDX names that a dependency may have.
const ALLOWED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    // Root certificates as data; in the lock file for other systems than Linux.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    // LLVM's own, of libFuzzer.
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The packages of the lock file `lock` with no licence on the list.
pub(crate) fn findings(lock: &str, packages: &[Package]) -> Vec<Finding> {
    let refused = packages.iter().filter_map(|package| Some((package, refusal(package.license.as_deref())?)));
    refused
        .map(|(package, why)| Finding::new(lock, 1, format!("{} {}: {why}", package.name, package.version)))
        .collect()
}

/// Why a package under `license` may not be used.
fn refusal(license: Option<&str>) -> Option<String> {
    let Some(license) = license else { return Some("names no licence".to_owned()) };
    match Expression::parse_mode(license, ParseMode::LAX) {
        Ok(expression) if expression.evaluate(allowed) => None,
        Ok(_) => Some(format!("{license} is not on the list of licences")),
        Err(_) => Some(format!("{license:?} is no SPDX expression")),
    }
}

/// An exception (`WITH …`) only ever permits more.
fn allowed(required: &LicenseReq) -> bool {
    required.license.id().is_some_and(|id| ALLOWED.contains(&id.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_permissive_licences_is_none() {
        for license in [
            "MIT",
            // LLVM's own, of libFuzzer.
            "NCSA",
            "MIT/Apache-2.0",
            "MIT OR LGPL-2.1-or-later",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert_eq!(refusal(Some(license)), None, "{license}");
        }
    }

    #[test]
    fn refusal_other_licences_is_given() {
        for license in ["MPL-2.0", "GPL-2.0-only", "MIT AND MPL-2.0", "LicenseRef-own", "whatever you like"] {
            assert!(refusal(Some(license)).is_some(), "{license}");
        }
        assert!(refusal(None).is_some());
    }
}
