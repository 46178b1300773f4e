//! One guest from its start to its end: what it says is kept and told on, and it does not hang for ever.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdout},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};

use super::{
    account::Account,
    qemu::Guest,
    word::{Ended, Word},
};

/// So much of the console is shown of a guest that did not come to its end.
const LAST_LINES: usize = 40;

/// Runs `guest`, `name` before each line that is shown of it. `core`: it has only the core of the tests.
pub(crate) fn run(guest: &Guest, name: &str, core: bool) -> Result<Account> {
    let started = Instant::now();
    let (boot, deadline) = (guest.accelerator.boot(), guest.accelerator.deadline(core));
    let listener = Listener::new(guest, name)?;
    let mut child = guest.command().spawn().context("cannot start QEMU")?;
    let lines = lines(child.stdout.take().context("stdout is a pipe")?);
    let listened = listener.listen(&lines, started + boot, started + deadline);
    end(&mut child)?;
    let (account, why) = listened?;
    if !account.is_complete() {
        println!("{name}: {why}; the console ends:\n{}", last_words(guest));
    }
    Ok(account)
}

/// Where a guest's words go.
struct Listener<'a> {
    name: &'a str,
    account: Account,
    tests: File,
    check: File,
    is_check: bool,
    /// Between two [`Word::Failures`].
    is_failure: bool,
    last: Instant,
}

impl<'a> Listener<'a> {
    fn new(guest: &Guest, name: &'a str) -> Result<Self> {
        let file = |name: &str| {
            let path = guest.directory.join(name);
            File::create(&path).with_context(|| format!("cannot make {}", path.display()))
        };
        let (tests, check) = (file("tests.log")?, file("check.json")?);
        let _ = fs::remove_file(guest.console());
        let account = Account::default();
        Ok(Self { name, account, tests, check, is_check: false, is_failure: false, last: Instant::now() })
    }

    /// Until the guest ends, or hangs, be it before its first word; the account, and why there is no more.
    fn listen(mut self, lines: &Receiver<String>, boot: Instant, end: Instant) -> Result<(Account, &'static str)> {
        loop {
            let until = if self.account.release().is_none() { boot } else { end };
            match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.hear(&line)?,
                Err(RecvTimeoutError::Disconnected) => return Ok((self.account, "it ended early")),
                Err(RecvTimeoutError::Timeout) => return Ok((self.account, "it hangs")),
            }
            if self.account.is_complete() {
                return Ok((self.account, "done"));
            }
        }
    }

    fn hear(&mut self, line: &str) -> Result<()> {
        writeln!(self.tests, "{line}")?;
        let word = Word::of(line);
        if let Some((test, how)) = self.account.hear(&word) {
            let (how, seconds) = (spelt(how), self.last.elapsed().as_secs_f64());
            println!("{}: {how} {test} ({seconds:.1} s)", self.name);
            self.last = Instant::now();
        }
        match word {
            Word::Release(release) => println!("{}: Linux {release}", self.name),
            Word::Check => self.is_check = true,
            Word::Checked(status) => {
                self.is_check = false;
                println!("{}: conngate check ended with status {status}", self.name);
            }
            Word::Run(_) => (self.is_failure, self.last) = (false, Instant::now()),
            Word::Text(text) if self.is_check => writeln!(self.check, "{text}")?,
            Word::Failures => self.is_failure = !self.is_failure,
            Word::Text(_) | Word::Ended(..) if self.is_failure => println!("{}: | {line}", self.name),
            Word::Text(_) | Word::Test(_) | Word::Ended(..) | Word::Ran(_) | Word::End => {}
        }
        Ok(())
    }
}

fn spelt(how: Ended) -> &'static str {
    match how {
        Ended::Passed => "ok     ",
        Ended::Failed => "FAILED ",
        Ended::Ignored => "ignored",
    }
}

/// The lines of QEMU's stdout, read by a thread: a pipe cannot be read with a deadline.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (say, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if say.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

/// A guest that has said everything has nothing to write back.
fn end(child: &mut Child) -> Result<()> {
    child.kill().and_then(|()| child.wait()).context("cannot end QEMU").map(drop)
}

/// The end of what the kernel said: from its panic on, where there was one.
fn last_words(guest: &Guest) -> String {
    let console = fs::read(guest.console()).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&console))
}

fn last_lines(console: &str) -> String {
    let lines: Vec<_> = console.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(LAST_LINES);
    let panic = lines.iter().position(|line| line.contains("Kernel panic"));
    let from = panic.map_or(from, |at| from.min(at.saturating_sub(LAST_LINES / 2)));
    lines[from..].iter().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_panic_is_shown_however_much_follows() {
        let before: String = (0..100).map(|number| format!("before {number}\r\n")).collect();
        assert_eq!(last_lines(&before).lines().count(), LAST_LINES);
        let after: String = (0..100).map(|number| format!("after {number}\n")).collect();
        let shown = last_lines(&format!("{before}Kernel panic - not syncing: x\n{after}"));
        assert!(shown.starts_with("  before 80\n") && shown.ends_with("  after 99\n"), "{shown}");
    }
}
