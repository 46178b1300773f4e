//! What stands in front of the application's command line: nothing, the usual wait loop, or conngate.
//!
//! Knows nothing of the application but whether it looks a name up.

use std::fmt;

use anyhow::Result;
use conngate_testbed::lab::{
    gated,
    redirect::{CAPTURE_PORT, DNS_PORT},
};

use crate::application::Application;

/// Gives a command a resolver of its own: the nameserver whose queries the mesh captures.
const RESOLVED: [&str; 6] = ["unshare", "--mount", "--propagation", "private", "bash", "resolved.sh"];

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
    pub(crate) fn command(self, application: Application) -> Result<Vec<String>> {
        let mut words: Vec<_> = if application.is_by_name() { RESOLVED.to_vec() } else { Vec::new() };
        let (conngate, dns, capture) =
            (gated::binary()?.display().to_string(), DNS_PORT.to_string(), CAPTURE_PORT.to_string());
        match self {
            Self::Nothing => {}
            Self::WaitLoop => words.extend(["bash", "wait-loop.sh"]),
            Self::Conngate => {
                words.extend([&conngate, "run", "-o", "json"]);
                if application.is_by_name() {
                    words.extend(["--dns-port", &dns, "--capture-port", &dns, "--capture-port", &capture]);
                }
                words.push("--");
            }
        }
        words.extend(["bash", "start.sh"]);
        Ok(words.into_iter().map(str::to_owned).chain(application.command()).collect())
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
