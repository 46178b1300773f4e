//! What counts of an object: programs, maps, constants, licence.
//!
//! Knows nothing of debug information, and nothing of what differs between two objects.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind, read::elf::ElfFile64,
};

/// Bytes of one BPF instruction.
pub(crate) const INSTRUCTION: usize = 8;

/// An object, by the names of its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The `license` section without its NUL.
    pub(crate) licence: String,
    /// By section name; `.text` holds what the programs share.
    pub(crate) programs: BTreeMap<String, Program>,
    /// By name.
    pub(crate) maps: BTreeMap<String, Map>,
    /// `.rodata` and its like: the bytes by section name.
    pub(crate) constants: BTreeMap<String, Vec<u8>>,
}

/// The code of one section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// As they are before relocation.
    pub(crate) instructions: Vec<u8>,
    /// Offset in bytes to the name that the instruction there refers to.
    pub(crate) references: BTreeMap<u64, String>,
}

/// A map definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// BPF_MAP_TYPE_*.
    pub(crate) map_type: u32,
    /// Bytes.
    pub(crate) key_size: u32,
    /// Bytes.
    pub(crate) value_size: u32,
    /// Entries; bytes for a ring buffer.
    pub(crate) max_entries: u32,
    /// BPF_F_*.
    pub(crate) flags: u32,
}

impl Contents {
    /// Reads an ELF object.
    pub(crate) fn read(data: &[u8]) -> Result<Self> {
        let elf = ElfFile64::<Endianness>::parse(data).context("not an ELF object")?;
        let mut contents =
            Self { licence: String::new(), programs: BTreeMap::new(), maps: maps(data)?, constants: BTreeMap::new() };
        for section in elf.sections() {
            let name = section.name()?.to_owned();
            if name == "license" {
                contents.licence = String::from_utf8_lossy(section.data()?).trim_end_matches('\0').to_owned();
            } else if section.kind() == SectionKind::Text && section.size() > 0 {
                let mut references = BTreeMap::new();
                for (offset, relocation) in section.relocations() {
                    references.insert(offset, referred(&elf, relocation.target())?);
                }
                contents.programs.insert(name, Program { instructions: section.data()?.to_owned(), references });
            } else if [".rodata", ".data", ".bss"].iter().any(|prefix| name.starts_with(prefix)) {
                contents.constants.insert(name, section.data()?.to_owned());
            }
        }
        Ok(contents)
    }
}

/// The name of a symbol, or of the section that a nameless one stands for.
fn referred(elf: &ElfFile64<'_, Endianness>, target: RelocationTarget) -> Result<String> {
    let RelocationTarget::Symbol(index) = target else { return Ok(format!("{target:?}")) };
    let symbol = elf.symbol_by_index(index)?;
    match (symbol.name()?, symbol.section_index()) {
        ("", Some(section)) => Ok(elf.section_by_index(section)?.name()?.to_owned()),
        (name, _) => Ok(name.to_owned()),
    }
}

fn maps(data: &[u8]) -> Result<BTreeMap<String, Map>> {
    let parsed = aya_obj::Object::parse(data).context("aya does not read the object")?;
    let defined = parsed.maps.iter().filter(|(name, _)| !name.starts_with('.'));
    Ok(defined
        .map(|(name, map)| {
            let map = Map {
                map_type: map.map_type(),
                key_size: map.key_size(),
                value_size: map.value_size(),
                max_entries: map.max_entries(),
                flags: map.map_flags(),
            };
            (name.clone(), map)
        })
        .collect())
}
