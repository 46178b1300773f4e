//! The applications: each connects at once and says so, as a program does that nobody wrote with a mesh in mind.
//!
//! Knows nothing of proxies. Their sources are in applications/, for people to read.

use std::{fmt, path::Path};

use conngate_testbed::lab::tool;

/// The address of the laboratory's upstream.
pub(crate) const UPSTREAM: &str = "198.51.100.10";

/// What the mesh's DNS calls it.
pub(crate) const NAME: &str = "log-config-server";

/// One application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Application {
    Shell,
    Python,
    Jvm,
    /// As [`Application::Jvm`], but it looks a name up in DNS that the mesh captures.
    JvmByName,
}

impl Application {
    /// Those that this machine can run; the others are named on stderr.
    pub(crate) fn installed() -> Vec<Self> {
        let mut all = vec![Self::Shell, Self::Python, Self::Jvm, Self::JvmByName];
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
        let (host, port) = self.destination();
        [program, source, host, port].map(str::to_owned).into()
    }

    fn destination(self) -> (&'static str, &'static str) {
        match self {
            Self::Shell | Self::Python | Self::Jvm => (UPSTREAM, "80"),
            Self::JvmByName => (NAME, "12345"),
        }
    }

    /// What the upstream is reached at.
    pub(crate) fn reaches(self) -> String {
        format!("{UPSTREAM}:{}", self.destination().1)
    }

    /// Whether it looks a name up first.
    pub(crate) fn is_by_name(self) -> bool {
        self.destination().0 == NAME
    }

    fn interpreter(self) -> (&'static str, &'static str) {
        match self {
            Self::Shell => ("bash", "app.sh"),
            Self::Python => ("python3", "app.py"),
            Self::Jvm | Self::JvmByName => ("java", "App.java"),
        }
    }
}

impl fmt::Display for Application {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Shell => "bash",
            Self::Python => "Python",
            Self::Jvm => "JVM",
            Self::JvmByName => "JVM DNS",
        })
    }
}

/// Where the applications and the remedy's loop are; their command lines name them relative to it.
pub(crate) fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/applications"))
}
