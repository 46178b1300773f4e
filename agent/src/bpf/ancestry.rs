//! The level of a cgroup above this process, where no path tells it: asked from the kernel by a program of one loop.
//!
//! Knows nothing of why it is asked. The program (`ebpf/src/ancestry.rs`) is loaded for the question, run once in this
//! thread's context by BPF_PROG_TEST_RUN, and gone; it is never attached and touches no map.

use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _};
use conngate_common::id::CgroupId;

use super::load::Loaded;

/// The program's name in the object.
const ANCESTRY: &str = "ancestry";

/// The kernel did not say.
#[derive(Debug, thiserror::Error)]
pub enum AncestryError {
    /// The object lacks the program.
    #[error("the eBPF object has no program {ANCESTRY}")]
    NoProgram,
    /// The program was refused, or not run.
    #[error("the kernel refuses the eBPF program {ANCESTRY}: a node inside a container needs Linux 5.15")]
    Refused(#[from] ProgramError),
}

impl Loaded {
    /// The level at which `cgroup` is this process's, or is an ancestor of it; `None` when it is neither. The root of the
    /// hierarchy has level 0.
    ///
    /// # Errors
    /// When the kernel refuses the program: before Linux 5.15 it may not ask.
    pub fn ancestor_level(&mut self, cgroup: CgroupId) -> Result<Option<u32>, AncestryError> {
        let program = self.ebpf.program_mut(ANCESTRY).ok_or(AncestryError::NoProgram)?;
        let program = <&mut RawTracePoint>::try_from(program)?;
        program.load()?;
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = cgroup.0;
        let answer = program.test_run(options);
        program.unload()?;
        // 0: no; otherwise the level plus one.
        Ok(answer?.return_value.checked_sub(1))
    }
}
