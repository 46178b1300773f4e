//! Looks into /proc, by a hand: which container is a cgroup, and in which network namespace does a pod live.
//!
//! Knows nothing of what follows from an answer.

use std::{fs::File, io};

use conngate_common::id::CgroupId;
use conngate_core::{
    node::{Found, Input},
    workload::Sandbox,
};
use nix::libc::ESRCH;
use tokio::sync::mpsc;

use crate::{
    errors::error_chain,
    hand::Hand,
    net::netns::{Netns, NetnsWorker, same},
    proc::{identity, identity::IdentityError, pods::PodCgroup, processes::View},
};

/// Slow looks that are made at once, of as many pods.
const THREADS: usize = 4;

/// Looks of one pod that wait.
const ROOM: usize = 16;

/// Takes questions; cloned freely.
#[derive(Clone, Debug)]
pub struct Looks(Hand<Question, Looked>);

#[derive(Debug)]
struct Question {
    gate: CgroupId,
    /// `None`: there is no such pod any more.
    pod: Option<PodCgroup>,
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
    /// The network namespace that was seen.
    pub netns: Option<Netns>,
    /// In the core's words.
    pub input: Input,
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

    /// Which container of `pod` is `container`?
    pub fn container(&self, gate: CgroupId, pod: Option<&PodCgroup>, container: CgroupId) {
        self.ask(Question { gate, pod: pod.cloned(), what: What::Container(container) });
    }

    /// In which network namespace does `pod` live, in the one that is `known` or in another?
    pub fn netns(&self, gate: CgroupId, pod: Option<&PodCgroup>, known: Option<Netns>) {
        self.ask(Question { gate, pod: pod.cloned(), what: What::Netns(known) });
    }

    fn ask(&self, question: Question) {
        let undone = unseen(&question, "too many of its containers are looked at, or the look failed");
        self.0.ask(question.gate, question, Some(undone));
    }
}

/// The answer where nothing can be seen.
fn unseen(question: &Question, why: &str) -> Looked {
    let (gate, sandbox) = (question.gate, Sandbox::Unknown);
    let input = match question.what {
        What::Netns(_) => Input::Sandbox { gate, sandbox },
        What::Container(container) => {
            let found = Found::Untold { id: None, not_yet: true, why: why.to_owned() };
            Input::Identified { gate, container, found, sandbox }
        }
    };
    Looked { gate, netns: None, input }
}

fn look(worker: &NetnsWorker, question: &Question) -> Looked {
    let gate = question.gate;
    let Some(pod) = &question.pod else { return unseen(question, "its pod is gone") };
    let container = match &question.what {
        What::Container(container) => *container,
        What::Netns(known) => {
            let netns = sandbox(worker, pod, known.as_ref());
            let sandbox = match &netns {
                Ok(Some(netns)) => seen(Some(netns)),
                Ok(None) => Sandbox::Nobody,
                Err(_) => Sandbox::Unknown,
            };
            return Looked { gate, netns: netns.ok().flatten(), input: Input::Sandbox { gate, sandbox } };
        }
    };
    let (found, netns) = match pod.container(container) {
        Ok(Some(there)) => {
            let (name, netns) = identity::look(&there.path, pod.uid);
            let found = match name {
                Ok(identity) => Found::Named(identity.name),
                Err(IdentityError::Pause { .. }) => Found::Sandbox,
                Err(error) => {
                    let not_yet = matches!(error, IdentityError::NotYet { .. });
                    Found::Untold { id: there.container, not_yet, why: error_chain(&error) }
                }
            };
            (found, netns.and_then(|file| Netns::of_file(worker, file).ok()))
        }
        // A pod that is gone, and its containers with it.
        Ok(None) => (Found::Gone, None),
        Err(error) if !pod.exists() => {
            tracing::debug!(%error, "gone meanwhile");
            (Found::Gone, None)
        }
        Err(error) => (Found::Untold { id: None, not_yet: true, why: error.to_string() }, None),
    };
    let sandbox = seen(netns.as_ref());
    Looked { gate, netns, input: Input::Identified { gate, container, found, sandbox } }
}

fn seen(netns: Option<&Netns>) -> Sandbox {
    netns.and_then(Netns::id).map_or(Sandbox::Unknown, Sandbox::Netns)
}

/// The namespace of the pod's processes: the one that is `known`, if one of them is in it; else that of the first that has left
/// the node's own, as a container's first process does before it joins its pod. `None`: there is no such process.
fn sandbox(worker: &NetnsWorker, pod: &PodCgroup, known: Option<&Netns>) -> io::Result<Option<Netns>> {
    let (mut files, mut unseen) = (Vec::new(), None);
    for process in pod.first_processes()? {
        match View::of(&process).netns() {
            Ok(file) => files.push(file),
            // It has ended.
            Err(error) if is_gone(&error) => {}
            Err(error) => unseen = Some(error),
        }
    }
    if let Some(known) = known.filter(|known| files.iter().any(|file| same(known, file))) {
        return Ok(Some(known.clone()));
    }
    // A pod's process is in neither the node's namespace nor the agent's.
    let foreign: Vec<_> = ["/proc/1/ns/net", "/proc/thread-self/ns/net"].into_iter().flat_map(File::open).collect();
    let own = files.into_iter().find(|file| !foreign.iter().any(|foreign| same(foreign, file)));
    match (own, unseen) {
        (Some(file), _) => Netns::of_file(worker, file).map(Some).map_err(io::Error::other),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}

/// A process that has ended, not a lack of descriptors or rights.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}
