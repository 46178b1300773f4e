//! One start of a container: a cgroup, and processes with a root of their own in which the termination log is mounted.
//!
//! Knows nothing of images: its root shows the machine's programs. What is mounted is seen in its mount namespace only, and
//! ends with its last process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::lab::{
    cgroup::Cgroup,
    client::{self, Client},
    namespace::Namespace,
};

/// `$1` is the root to be, `$2` the program's directory; the termination logs follow, `--`, and a command.
const ENTER: &str = r#"
    root=$1
    mount -t tmpfs root "$root"
    for directory in bin lib lib64 usr; do
        [ -e "/$directory" ] && mkdir "$root/$directory" && mount --bind "/$directory" "$root/$directory"
    done
    mkdir "$root/program" && mount --bind "$2" "$root/program"
    shift 2
    while [ "$1" != -- ]; do
        : > "$root/termination-log-$#" && mount --bind "$1" "$root/termination-log-$#"
        shift
    done
    shift
    if [ -n "$RESOLV_CONF" ]; then
        # A JVM's own configuration is in /etc, its random numbers in /dev.
        mkdir "$root/etc" "$root/dev" && mount --bind /dev "$root/dev"
        for directory in /etc/java-*; do
            [ -e "$directory" ] && mkdir "$root$directory" && mount --bind "$directory" "$root$directory"
        done
        printf %s "$RESOLV_CONF" > "$root/etc/resolv.conf"
        # As the kubelet does: many a program asks for its own name as it starts.
        printf '127.0.0.1 localhost %s\n' "$(uname -n)" > "$root/etc/hosts"
        echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
    fi
    mkdir "$root/proc" && mount -t proc proc "$root/proc"
    mkdir "$root/old" && cd "$root" && pivot_root . old && umount -l /old
    exec "$@"
"#;

/// A container; when dropped, its processes are killed and its cgroup is removed.
#[derive(Debug)]
pub struct Container<'node> {
    namespace: &'node Namespace,
    cgroup: Cgroup,
    logs: Vec<PathBuf>,
    root: PathBuf,
    resolv_conf: String,
}

impl<'node> Container<'node> {
    pub(super) fn new(namespace: &'node Namespace, cgroup: Cgroup, logs: Vec<PathBuf>, root: PathBuf) -> Result<Self> {
        for log in &logs {
            fs::create_dir_all(log.parent().context("a log is in a directory")?)?;
            fs::write(log, "")?;
        }
        Ok(Self { namespace, cgroup, logs, root, resolv_conf: String::new() })
    }

    /// Gives it this /etc/resolv.conf; without one the nameserver is 127.0.0.1.
    #[must_use]
    pub fn resolving_by(self, resolv_conf: &str) -> Self {
        Self { resolv_conf: resolv_conf.to_owned(), ..self }
    }

    /// Its cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Its id, as a status has it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("containerd://{}", self.cgroup.path().file_name().unwrap_or_default().display())
    }

    /// Starts the client inside, as root: to connect to `destination`.
    pub fn connect(&self, destination: &str, flags: &[&str]) -> Result<Client> {
        self.run(&client::binary()?, &[&["connect", destination], flags].concat())
    }

    /// As [`Container::connect`], as user and group `id`.
    pub fn connect_as(&self, id: u32, destination: &str, flags: &[&str]) -> Result<Client> {
        let id = id.to_string();
        let become_user = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
        self.start(&become_user, &client::binary()?, &[&["connect", destination], flags].concat())
    }

    /// Starts a program in Python inside, as root.
    pub fn python(&self, code: &str, arguments: &[&str]) -> Result<Client> {
        self.run(Path::new("/usr/bin/python3"), &[&["-c", code], arguments].concat())
    }

    /// Starts `program` inside, as root.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<Client> {
        self.start(&[], program, arguments)
    }

    fn start(&self, before: &[&str], program: &Path, arguments: &[&str]) -> Result<Client> {
        let mut command: Command = self.namespace.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", ENTER, "sh"]);
        command
            .arg(&self.root)
            .arg(program.parent().context("a program is in a directory")?)
            .args(&self.logs)
            .arg("--")
            .args(before);
        command.arg(Path::new("/program").join(program.file_name().context("a program is a file")?)).args(arguments);
        command.env("RESOLV_CONF", &self.resolv_conf);
        self.cgroup.join(&mut command)?;
        Client::start(command)
    }
}
