//! The role bindings of the cluster, by whom they name.
//!
//! One watch writes, and any number of callers read without waiting: the subjects are spread over shards, of which a
//! change copies the few that it touches. A new list is compared with what is known, object by object, so that neither
//! a list nor a change makes everything anew.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use tokio::sync::Notify;

use super::metrics::{PassedOver, RbacMetrics, Watched};
use super::object::RoleBinding;
use super::subject::{Subject, SubjectRef, subjects_of};
use crate::namespace::Namespace;

/// With 25,000 subjects a change copies a hundred of them.
const SHARDS: usize = 256;

/// Subjects of all bindings together. Past them a binding counts as anybody's: whoever may make bindings in one
/// namespace must not fill our memory.
const MAX_SUBJECTS: usize = 1_000_000;

/// The role bindings of the cluster as a watch last saw them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bindings(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    shards: Box<[ArcSwap<Shard>]>,
    hasher: RandomState,
    state: AtomicU8,
    /// Told when the first list is complete, or has failed.
    settled: Notify,
    /// For the watch alone.
    known: Mutex<Known>,
    metrics: RbacMetrics,
}

/// Where each subject is bound, sorted.
type Shard = HashMap<Subject, Arc<[Place]>, RandomState>;

#[derive(Clone, Debug)]
struct Place {
    namespace: Namespace,
    /// How many bindings there name the subject.
    bindings: u32,
}

#[derive(Debug, Default)]
struct Known {
    /// Sorted by name.
    namespaces: HashMap<Namespace, Vec<Binding>, RandomState>,
    bindings: usize,
    subjects: usize,
    /// The number of the list that is being read, or was read last.
    list: u32,
}

#[derive(Debug)]
struct Binding {
    name: Box<str>,
    /// Sorted.
    subjects: Box<[Subject]>,
    /// The list that last held it.
    list: u32,
}

/// What is known of the bindings as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first list is being read.
    Listing = 0,
    /// No list was ever complete, and the last attempt failed.
    Failed = 1,
    /// A list was complete. The watch may be interrupted.
    Known = 2,
}

/// Whether something begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Bound,
    Unbound,
}

impl Bindings {
    /// Knows nothing yet.
    pub fn new(metrics: RbacMetrics) -> Self {
        metrics.watched(Watched::RoleBindings, false);
        let hasher = RandomState::new();
        let shard = || ArcSwap::from_pointee(Shard::with_hasher(hasher.clone()));
        Self(Arc::new(Shared {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            state: AtomicU8::new(State::Listing as u8),
            settled: Notify::new(),
            known: Mutex::default(),
            hasher,
            metrics,
        }))
    }

