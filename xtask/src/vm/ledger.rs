//! xtask/vm/ledger.toml: what each program costs each kernel's verifier, as it was last accepted, and what it may.
//!
//! Decides purely but for reading and writing the file.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::workspace::root;

/// Where it is, relative to the checkout.
const FILE: &str = "xtask/vm/ledger.toml";

const HEAD: &str = "# Instructions verified and bytes of stack, by kernel and program: `conngate check` in the guests of `cargo xtask vm`.\n\
    # A run fails where one has grown by more than a tenth, or passes 100,000 or 400. `cargo xtask vm --accept` writes this file.\n\n";

/// What no program may pass on any kernel: a tenth of what the verifier goes through, and of 512 bytes the most.
const MOST: Cost = Cost { instructions: 100_000, stack: 400 };

/// One program on one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cost {
    instructions: u32,
    stack: u32,
}

/// The costs of the programs, by their names.
pub(crate) type Costs = BTreeMap<String, Cost>;

/// All kernels, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Ledger(BTreeMap<String, Costs>);

impl Ledger {
    /// Reads the file.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(root().join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
        toml::from_str(&text).with_context(|| FILE.to_owned())
    }

    /// Writes the file.
    pub(crate) fn write(&self) -> Result<()> {
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        fs::write(root().join(FILE), text).with_context(|| format!("cannot write {FILE}"))
    }

    /// Takes the costs on `kernel` as they are.
    pub(crate) fn accept(&mut self, kernel: &str, costs: Costs) {
        self.0.insert(kernel.to_owned(), costs);
    }

    /// What is wrong with the costs on `kernel`, one line each.
    pub(crate) fn faults(&self, kernel: &str, costs: &Costs) -> Vec<String> {
        if costs.is_empty() {
            return vec!["conngate check says nothing of what the programs cost the verifier".to_owned()];
        }
        let accepted = self.0.get(kernel);
        let mut faults = Vec::new();
        for (program, cost) in costs {
            let known = accepted.and_then(|known| known.get(program));
            for (what, of) in [("instructions", instructions as fn(&Cost) -> u32), ("bytes of stack", stack)] {
                let (now, most) = (of(cost), of(&MOST));
                match known.map(of) {
                    _ if now > most => faults.push(format!("{program}: {now} {what}, at most {most} are allowed")),
                    None => faults.push(format!("{program}: {now} {what}, of which {FILE} says nothing (--accept)")),
                    // In tenths, as whole numbers.
                    Some(before) if u64::from(now) * 10 > u64::from(before) * 11 => {
                        faults.push(format!("{program}: {now} {what}, more than a tenth above {before} in {FILE} (--accept)"));
                    }
                    Some(_) => {}
                }
            }
        }
        let gone = accepted.into_iter().flat_map(BTreeMap::keys).filter(|program| !costs.contains_key(*program));
        faults.extend(gone.map(|program| format!("{program}: refused, or gone from `conngate check`")));
        faults
    }
}

fn instructions(cost: &Cost) -> u32 {
    cost.instructions
}

fn stack(cost: &Cost) -> u32 {
    cost.stack
}

/// The costs in what `conngate check -o json` has said.
pub(crate) fn costs(said: &str) -> Costs {
    #[derive(Deserialize)]
    struct Said {
        findings: Vec<Finding>,
    }
    #[derive(Deserialize)]
    struct Finding {
        subject: String,
        found: String,
    }
    let findings = serde_json::from_str::<Said>(said).map(|said| said.findings).unwrap_or_default();
    findings.iter().filter(|finding| finding.subject == "program").filter_map(|finding| cost(&finding.found)).collect()
}

/// `egress, 29863 instructions verified, 272 bytes of stack`.
fn cost(found: &str) -> Option<(String, Cost)> {
    let mut parts = found.split(", ");
    let program = parts.next()?.to_owned();
    let mut number = |after: &str| parts.next()?.strip_suffix(after)?.parse().ok();
    Some((program, Cost { instructions: number(" instructions verified")?, stack: number(" bytes of stack")? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(instructions: u32) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.accept("6.1", Costs::from([("egress".to_owned(), Cost { instructions, stack: 280 })]));
        ledger
    }

    fn faults(before: u32, instructions: u32, stack: u32) -> Vec<String> {
        ledger(before).faults("6.1", &Costs::from([("egress".to_owned(), Cost { instructions, stack })]))
    }

    #[test]
    fn costs_are_read_from_what_check_says() {
        let said = r#"{"version":1,"findings":[{"level":"ok","subject":"kernel","found":"6.1","means":"m"},
            {"level":"ok","subject":"program","found":"egress, 29863 instructions verified, 272 bytes of stack","means":"m"}]}"#;
        assert_eq!(costs(said), Costs::from([("egress".to_owned(), Cost { instructions: 29863, stack: 272 })]));
        assert_eq!(costs("no JSON"), Costs::new());
    }

    #[test]
    fn faults_growth_by_more_than_a_tenth_and_beyond_the_most_are_told() {
        assert!(faults(30_000, 33_000, 280).is_empty());
        assert!(faults(30_000, 20_000, 200).is_empty());
        assert_eq!(faults(30_000, 33_001, 280).len(), 1);
        assert_eq!(faults(30_000, 30_000, 309).len(), 1);
        assert!(faults(99_000, 100_001, 280)[0].contains("at most 100000"));
        assert!(faults(30_000, 30_000, 401)[0].contains("at most 400"));
    }

    #[test]
    fn faults_program_or_kernel_of_which_nothing_is_known_is_told() {
        let unknown = Costs::from([("listen".to_owned(), Cost { instructions: 9, stack: 8 })]);
        let faults = ledger(1).faults("6.1", &unknown);
        assert_eq!(faults.len(), 3, "twice that it is new, once that egress is gone: {faults:?}");
        assert_eq!(ledger(1).faults("6.12", &unknown).len(), 2);
        assert_eq!(ledger(1).faults("6.1", &Costs::new()).len(), 1);
    }

    #[test]
    fn ledger_written_is_read_again() {
        let text = toml::to_string(&ledger(7)).unwrap();
        assert_eq!(toml::from_str::<Ledger>(&text).unwrap(), ledger(7));
    }
}
