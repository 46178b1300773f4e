//! The applications: each connects at once and says so, as a program does that nobody wrote with a mesh in mind.
//!
//! Knows nothing of proxies. Their sources are in applications/, for people to read.

use std::{fmt, path::Path};

use conngate_testbed::lab::tool;

/// Where the applications connect to: an address of the laboratory's upstream.
pub(crate) const DESTINATION: (&str, &str) = ("198.51.100.10", "80");

/// One application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Application {
    Shell,
    Python,
    Jvm,
}

impl Application {
    /// Those that this machine can run; the others are named on stderr.
    pub(crate) fn installed() -> Vec<Self> {
        let mut all = vec![Self::Shell, Self::Python, Self::Jvm];
        all.retain(|application| {
            let (program, _) = application.interpreter();
            let is_there = tool::exists(program);
            if !is_there {
                eprintln!("    no {program} on the PATH: nothing is shown of {application}");
            }
            is_there
        });
        all
    }

    /// The command line, to be run in [`directory`].
    pub(crate) fn command(self) -> Vec<String> {
        let (program, source) = self.interpreter();
        let (host, port) = DESTINATION;
        [program, source, host, port].map(str::to_owned).into()
    }

    fn interpreter(self) -> (&'static str, &'static str) {
        match self {
            Self::Shell => ("bash", "app.sh"),
            Self::Python => ("python3", "app.py"),
            Self::Jvm => ("java", "App.java"),
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Shell => "bash",
            Self::Python => "Python",
            Self::Jvm => "JVM",
        })
    }
}

/// Where the applications and the remedy's loop are; their command lines name them relative to it.
pub(crate) fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/applications"))
}
