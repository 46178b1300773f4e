//! Hands: threads that do for the agent's loop what may take long, a bounded queue for each pod, pods in turn.
//!
//! Knows nothing of what the work is. What one pod makes slow delays no other pod, as long as fewer pods than threads do so
//! at a time.
//!
//! Invariants:
//! - At most one job of a pod is under way, and the next one is another pod's if any waits.
//! - A pod that has [`Hand::start`]'s room of jobs waiting is refused more.
//! - Every job has its answer: of the work, or, if it is refused or panics, the one that was given for that case.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::pending,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use conngate_common::id::CgroupId;
use tokio::{
    runtime::{Builder, Handle},
    sync::mpsc,
};

/// Starts an event loop on a thread of its own, which lives as long as the process.
///
/// # Errors
/// When there can be no such loop or thread.
pub fn event_loop(name: &str) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}

/// The asking side; the threads end with the last clone.
#[derive(Debug)]
pub struct Hand<J, A>(Arc<Asking<J, A>>);

#[derive(Debug)]
struct Asking<J, A>(Arc<Turns<J, A>>);

#[derive(Debug)]
struct Turns<J, A> {
    state: Mutex<State<J, A>>,
    changed: Condvar,
    room: usize,
    answers: mpsc::UnboundedSender<A>,
}

#[derive(Debug)]
struct State<J, A> {
    /// With what is answered for a job that is not done.
    queues: HashMap<CgroupId, VecDeque<(J, Option<A>)>>,
    /// The pods with jobs that wait and none under way, the next one first.
    turns: VecDeque<CgroupId>,
    busy: HashSet<CgroupId>,
    over: bool,
}

impl<J, A> Clone for Hand<J, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<J: Send + 'static, A: Send + 'static> Hand<J, A> {
    /// Starts so many threads that do `work`, where at most `room` jobs of one pod wait; what answers they have arrive at the
    /// receiver.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        name: &str,
        threads: usize,
        room: usize,
        work: impl Fn(J) -> Option<A> + Send + Sync + 'static,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<A>)> {
        let state = State { queues: HashMap::new(), turns: VecDeque::new(), busy: HashSet::new(), over: false };
        let (answers, answered) = mpsc::unbounded_channel();
        let turns = Arc::new(Turns { state: Mutex::new(state), changed: Condvar::new(), room, answers });
        let hand = Self(Arc::new(Asking(turns.clone())));
        let work = Arc::new(work);
        for _ in 0..threads {
            let (turns, work) = (turns.clone(), work.clone());
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                while let Some((job, undone, _busy)) = turns.next() {
                    // A panic has said what it is.
                    turns.answer(catch_unwind(AssertUnwindSafe(|| work(job))).unwrap_or(undone));
                }
            })?;
        }
        Ok((hand, answered))
    }

    /// Asks for `job`, which is `pod`'s; should it not be done, `undone` is the answer. False: it has too many waiting already.
    pub fn ask(&self, pod: CgroupId, job: J, undone: Option<A>) -> bool {
        let turns = &self.0.0;
        let mut state = turns.state();
        let queue = state.queues.entry(pod).or_default();
        if queue.len() >= turns.room {
            turns.answer(undone);
            return false;
        }
        queue.push_back((job, undone));
        if queue.len() == 1 && !state.busy.contains(&pod) {
            state.turns.push_back(pod);
            turns.changed.notify_one();
        }
        true
    }
}

impl<J, A> Drop for Asking<J, A> {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.changed.notify_all();
    }
}

/// A pod's job is under way.
struct Busy<'a, J, A>(&'a Turns<J, A>, CgroupId);

impl<J, A> Turns<J, A> {
    fn state(&self) -> MutexGuard<'_, State<J, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: Option<A>) {
        if let Some(answer) = answer {
            // Nobody wants to know any more: the asking side is gone, and the next turn says so.
            let _ = self.answers.send(answer);
        }
    }

    /// Waits for the next job; `None`: nobody asks any more.
    fn next(&self) -> Option<(J, Option<A>, Busy<'_, J, A>)> {
        let mut state = self.state();
        loop {
            if state.over {
                return None;
            }
            if let Some(pod) = state.turns.pop_front() {
                let job = state.queues.get_mut(&pod).and_then(VecDeque::pop_front);
                if let Some((job, undone)) = job {
                    state.busy.insert(pod);
                    return Some((job, undone, Busy(self, pod)));
                }
                continue;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<J, A> Drop for Busy<'_, J, A> {
    fn drop(&mut self) {
        let Self(turns, pod) = self;
        let mut state = turns.state();
        state.busy.remove(pod);
        if state.queues.get(pod).is_some_and(|queue| !queue.is_empty()) {
            state.turns.push_back(*pod);
            turns.changed.notify_one();
        } else {
            state.queues.remove(pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const HOSTILE: CgroupId = CgroupId(1);
    const VICTIM: CgroupId = CgroupId(2);

    #[tokio::test]
    async fn pod_whose_work_hangs_delays_no_other_and_is_refused_more() {
        let (let_go, held) = channel::<()>();
        let held = Mutex::new(held);
        let (hand, mut answers) = Hand::start("test", 2, 3, move |job: (CgroupId, u32)| {
            if job.0 == HOSTILE {
                let _ = held.lock().unwrap().recv();
            }
            Some(job)
        })
        .unwrap();
        // The first may be under way already, or wait.
        let taken = (0..10).filter(|number| hand.ask(HOSTILE, (HOSTILE, *number), None)).count();
        assert!((3..=4).contains(&taken), "{taken}");
        for number in 0..3 {
            assert!(hand.ask(VICTIM, (VICTIM, number), None));
        }
        for number in 0..3 {
            assert_eq!(answers.recv().await, Some((VICTIM, number)));
        }
        drop(let_go);
        for number in 0..u32::try_from(taken).unwrap() {
            assert_eq!(answers.recv().await, Some((HOSTILE, number)));
        }
        drop(hand);
        assert_eq!(answers.recv().await, None, "the threads have ended");
    }

    #[tokio::test]
    async fn pods_take_turns() {
        let (let_go, held) = channel::<()>();
        let held = Mutex::new(held);
        let (hand, mut answers) = Hand::start("test", 1, 9, move |pod: CgroupId| {
            let _ = held.lock().unwrap().recv();
            Some(pod)
        })
        .unwrap();
        assert!((0..4).all(|_| hand.ask(HOSTILE, HOSTILE, None)) && hand.ask(VICTIM, VICTIM, None));
        drop(let_go);
        let mut order = Vec::new();
        for _ in 0..5 {
            order.push(answers.recv().await.unwrap());
        }
        assert!(order.iter().position(|pod| *pod == VICTIM) <= Some(2), "{order:?}");
    }

    #[tokio::test]
    async fn job_that_panics_or_is_refused_is_answered_all_the_same_and_its_pod_is_served_again() {
        let (hand, mut answers) = Hand::start("test", 1, 0, Some::<&str>).unwrap();
        assert!(!hand.ask(VICTIM, "done", Some("refused")));
        assert_eq!(answers.recv().await, Some("refused"));
        let (hand, mut answers) = Hand::start("test", 1, 9, |number: u32| {
            assert!(number != 0, "a bug");
            Some(number)
        })
        .unwrap();
        assert!(hand.ask(VICTIM, 0, Some(7)) && hand.ask(VICTIM, 1, Some(8)));
        assert_eq!((answers.recv().await, answers.recv().await), (Some(7), Some(1)));
    }
}