    /// The namespaces with a binding that may name such a caller, sorted. `None` until a list was complete.
    pub(super) fn namespaces_of(&self, user: &str, groups: &[String]) -> Option<Vec<Namespace>> {
        if !self.is_known() {
            return None;
        }
        let mut namespaces = Vec::new();
        for subject in subjects_of(user, groups) {
            let shard = self.shard(subject).load();
            let places = shard.get(&subject).into_iter().flat_map(|places| &**places);
            namespaces.extend(places.map(|place| place.namespace.clone()));
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        Some(namespaces)
    }

    /// Waits until the first list is complete, or has failed.
    pub async fn settled(&self) {
        let settled = self.0.settled.notified();
        if self.0.state.load(Ordering::Acquire) == State::Listing as u8 {
            settled.await;
        }
    }

    /// A list begins: what it does not hold, [`Self::listed`] forgets.
    pub fn listing(&self) {
        let mut known = self.known();
        known.list = known.list.wrapping_add(1);
    }

    /// The list is complete.
    pub fn listed(&self) {
        let mut known = self.known();
        let list = known.list;
        let mut gone = Vec::new();
        for (namespace, bindings) in &mut known.namespaces {
            for binding in bindings.extract_if(.., |binding| binding.list != list) {
                gone.push((namespace.clone(), binding));
            }
        }
        known.bindings -= gone.len();
        for (namespace, binding) in gone {
            known.subjects -= binding.subjects.len();
            let changes = binding.subjects.iter();
            self.change(&namespace, changes.map(|one| (one, Change::Unbound)));
        }
        known.namespaces.retain(|_, bindings| !bindings.is_empty());
        self.0.metrics.bindings(known.bindings);
        self.0.metrics.watched(Watched::RoleBindings, true);
        self.settle(State::Known);
    }

    /// The watch has ended. What is known stays.
    pub fn lost(&self) {
        self.0.metrics.watched(Watched::RoleBindings, false);
        if !self.is_known() {
            self.settle(State::Failed);
        }
    }

    /// A binding is there, new or changed.
    pub fn apply(&self, object: &RoleBinding) {
        let Some((namespace, name)) = self.place(object) else {
            return;
        };
        let passed_over = |reason| self.0.metrics.passed_over(reason);
        let mut subjects = object.subjects(namespace.as_str(), passed_over);
        let known = &mut *self.known();
        let list = known.list;
        let entry = known.namespaces.entry(namespace);
        // In the memory that it already has.
        let namespace = entry.key().clone();
        let bindings = entry.or_default();
        let at = bindings.binary_search_by(|binding| (*binding.name).cmp(name));
        let before = at.map_or(0, |at| bindings[at].subjects.len());
        if known.subjects - before + subjects.len() > MAX_SUBJECTS {
            passed_over(PassedOver::Full);
            subjects = vec![Subject::Anybody];
        }
        let subjects: Box<[_]> = subjects.iter().map(|one| self.interned(one)).collect();
        known.subjects = known.subjects - before + subjects.len();
        let old = match at {
            Ok(at) => {
                bindings[at].list = list;
                std::mem::replace(&mut bindings[at].subjects, subjects.clone())
            }
            Err(at) => {
                let binding = Binding {
                    name: name.into(),
                    subjects: subjects.clone(),
                    list,
                };
                bindings.insert(at, binding);
                known.bindings += 1;
                Box::default()
            }
        };
        let gone = old
            .iter()
            .filter(|one| subjects.binary_search(one).is_err());
        let new = subjects
            .iter()
            .filter(|one| old.binary_search(one).is_err());
        let gone = gone.map(|one| (one, Change::Unbound));
        self.change(&namespace, gone.chain(new.map(|one| (one, Change::Bound))));
        self.0.metrics.bindings(known.bindings);
    }

    /// A binding is gone.
    pub fn remove(&self, object: &RoleBinding) {
        let Some((namespace, name)) = self.place(object) else {
            return;
        };
        let known = &mut *self.known();
        let Some(bindings) = known.namespaces.get_mut(&namespace) else {
            return;
        };
        let Ok(at) = bindings.binary_search_by(|binding| (*binding.name).cmp(name)) else {
            return;
        };
        let binding = bindings.remove(at);
        if bindings.is_empty() {
            known.namespaces.remove(&namespace);
        }
        known.bindings -= 1;
        known.subjects -= binding.subjects.len();
        let changes = binding.subjects.iter();
        self.change(&namespace, changes.map(|one| (one, Change::Unbound)));
        self.0.metrics.bindings(known.bindings);
    }

    fn is_known(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == State::Known as u8
    }

    fn settle(&self, state: State) {
        self.0.state.store(state as u8, Ordering::Release);
        self.0.settled.notify_waiters();
    }

    /// Namespace and name of an object.
    fn place<'o>(&self, object: &'o RoleBinding) -> Option<(Namespace, &'o str)> {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().and_then(Namespace::parse);
        let place = namespace.zip(metadata.name.as_deref().filter(|name| !name.is_empty()));
        if place.is_none() {
            self.0.metrics.passed_over(PassedOver::Name);
        }
        place
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Held by the watch alone, and what a panic could leave half done is made good by the next list.
        let known = self.0.known.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    fn shard_index(&self, subject: SubjectRef<'_>) -> usize {
        // Not the bits by which the shard's own table goes.
        (self.0.hasher.hash_one(subject) >> 16) as usize % SHARDS
    }

    fn shard(&self, subject: SubjectRef<'_>) -> &ArcSwap<Shard> {
        &self.0.shards[self.shard_index(subject)]
    }

    /// The same subject, in the memory that it already has.
    fn interned(&self, subject: &Subject) -> Subject {
        let shard = self.shard(subject.borrowed()).load();
        let known = shard.get_key_value(subject);
        known.map_or_else(|| subject.clone(), |(known, _)| known.clone())
    }

    /// Counts bindings of subjects in a namespace. Each shard that it touches is copied once.
    fn change<'s>(
        &self,
        namespace: &Namespace,
        changes: impl Iterator<Item = (&'s Subject, Change)>,
    ) {
        let mut changes: Vec<_> = changes
            .map(|(subject, change)| (self.shard_index(subject.borrowed()), subject, change))
            .collect();
        changes.sort_unstable_by_key(|(shard, ..)| *shard);
        for changes in changes.chunk_by(|one, other| one.0 == other.0) {
            let shard = &self.0.shards[changes[0].0];
            let mut changed = Shard::clone(&shard.load());
            for (_, subject, change) in changes {
                count(&mut changed, subject, namespace, *change);
            }
            shard.store(Arc::new(changed));
        }
    }
}

fn count(shard: &mut Shard, subject: &Subject, namespace: &Namespace, change: Change) {
    let places = shard.get(subject).map_or(&[][..], |places| &**places);
    let at = places.binary_search_by(|place| place.namespace.cmp(namespace));
    let mut places = places.to_vec();
    match (at, change) {
        (Ok(at), Change::Bound) => places[at].bindings += 1,
        (Ok(at), Change::Unbound) => {
            places[at].bindings -= 1;
            if places[at].bindings == 0 {
                places.remove(at);
            }
        }
        (Err(at), Change::Bound) => {
            let namespace = namespace.clone();
            let place = Place {
                namespace,
                bindings: 1,
            };
            places.insert(at, place);
        }
        // It was never counted.
        (Err(_), Change::Unbound) => return,
    }
    if places.is_empty() {
        shard.remove(subject);
    } else {
        shard.insert(subject.clone(), places.into());
    }
}

#[cfg(test)]
mod tests;
