//! A terminal of a chosen size: a command runs in it, and its screen is read as a person would.
//!
//! Knows nothing of what is shown. The command is killed with the terminal.

use std::{
    fs::File,
    io::Read as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::pty::{Winsize, openpty};
use vt100::Parser;

use super::{process::Running, wait::wait_until};

/// Far beyond what a program takes to show something on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with a running command.
pub struct Terminal {
    _process: Running,
    screen: Arc<Mutex<Parser>>,
}

impl Terminal {
    /// Runs `command` on a terminal of `rows` by `columns`.
    pub fn run(mut command: Command, rows: u16, columns: u16) -> Result<Self> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).context("no terminal")?;
        let stdio = || pty.slave.try_clone().map(Stdio::from);
        command.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?).env("TERM", "xterm-256color");
        command.process_group(0);
        let process = Running::start(command)?;
        drop(pty.slave);
        let screen = Arc::new(Mutex::new(Parser::new(rows, columns, 0)));
        let sink = Arc::clone(&screen);
        thread::spawn(move || show(pty.master, &sink));
        Ok(Self { _process: process, screen })
    }

    /// The lines of the screen as they are now, without blanks at their ends.
    #[must_use]
    pub fn screen(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    /// Waits until the screen is as wanted, and gives it.
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        wait_until(PATIENCE, &format!("the terminal shows {what}"), || Some(self.screen()).filter(|text| wanted(text)))
            .with_context(|| format!("the screen:\n{}", self.screen()))
    }
}

/// Feeds the screen until nobody writes any longer (EIO).
fn show(master: OwnedFd, screen: &Mutex<Parser>) {
    debug_assert!(master.as_raw_fd() > 2);
    let mut master = File::from(master);
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = master.read(&mut buffer) {
        screen.lock().unwrap_or_else(PoisonError::into_inner).process(&buffer[..length]);
    }
}
