//! Where the log goes: to stderr, and into a memory of the last of it for whoever asks (`bugreport`), because where a
//! container's log is cannot be seen from inside.
//!
//! Knows nothing of what is said. Of a log that is longer than there is room for, the beginning is forgotten, line by line.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Bytes of it that are kept: some 2,000 lines.
const ROOM: usize = 256 << 10;

/// Lines that wait for stderr.
const WAITING: usize = 8_192;

static LAST: Mutex<Lines> = Mutex::new(Lines::new(ROOM));

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// stderr behind a thread that alone waits for it: whoever reads the log, or does not, stops nobody who writes. Lines for which
/// there is no room are dropped. With the guard the thread ends, after what it has.
pub fn unhurried_stderr() -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().buffered_lines_limit(WAITING).thread_name("log");
    let (stderr, guard) = builder.finish(io::stderr());
    DROPPED.get_or_init(|| stderr.error_counter());
    (stderr, guard)
}

/// How many lines were dropped.
#[must_use]
pub fn dropped() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}

/// Keeps the last of what is written.
#[derive(Clone, Copy, Debug)]
pub struct Tail;

impl Write for Tail {
    fn write(&mut self, said: &[u8]) -> io::Result<usize> {
        // Whole lines: tracing formats one before it writes it.
        lines().keep(said);
        Ok(said.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was said last.
#[must_use]
pub fn last() -> Vec<u8> {
    lines().kept.iter().flatten().copied().collect()
}

fn lines() -> MutexGuard<'static, Lines> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines with a bound.
struct Lines {
    kept: VecDeque<Vec<u8>>,
    length: usize,
    room: usize,
}

impl Lines {
    const fn new(room: usize) -> Self {
        Self { kept: VecDeque::new(), length: 0, room }
    }

    fn keep(&mut self, line: &[u8]) {
        self.length += line.len();
        self.kept.push_back(line.to_owned());
        while self.length > self.room
            && let Some(first) = self.kept.pop_front()
        {
            self.length -= first.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_room_are_forgotten_from_the_first() {
        let mut lines = Lines::new(10);
        for line in ["one\n", "two\n", "four\n"] {
            lines.keep(line.as_bytes());
        }
        assert_eq!(lines.kept.iter().flatten().copied().collect::<Vec<_>>(), b"two\nfour\n");
        lines.keep(b"longer than all of it\n");
        assert!(lines.kept.is_empty() && lines.length == 0);
    }
}
