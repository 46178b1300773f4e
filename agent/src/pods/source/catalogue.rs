//! What all sources together know: reports and questions go in, events come out.
//!
//! Knows no clock and no I/O. A pod is there as long as one source has it; the API server's version counts while its watch is
//! up, and its word that a pod was deleted counts for all. A mirror pod never takes the place of a pod of another name: anyone
//! who may create pods can claim to be a mirror.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{SourceEvent, SourceName, SourceState, asks::MOST, report::Report};
use crate::{
    pods::pod::{NamespaceMeta, Pod},
    uid::PodUid,
};

/// What is known.
#[derive(Debug)]
pub(super) struct Catalogue {
    /// Whether the kubelet is among the sources.
    kubelet: bool,
    /// What the namespaces say, where that is wanted.
    namespaces: Option<BTreeMap<String, NamespaceMeta>>,
    pods: BTreeMap<PodUid, Entry>,
    states: BTreeMap<SourceName, SourceState>,
    /// Who has said all that it knows, at least once.
    listed: BTreeSet<SourceName>,
    /// Asked for, and not answered.
    pending: BTreeSet<PodUid>,
    /// To be put to the kubelet.
    questions: BTreeSet<PodUid>,
    events: VecDeque<SourceEvent>,
}

#[derive(Debug, Default)]
struct Entry {
    versions: BTreeMap<SourceName, Pod>,
    shown: Option<Arc<Pod>>,
}

