//! Takes the DWARF out of an object: the kernel and aya read BTF, which bpf-linker has made of it.
//!
//! DWARF is also the only part that depends on where the checkout lies: it spells crate hashes, into which cargo mixes
//! the absolute path of a dependency outside the workspace.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// `object` without its `.debug_*` sections and what refers to them.
pub(crate) fn without_dwarf(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("bpf-linker wrote no ELF object")?;
    let mut has_section_names = false;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
        has_section_names |= matches!(section.data, SectionData::SectionString);
    }
    builder.delete_orphans();
    if !has_section_names {
        // LLVM keeps the names of sections and symbols in one table, the writer in two.
        let names = builder.sections.add();
        names.name = ".shstrtab".into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("the object without DWARF")?;
    Ok(stripped)
}
