//! A pod's UID, as the API, the kubelet's directories and cgroup names spell it.
//!
//! Knows nothing of pods. Kubernetes writes a UID as a UUID; the systemd cgroup driver turns its dashes into underscores,
//! and a static pod's is the MD5 of its manifest, 32 digits without any (pkg/kubelet/config/common.go). All spell 128 bits.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A pod's UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(Uuid);

/// Text that spells no UID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pod UID: 32 hexadecimal digits, or a UUID with - or _ between its groups")]
pub struct PodUidError(String);

impl PodUid {
    /// Nobody's.
    pub const NIL: Self = Self(Uuid::nil());
}

impl FromStr for PodUid {
    type Err = PodUidError;

    fn from_str(text: &str) -> Result<Self, PodUidError> {
        // A Uuid is also read from braces and as a URN, which are longer.
        let spelled = matches!(text.len(), 32 | 36) && !(text.contains('-') && text.contains('_'));
        let uuid = spelled.then(|| Uuid::try_parse(&text.replace('_', "-")).ok()).flatten();
        uuid.map(Self).ok_or_else(|| PodUidError(text.to_owned()))
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_in_every_spelling_is_the_same() {
        let spellings = [
            "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
            "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9",
            "0A1B2C3D4e5f60718293a4b5c6d7e8f9",
        ];
        for spelling in spellings {
            let uid: PodUid = spelling.parse().unwrap();
            assert_eq!(uid.to_string(), spellings[0]);
        }
    }

    #[test]
    fn uid_of_another_form_is_refused_with_its_text() {
        for text in [
            "",
            "pod",
            "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f",
            "0a1b2c3d-4e5f_6071-8293-a4b5c6d7e8f9",
            "0a1b2c3d4-e5f-6071-8293-a4b5c6d7e8f9",
            "+a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "0a1b2c3d4e5f60718293a4b5c6d7e8f90",
            "{0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9}",
            "urn:uuid:0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
        ] {
            let error = text.parse::<PodUid>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
