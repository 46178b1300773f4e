//! What differs between two objects, in words.

use std::{collections::BTreeMap, fmt::Debug};

use super::contents::{Contents, INSTRUCTION, Program};

/// One line per difference; none where the two are worth the same.
pub(crate) fn differences(committed: &Contents, built: &Contents) -> Vec<String> {
    let mut found = Vec::new();
    if committed.licence != built.licence {
        found.push(format!("licence: committed {:?}, built {:?}", committed.licence, built.licence));
    }
    found.extend(by_name("program", &committed.programs, &built.programs, program));
    found.extend(by_name("map", &committed.maps, &built.maps, |old, new| format!("committed {old:?}, built {new:?}")));
    found.extend(by_name("constants", &committed.constants, &built.constants, |old, new| {
        format!("committed {old:02x?}, built {new:02x?}")
    }));
    found
}

fn by_name<T: PartialEq>(
    kind: &str,
    committed: &BTreeMap<String, T>,
    built: &BTreeMap<String, T>,
    how: impl Fn(&T, &T) -> String,
) -> Vec<String> {
    let mut found = Vec::new();
    for (name, old) in committed {
        match built.get(name) {
            None => found.push(format!("{kind} {name}: no longer built")),
            Some(new) if new != old => found.push(format!("{kind} {name}: {}", how(old, new))),
            Some(_) => {}
        }
    }
    let added = built.keys().filter(|name| !committed.contains_key(*name));
    found.extend(added.map(|name| format!("{kind} {name}: not in the committed object")));
    found
}

fn program(committed: &Program, built: &Program) -> String {
    let (old, new) = (&committed.instructions, &built.instructions);
    if old.len() != new.len() {
        return format!("committed {} instructions, built {}", old.len() / INSTRUCTION, new.len() / INSTRUCTION);
    }
    let pairs = old.chunks(INSTRUCTION).zip(new.chunks(INSTRUCTION)).enumerate();
    let mut others = pairs.filter(|(_, (old, new))| old != new);
    if let Some((at, (old, new))) = others.next() {
        return format!("instruction {at} is {}, built {} ({} more differ)", hex(old), hex(new), others.count());
    }
    refers(&committed.references, &built.references)
}

fn refers<T: Debug + PartialEq>(committed: &BTreeMap<u64, T>, built: &BTreeMap<u64, T>) -> String {
    let offsets = committed.keys().chain(built.keys());
    let first = offsets.filter(|at| committed.get(at) != built.get(at)).min().copied().unwrap_or_default();
    let at = first / INSTRUCTION as u64;
    format!("instruction {at} refers to {:?}, built {:?}", committed.get(&first), built.get(&first))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build_ebpf::contents::Map;

    fn contents() -> Contents {
        let code =
            Program { instructions: vec![0; 3 * INSTRUCTION], references: BTreeMap::from([(8, "GATES".to_owned())]) };
        let map = Map { map_type: 1, key_size: 8, value_size: 64, max_entries: 4096, flags: 0 };
        Contents {
            licence: "GPL".to_owned(),
            programs: BTreeMap::from([("cgroup/connect4".to_owned(), code)]),
            maps: BTreeMap::from([("GATES".to_owned(), map)]),
            constants: BTreeMap::from([(".rodata".to_owned(), vec![1, 0, 0, 0])]),
        }
    }

    /// The one line that `change` makes.
    fn difference(change: impl Fn(&mut Contents)) -> String {
        let mut built = contents();
        change(&mut built);
        let found = differences(&contents(), &built);
        assert_eq!(found.len(), 1, "{found:?}");
        found.concat()
    }

    fn code(contents: &mut Contents) -> &mut Program {
        contents.programs.get_mut("cgroup/connect4").unwrap()
    }

    #[test]
    fn differences_same_contents_is_empty() {
        assert!(differences(&contents(), &contents()).is_empty());
    }

    #[test]
    fn differences_other_licence_is_named() {
        assert_eq!(difference(|built| built.licence.clear()), r#"licence: committed "GPL", built """#);
    }

    #[test]
    fn differences_other_instruction_names_the_first() {
        let found = difference(|built| code(built).instructions[8..].fill(7));
        assert!(found.contains("cgroup/connect4: instruction 1 is 0000000000000000, built 07"), "{found}");
        assert!(found.contains("1 more"), "{found}");
    }

    #[test]
    fn differences_other_length_counts_instructions() {
        let found = difference(|built| code(built).instructions.truncate(8));
        assert_eq!(found, "program cgroup/connect4: committed 3 instructions, built 1");
    }

    #[test]
    fn differences_other_map_referred_to_is_named() {
        let found = difference(|built| {
            code(built).references.insert(8, "AGENT".to_owned());
        });
        assert_eq!(found, r#"program cgroup/connect4: instruction 1 refers to Some("GATES"), built Some("AGENT")"#);
    }

    #[test]
    fn differences_other_map_size_is_named() {
        let found = difference(|built| built.maps.values_mut().for_each(|map| map.max_entries = 1));
        assert!(found.starts_with("map GATES: ") && found.contains("4096"), "{found}");
    }

    #[test]
    fn differences_missing_and_new_are_named() {
        assert_eq!(difference(|built| built.maps.clear()), "map GATES: no longer built");
        let found = difference(|built| {
            built.programs.insert("cgroup_skb/egress".to_owned(), Program::default());
        });
        assert_eq!(found, "program cgroup_skb/egress: not in the committed object");
    }

    #[test]
    fn differences_other_constants_are_named() {
        let found = difference(|built| built.constants.values_mut().for_each(|bytes| bytes[0] = 2));
        assert!(found.starts_with("constants .rodata: "), "{found}");
    }
}
