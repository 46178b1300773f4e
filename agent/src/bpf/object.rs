//! The eBPF object: the one that was built in, or another file of the same ABI.
//!
//! Knows nothing of loading it.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use conngate_common::ABI_VERSION;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

/// The committed object; build.rs has checked its source digest.
static BUILT_IN: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bpf/object/conngate.bpf.o"));

/// The digest of the sources that the built-in object is made of.
pub const SOURCES: &str = include_str!("object/conngate.bpf.sha256");

/// The symbol that carries the ABI version, a `u32` in .rodata.
const ABI_SYMBOL: &str = "CONNGATE_ABI";

/// Why an object cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The file cannot be read.
    #[error("cannot read the eBPF object {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not an ELF file.
    #[error("{origin} is not an eBPF object")]
    NotAnObject {
        /// Which object.
        origin: String,
        /// Why.
        source: object::Error,
    },
    /// It is an ELF file of something else.
    #[error("{origin} is not a conngate object: it has no symbol {ABI_SYMBOL}")]
    NoAbi {
        /// Which object.
        origin: String,
    },
    /// Its layouts are not ours.
    #[error("{origin} has ABI {found}, this conngate needs ABI {ABI_VERSION}: use the object of the same release")]
    OtherAbi {
        /// Which object.
        origin: String,
        /// Its ABI.
        found: u32,
    },
}

/// An object whose ABI is ours.
#[derive(Debug)]
pub struct Object(Cow<'static, [u8]>);

impl Object {
    /// The built-in object, or the one in `file`.
    ///
    /// # Errors
    /// When the file cannot be read, is no object of ours, or has another ABI.
    pub fn open(file: Option<&Path>) -> Result<Self, ObjectError> {
        let (bytes, origin) = match file {
            None => (Cow::Borrowed(BUILT_IN), "the built-in object".to_owned()),
            Some(path) => {
                let bytes =
                    std::fs::read(path).map_err(|source| ObjectError::Read { path: path.to_owned(), source })?;
                (Cow::Owned(bytes), format!("the eBPF object {}", path.display()))
            }
        };
        match abi(&bytes) {
            Err(source) => Err(ObjectError::NotAnObject { origin, source }),
            Ok(None) => Err(ObjectError::NoAbi { origin }),
            Ok(Some(ABI_VERSION)) => Ok(Self(bytes)),
            Ok(Some(found)) => Err(ObjectError::OtherAbi { origin, found }),
        }
    }

    /// The ELF bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn abi(bytes: &[u8]) -> Result<Option<u32>, object::Error> {
    let file = object::File::parse(bytes)?;
    let Some(symbol) = file.symbols().find(|symbol| symbol.name() == Ok(ABI_SYMBOL)) else { return Ok(None) };
    let Some(section) = symbol.section_index() else { return Ok(None) };
    let section = file.section_by_index(section)?;
    let value = section.data_range(symbol.address(), 4)?;
    Ok(value.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_built_in_has_our_abi() {
        assert!(Object::open(None).is_ok());
    }

    #[test]
    fn object_of_another_abi_is_refused_by_name_and_number() {
        let other = ABI_VERSION + 7;
        let mut bytes = BUILT_IN.to_vec();
        let file = object::File::parse(BUILT_IN).unwrap();
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(ABI_SYMBOL)).unwrap();
        let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
        let at = usize::try_from(section.file_range().unwrap().0 + symbol.address()).unwrap();
        bytes[at..at + 4].copy_from_slice(&other.to_le_bytes());
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), bytes).unwrap();
        let error = Object::open(Some(path.path())).unwrap_err().to_string();
        assert!(error.contains(&format!("has ABI {other}")), "{error}");
        assert!(error.contains(&path.path().display().to_string()), "{error}");
    }

    #[test]
    fn object_that_is_something_else_is_refused() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), b"not an object").unwrap();
        assert!(matches!(Object::open(Some(path.path())), Err(ObjectError::NotAnObject { .. })));
        let own = std::env::current_exe().unwrap();
        assert!(matches!(Object::open(Some(&own)), Err(ObjectError::NoAbi { .. })));
        assert!(matches!(Object::open(Some(Path::new("/nonexistent"))), Err(ObjectError::Read { .. })));
    }
}
