//! Exit codes, documented in docs/cli.md and in `--help`.
//!
//! `conngate run` follows env(1), timeout(1) and the shells, so that a caller sees CMD's status wherever there is one.

use std::process::ExitCode;

/// How conngate ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Success,
    /// The answer is no: `check` found something that keeps conngate from working, `status` an agent that is not ready,
    /// `explain` and `open` no such gate, `bugreport` not everything.
    No,
    /// The command line is wrong (clap's own code).
    Usage,
    /// `run`: CMD ended with this status; 128 + n when signal n ended it.
    Command(u8),
    /// conngate itself failed; `run`: before CMD was started, and nothing is attached.
    Failed,
    /// `run`: CMD was found but cannot be executed.
    CannotExecute,
    /// `run`: CMD was not found.
    NotFound,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Command(code) => code,
            Self::Failed => 125,
            Self::CannotExecute => 126,
            Self::NotFound => 127,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
