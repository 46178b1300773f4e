//! Exit codes, documented in docs/kubectl.md and in `--help`.

use std::process::ExitCode;

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All is well.
    Success,
    /// The answer is no: an agent that is not ready, a finding that fails, no such pod.
    No,
    /// The command line is wrong (clap's own code).
    Usage,
    /// Some agent could not be asked; what the others say was printed.
    Partly,
    /// The cluster cannot be asked, or has no agent.
    Failed,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Partly => 3,
            Self::Failed => 125,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
