//! What stands in front of the application's command line: nothing, the usual wait loop, or conngate.
//!
//! Knows nothing of the application.

use std::fmt;

use anyhow::Result;
use conngate_testbed::lab::gated;

/// One way to start an application beside an Envoy that is not ready yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    Nothing,
    WaitLoop,
    Conngate,
}

impl Remedy {
    /// In the order of the story.
    pub(crate) const ALL: [Self; 3] = [Self::Nothing, Self::WaitLoop, Self::Conngate];

    /// The command line that starts `application`, which says `starting` first.
    pub(crate) fn command(self, application: Vec<String>) -> Result<Vec<String>> {
        let mut words = match self {
            Self::Nothing => Vec::new(),
            Self::WaitLoop => ["bash", "wait-loop.sh"].map(str::to_owned).into(),
            Self::Conngate => {
                let conngate = gated::binary()?.display().to_string();
                [&conngate, "run", "-o", "json", "--"].map(str::to_owned).into()
            }
        };
        words.extend(["bash", "start.sh"].map(str::to_owned));
        words.extend(application);
        Ok(words)
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Nothing => "without conngate",
            Self::WaitLoop => "wait loop",
            Self::Conngate => "conngate run",
        })
    }
}
