//! Looks into /proc, by a hand: which container is a cgroup, and in which network namespace does a pod live.
//!
//! Knows nothing of what follows from an answer.

use std::{fs::File, io};

use conngate_common::id::CgroupId;
use tokio::sync::mpsc;

use crate::{
    cgroup::{
        identity::{self, IdentityError},
        pods::PodCgroup,
        processes::View,
    },
    hand::Hand,
    netns::{Netns, NetnsWorker, same},
};

/// Slow looks that are made at once, of as many pods.
const THREADS: usize = 4;

/// Looks of one pod that wait.
const ROOM: usize = 16;

/// Takes questions; cloned freely.
#[derive(Clone, Debug)]
pub struct Looks(Hand<Question>);

#[derive(Debug)]
struct Question {
    pod: PodCgroup,
    what: What,
}

#[derive(Debug)]
enum What {
    Container(CgroupId),
    /// The pod's namespace, which is the one that is known as long as it has a process.
    Netns(Option<Netns>),
}

/// What was seen.
#[derive(Debug)]
pub struct Looked {
    /// The pod's gate.
    pub gate: CgroupId,
    /// The container, where one was asked for.
    pub container: Option<(CgroupId, Container)>,
    /// The pod's network namespace, or where a container was asked for the container's.
    pub netns: Sandbox,
}

/// What was seen of a network namespace.
#[derive(Debug)]
pub enum Sandbox {
    /// It is this one.
    Netns(Netns),
    /// The pod has no process that is in any but the node's.
    Nobody,
    /// It could not be seen.
    Unknown,
}

/// What a container was seen to be.
#[derive(Debug)]
pub enum Container {
    /// This one of the pod's.
    Named(String),
    /// The pod's sandbox.
    Sandbox,
    /// No longer there.
    Gone,
    /// Not to be told (yet); holds its id, when its cgroup shows one.
    Untold(Option<String>, IdentityError),
}

impl Looks {
    /// Starts the threads. The answers arrive at the receiver.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(worker: NetnsWorker) -> io::Result<(Self, mpsc::UnboundedReceiver<Looked>)> {
        let (hand, answers) = Hand::start("looks", THREADS, ROOM, move |question| Some(look(&worker, &question)))?;
        Ok((Self(hand), answers))
    }

    /// Which container of `pod` is `container`? False: too many questions of this pod are open.
    #[must_use]
    pub fn container(&self, pod: &PodCgroup, container: CgroupId) -> bool {
        self.0.ask(pod.id, Question { pod: pod.clone(), what: What::Container(container) })
    }

    /// In which network namespace does `pod` live, in the one that is `known` or in another? False: as [`Looks::container`].
    #[must_use]
    pub fn netns(&self, pod: &PodCgroup, known: Option<Netns>) -> bool {
        self.0.ask(pod.id, Question { pod: pod.clone(), what: What::Netns(known) })
    }
}

fn look(worker: &NetnsWorker, question: &Question) -> Looked {
    let (pod, gate) = (&question.pod, question.pod.id);
    let container = match &question.what {
        What::Container(container) => *container,
        What::Netns(known) => {
            let netns = sandbox(worker, pod, known.as_ref()).unwrap_or(Sandbox::Unknown);
            return Looked { gate, container: None, netns };
        }
    };
    // A pod that cannot be listed is gone, and its containers with it.
    let (found, netns) = match pod.container(container).unwrap_or_default() {
        None => (Container::Gone, Sandbox::Unknown),
        Some(there) => {
            let (name, netns) = identity::look(&there.path, pod.uid);
            let found = match name {
                Ok(identity) => Container::Named(identity.name),
                Err(IdentityError::Pause { .. }) => Container::Sandbox,
                Err(error) => Container::Untold(there.container, error),
            };
            (found, netns.and_then(|file| Netns::of_file(worker, file).ok()).map_or(Sandbox::Unknown, Sandbox::Netns))
        }
    };
    Looked { gate, container: Some((container, found)), netns }
}

/// The namespace of the pod's processes: the one that is `known`, if one of them is in it; else that of the first that has left
/// the node's own, as a container's first process does before it joins its pod. `None`: something could not be read.
fn sandbox(worker: &NetnsWorker, pod: &PodCgroup, known: Option<&Netns>) -> Option<Sandbox> {
    // One that cannot be opened is of a process that may have ended.
    let files =
        pod.first_processes().ok()?.iter().filter_map(|process| View::of(process).netns().ok()).collect::<Vec<_>>();
    if let Some(known) = known.filter(|known| files.iter().any(|file| same(known, file))) {
        return Some(Sandbox::Netns(known.clone()));
    }
    // A pod's process is in neither the node's namespace nor the agent's.
    let foreign: Vec<_> = ["/proc/1/ns/net", "/proc/thread-self/ns/net"].into_iter().flat_map(File::open).collect();
    match files.into_iter().find(|file| !foreign.iter().any(|foreign| same(foreign, file))) {
        Some(file) => Some(Sandbox::Netns(Netns::of_file(worker, file).ok()?)),
        None => Some(Sandbox::Nobody),
    }
}
