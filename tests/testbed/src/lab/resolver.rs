//! Real resolvers: small programs that look a name up, each with another library, and say how that ended.
//!
//! Knows nothing of DNS. Their sources are in tests/resolvers; they are built where they are used first.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};

use super::{client::Client, kubelet::Container};

/// What a resolver says of a name that it was answered for.
pub const ANSWERED: &str = "answered";

/// What it says when it waits for the word.
pub const STARTED: &str = "started";

/// A library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// The machine's C library.
    Glibc,
    /// Alpine's.
    Musl,
    /// Go's own.
    Go,
    /// Node's `dns`, curl's, Envoy's.
    CAres,
    /// The JVM's, which is the C library's.
    Jvm,
    /// Netty's.
    Netty,
}

impl Resolver {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Glibc, Self::Musl, Self::Go, Self::CAres, Self::Jvm, Self::Netty];

    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Go => "Go",
            Self::CAres => "c-ares",
            Self::Jvm => "JVM",
            Self::Netty => "Netty",
        }
    }

    /// Makes itself ready in `container` to look `name` up when it is told ([`Client::go`]); then the client's line is
    /// [`ANSWERED`], or what went wrong.
    pub fn start(self, container: &Container<'_>, name: &str) -> Result<Client> {
        let mut client = container.run(&self.program()?, &[name])?;
        while client.line()? != STARTED {}
        Ok(client)
    }

    /// Looks `name` up in `container`.
    pub fn look_up(self, container: &Container<'_>, name: &str) -> Result<Client> {
        let mut client = self.start(container, name)?;
        client.go()?;
        Ok(client)
    }

    /// The program, built by the first who asks for it.
    pub fn program(self) -> Result<PathBuf> {
        let compile = |compiler: &'static str, options: &'static [&'static str], name: &'static str| {
            move |program: &Path| {
                run(compiler, &[&["-O", "-o", path(program)?][..], &[&*source(name)], options].concat())
            }
        };
        match self {
            Self::Glibc => built(self.word(), compile("cc", &[], "gai.c")),
            Self::Musl => built(self.word(), compile("musl-gcc", &["-static"], "gai.c")),
            Self::CAres => built(self.word(), compile("cc", &["-lcares"], "ares.c")),
            Self::Go => {
                built(self.word(), |program| run("go", &["build", "-o", path(program)?, &source("resolve.go")]))
            }
            Self::Jvm => java("Jvm"),
            Self::Netty => java("Netty"),
        }
    }
}

/// The program of a class in tests/resolvers, with Netty at hand.
pub fn java(class: &'static str) -> Result<PathBuf> {
    built(class, |program| {
        let directory = path(program.parent().context("a program is in a directory")?)?;
        let netty = NETTY.map(|part| format!("/usr/share/java/netty-{part}.jar")).join(":");
        run("javac", &["-cp", &netty, "-d", directory, &source(&format!("{class}.java"))])?;
        let script = format!("#!/bin/sh\nexec {} -cp '/program:{netty}' {class} \"$@\"\n", java_itself()?.display());
        fs::write(program, script)?;
        run("chmod", &["+x", path(program)?])
    })
}

/// The program `name`, which the first who asks for it has to `build`.
fn built(name: &'static str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = built.get(name) {
        return Ok(program.clone());
    }
    let here = std::env::current_exe().context("cannot find the running program")?;
    let directory = here.parent().context("a program is in a directory")?.join("resolvers");
    fs::create_dir_all(&directory)?;
    let program = directory.join(name);
    build(&program)?;
    built.insert(name, program.clone());
    Ok(program)
}

/// The parts of Netty, one jar each, that its resolver is made of.
const NETTY: [&str; 7] = ["buffer", "codec", "codec-dns", "common", "resolver", "resolver-dns", "transport"];

fn source(name: &str) -> String {
    format!("{}/../resolvers/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Java's own program, behind its links, which lead through /etc.
pub fn java_itself() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut java = std::env::split_paths(&path).map(|path| path.join("java"));
    java.find_map(|java| fs::canonicalize(java).ok()).context("no java")
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).env("CGO_ENABLED", "0").output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