impl Catalogue {
    /// Nothing is known yet. `kubelet`: it can be asked. `namespaces`: pods are shown with what their namespace says.
    pub(super) fn new(kubelet: bool, namespaces: bool) -> Self {
        Self {
            kubelet,
            namespaces: namespaces.then(BTreeMap::new),
            pods: BTreeMap::new(),
            states: BTreeMap::new(),
            listed: BTreeSet::new(),
            pending: BTreeSet::new(),
            questions: BTreeSet::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes in what a source found.
    pub(super) fn handle(&mut self, source: SourceName, report: Report) {
        let why = match &report {
            Report::Listed { fault, .. } => fault.clone(),
            Report::Failed { why } => Some(why.clone()),
            Report::Applied(_)
            | Report::Deleted { .. }
            | Report::Namespaces(_)
            | Report::Namespace(..)
            | Report::Watching => None,
        };
        let state = why.map_or(SourceState::Up, |why| SourceState::Down { why });
        if self.states.insert(source, state.clone()).as_ref() != Some(&state) {
            self.events.push_back(SourceEvent::Health { source, state });
        }
        match report {
            Report::Listed { pods, asked, fault: _ } => {
                self.listed_all(source, pods);
                if self.listed.is_empty() {
                    self.events.push_back(SourceEvent::Synced);
                }
                self.listed.insert(source);
                for uid in asked {
                    self.answer(uid);
                }
            }
            Report::Applied(pod) => self.put(source, *pod),
            Report::Deleted { uid, api_uid } => self.deleted(source, uid, api_uid),
            Report::Namespaces(all) => {
                self.namespaces = Some(all);
                self.show_all(|_| true);
            }
            Report::Namespace(name, meta) => {
                let known = self.namespaces.get_or_insert_default();
                match meta {
                    Some(meta) => known.insert(name.clone(), meta),
                    None => known.remove(&name),
                };
                self.show_all(|pod| pod.namespace == name);
            }
            Report::Watching => self.show_all(|_| true),
            // Whatever it was asked for, it has not answered.
            Report::Failed { why: _ } if source == SourceName::Kubelet => self.questions.extend(&self.pending),
            Report::Failed { why: _ } => {}
        }
        self.answer_what_can_be();
    }

    /// Somebody wants to know about a pod.
    pub(super) fn ask(&mut self, uid: PodUid) {
        if self.pending.contains(&uid) {
            return;
        }
        self.pending.insert(uid);
        if self.pending.len() > MOST {
            // More questions than pods: whoever asks gets what is known now, and may ask again.
            self.answer(uid);
        } else if self.kubelet {
            self.questions.insert(uid);
        }
        self.answer_what_can_be();
    }

    /// The next event.
    pub(super) fn poll_event(&mut self) -> Option<SourceEvent> {
        self.events.pop_front()
    }

    /// What the kubelet has to be asked for.
    pub(super) fn take_questions(&mut self) -> BTreeSet<PodUid> {
        std::mem::take(&mut self.questions)
    }

    /// Whether the API server's watch says all there is to know.
    pub(super) fn is_watching(&self) -> bool {
        self.listed.contains(&SourceName::ApiServer) && self.is_up(SourceName::ApiServer)
    }

    fn is_up(&self, source: SourceName) -> bool {
        self.states.get(&source) == Some(&SourceState::Up)
    }

    /// Whether the kubelet is likely to answer: it is there, and its last answer was one.
    fn kubelet_answers(&self) -> bool {
        self.kubelet && !matches!(self.states.get(&SourceName::Kubelet), Some(SourceState::Down { .. }))
    }

    /// Answers for pods that are known; and for all others, when nobody is left whose answer is worth waiting for.
    fn answer_what_can_be(&mut self) {
        let others = [SourceName::ApiServer, SourceName::File];
        let settled =
            !self.kubelet_answers() && others.iter().any(|other| self.listed.contains(other) && self.is_up(*other));
        let answerable: Vec<_> =
            self.pending.iter().copied().filter(|uid| settled || self.pods.contains_key(uid)).collect();
        for uid in answerable {
            self.answer(uid);
        }
    }

    fn answer(&mut self, uid: PodUid) {
        if self.pending.remove(&uid) {
            self.questions.remove(&uid);
            self.events.push_back(SourceEvent::Answered { uid, known: self.pods.contains_key(&uid) });
        }
    }

    fn listed_all(&mut self, source: SourceName, pods: Vec<Pod>) {
        let listed: BTreeSet<_> = pods.iter().map(|pod| pod.uid).collect();
        let vanished = |(uid, entry): (&PodUid, &Entry)| {
            (entry.versions.contains_key(&source) && !listed.contains(uid)).then_some(*uid)
        };
        let vanished: Vec<_> = self.pods.iter().filter_map(vanished).collect();
        for uid in vanished {
            self.drop_versions(uid, |from, known| from == source || deletes(source, known));
        }
        // The list replaces what the source said before, so that a wrong claim does not outlive it.
        for entry in self.pods.values_mut() {
            entry.versions.remove(&source);
        }
        for pod in pods {
            self.put(source, pod);
        }
        self.show_all(|_| true);
    }

    fn deleted(&mut self, source: SourceName, uid: PodUid, api_uid: PodUid) {
        let known = self.pods.get(&uid).and_then(|entry| entry.versions.get(&source));
        if known.is_some_and(|known| known.api_uid == api_uid) {
            self.drop_versions(uid, |from, known| from == source || deletes(source, known));
        }
    }

    fn put(&mut self, source: SourceName, pod: Pod) {
        let uid = pod.uid;
        let path = |known: &Pod| (known.namespace == pod.namespace) && (known.name == pod.name);
        if source == SourceName::ApiServer {
            // Names are unique there: whoever bore this one has gone.
            let former = |(known, entry): (&PodUid, &Entry)| {
                (*known != uid && entry.shown.as_deref().is_some_and(path)).then_some(*known)
            };
            let former: Vec<_> = self.pods.iter().filter_map(former).collect();
            for former in former {
                self.drop_versions(former, |from, known| from == source || deletes(source, known));
            }
        }
        let entry = self.pods.entry(uid).or_default();
        if pod.is_mirror() && entry.versions.values().any(|known| !path(known)) {
            return;
        }
        entry.versions.retain(|_, known| !known.is_mirror() || path(known));
        entry.versions.insert(source, pod);
        self.show(uid);
    }

    fn drop_versions(&mut self, uid: PodUid, dropped: impl Fn(SourceName, &Pod) -> bool) {
        if let Some(entry) = self.pods.get_mut(&uid) {
            entry.versions.retain(|from, known| !dropped(*from, known));
            self.show(uid);
        }
    }

    fn show_all(&mut self, which: impl Fn(&Pod) -> bool) {
        let any = |entry: &Entry| entry.versions.is_empty() || entry.versions.values().any(&which);
        let uids: Vec<_> = self.pods.iter().filter(|(_, entry)| any(entry)).map(|(uid, _)| *uid).collect();
        for uid in uids {
            self.show(uid);
        }
    }

    /// Tells of a pod what is new about it.
    fn show(&mut self, uid: PodUid) {
        let watched = self.is_up(SourceName::ApiServer);
        let Some(entry) = self.pods.get_mut(&uid) else { return };
        let version = |source| entry.versions.get(&source);
        let fresh = version(SourceName::ApiServer).filter(|_| watched);
        let Some(version) = fresh.or_else(|| version(SourceName::Kubelet)).or_else(|| entry.versions.values().next())
        else {
            if self.pods.remove(&uid).is_some_and(|entry| entry.shown.is_some()) {
                self.events.push_back(SourceEvent::Gone(uid));
            }
            return;
        };
        let mut pod = version.clone();
        pod.namespace_meta = self.namespaces.as_ref().and_then(|namespaces| namespaces.get(&pod.namespace)).cloned();
        if entry.shown.as_deref() != Some(&pod) {
            let pod = Arc::new(pod);
            entry.shown = Some(Arc::clone(&pod));
            self.events.push_back(SourceEvent::Seen(pod));
        }
    }
}

/// Whether `source` not having a pod any more means that `known`, somebody else's version of it, has gone too. The API server
/// decides over all pods but static ones: of those it has mirrors only.
fn deletes(source: SourceName, known: &Pod) -> bool {
    source == SourceName::ApiServer && !known.is_static
}

#[cfg(test)]
mod tests;
