//! The last of the log, kept for whoever asks (`bugreport`): where a container's log is cannot be seen from inside.
//!
//! Knows nothing of what is said. Of a log that is longer than there is room for, the beginning is forgotten, line by line.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Bytes of it that are kept: some 2,000 lines.
const ROOM: usize = 256 << 10;

static LAST: Mutex<Lines> = Mutex::new(Lines::new(ROOM));

/// Writes to stderr, and keeps the last of it.
#[derive(Clone, Copy, Debug)]
pub struct Log;

impl Write for Log {
    fn write(&mut self, said: &[u8]) -> io::Result<usize> {
        // Whole lines: tracing formats one before it writes it.
        self.write_all(said).map(|()| said.len())
    }

    fn write_all(&mut self, said: &[u8]) -> io::Result<()> {
        lines().keep(said);
        io::stderr().write_all(said)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
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
