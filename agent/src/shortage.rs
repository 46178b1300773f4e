//! What this process runs short of, by name: descriptors, the machine's files, memory.
//!
//! A shortage is said for a minute after its last failure. Those who work for pods leave the last eighth of the descriptors
//! to those who answer questions: an agent that pods have emptied still says what it is short of.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::AsRawFd,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit},
};

/// How long a shortage is said after its last failure.
const SAID_FOR: Duration = Duration::from_secs(60);

/// Which part of the descriptors is left to those who answer questions.
const RESERVE: rlim_t = 8;

/// What can be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Short {
    Descriptors,
    Files,
    Memory,
}

impl Short {
    /// What `error` says is short, if it says that.
    fn of(error: &io::Error) -> Option<Self> {
        let errno = Errno::from_raw(error.raw_os_error()?);
        let short = [
            (Errno::EMFILE, Self::Descriptors),
            (Errno::ENFILE, Self::Files),
            (Errno::ENOMEM, Self::Memory),
            (Errno::ENOBUFS, Self::Memory),
        ];
        short.into_iter().find(|(cause, _)| *cause == errno).map(|(_, short)| short)
    }

    /// Its name and the figures of this moment.
    fn describe(self) -> String {
        match self {
            Self::Descriptors => {
                let in_use = fs::read_dir("/proc/self/fd").map_or("all".to_owned(), |fds| fds.count().to_string());
                format!("descriptors: limit {}, in use {in_use}", limit())
            }
            Self::Files => "open files of the whole machine (fs.file-max)".to_owned(),
            Self::Memory => "memory".to_owned(),
        }
    }
}

/// What was short lately; shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Shortages(Arc<Mutex<BTreeMap<Short, (Instant, String)>>>);

impl Shortages {
    /// Something failed. Said in the log when it is a shortage, and news.
    pub fn note(&self, error: &io::Error) {
        self.note_at(Instant::now(), error);
    }

    /// `made`, unless it is one of the descriptors that are left to others; a shortage is noted.
    ///
    /// # Errors
    /// Those of `made`, and `EMFILE`.
    pub fn checked<T: AsRawFd>(&self, made: io::Result<T>) -> io::Result<T> {
        let made = made.and_then(|made| if is_reserved(&made, limit()) { Err(Errno::EMFILE.into()) } else { Ok(made) });
        made.inspect_err(|error| self.note(error))
    }

    /// The names of what is short.
    #[must_use]
    pub fn named(&self) -> Vec<String> {
        self.named_at(Instant::now())
    }

    fn note_at(&self, now: Instant, error: &io::Error) {
        let Some(short) = Short::of(error) else { return };
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let news = !noted.get(&short).is_some_and(|(last, _)| is_said(now, *last));
        let (last, text) = noted.entry(short).or_insert_with(|| (now, String::new()));
        *last = now;
        if news {
            *text = short.describe();
            tracing::warn!(short = text.as_str(), "short of what the agent needs");
        }
    }

    fn named_at(&self, now: Instant) -> Vec<String> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.values().filter(|(last, _)| is_said(now, *last)).map(|(_, text)| text.clone()).collect()
    }
}

/// Raises the limit of descriptors as far as this process may: container runtimes start it with 1,024, fewer than a busy
/// node takes.
pub fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard)));
    match raised {
        Ok((soft, hard)) => tracing::debug!(from = soft, to = hard, "limit of descriptors"),
        Err(error) => tracing::debug!(%error, "the limit of descriptors stays what it is"),
    }
}

fn limit() -> rlim_t {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(RLIM_INFINITY, |(soft, _)| soft)
}

/// The kernel gives the lowest number that is free, so that all below it are in use.
fn is_reserved(made: &impl AsRawFd, limit: rlim_t) -> bool {
    rlim_t::try_from(made.as_raw_fd()).is_ok_and(|number| number >= limit - limit / RESERVE)
}

fn is_said(now: Instant, last: Instant) -> bool {
    now.duration_since(last) < SAID_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortage_is_named_until_a_minute_after_its_last_failure_and_other_failures_are_not() {
        let (shortages, begun) = (Shortages::default(), Instant::now());
        let seconds = |seconds| begun + Duration::from_secs(seconds);
        shortages.note_at(begun, &Errno::EACCES.into());
        shortages.note_at(begun, &io::Error::other("no memory left, says who"));
        assert!(shortages.named_at(begun).is_empty());
        shortages.note_at(begun, &Errno::ENOMEM.into());
        shortages.note_at(seconds(50), &Errno::ENOBUFS.into());
        shortages.note_at(seconds(60), &Errno::EMFILE.into());
        let named = shortages.named_at(seconds(60));
        assert!(named[0].starts_with("descriptors: limit ") && named[0].contains(", in use "), "{named:?}");
        assert_eq!(named[1], "memory");
        assert_eq!(shortages.named_at(seconds(115)).len(), 1);
        assert!(shortages.named_at(seconds(120)).is_empty());
    }

    #[test]
    fn descriptors_of_the_last_eighth_are_reserved() {
        let reserved = |number: i32, limit| is_reserved(&Number(number), limit);
        assert_eq!([reserved(895, 1024), reserved(896, 1024)], [false, true]);
        assert!(!reserved(895, RLIM_INFINITY));
    }

    /// A descriptor of that number, which nobody has opened.
    struct Number(i32);

    impl AsRawFd for Number {
        fn as_raw_fd(&self) -> i32 {
            self.0
        }
    }

    #[test]
    fn checked_failure_is_noted_and_passed_on() {
        let shortages = Shortages::default();
        let made: io::Result<fs::File> = shortages.checked(Err(Errno::ENFILE.into()));
        assert_eq!(made.unwrap_err().raw_os_error(), Some(Errno::ENFILE as i32));
        assert_eq!(shortages.named(), ["open files of the whole machine (fs.file-max)"]);
    }
}
