//! The role bindings of the cluster, by whom they name: those of namespaces, and those for the whole cluster.
//!
//! One watch of each kind writes, and any number of callers read without waiting: the subjects are spread over shards, of which a
//! change copies the few that it touches. A new list is compared with what is known, object by object, so that neither
//! a list nor a change makes everything anew.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use tokio::sync::Notify;

use super::changes::Changes;
use super::metrics::{PassedOver, RbacMetrics};
use super::object::{self, Role, Scope};
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
    /// For the watches alone.
    known: Mutex<Known>,
    changes: Changes,
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
    /// Sorted by name. `None`: those for the whole cluster.
    places: HashMap<Option<Namespace>, Vec<Binding>, RandomState>,
    bindings: usize,
    subjects: usize,
    namespaced: Lists,
    cluster: Lists,
}

/// How far the lists of one kind are.
#[derive(Clone, Copy, Debug, Default)]
struct Lists {
    /// The number of the one that is being read, or was read last.
    number: u32,
    /// Whether one was ever complete.
    complete: bool,
}

#[derive(Debug)]
struct Binding {
    name: Box<str>,
    /// Sorted.
    subjects: Box<[Subject]>,
    /// A hash of the role that it gives. Two that are alike by chance are told of each other's changes.
    role: u32,
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
    /// Knows nothing yet. Tells `changes` of whatever changes once it knows something.
    pub fn new(changes: Changes, metrics: RbacMetrics) -> Self {
        let hasher = RandomState::new();
        let shard = || ArcSwap::from_pointee(Shard::with_hasher(hasher.clone()));
        Self(Arc::new(Shared {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            state: AtomicU8::new(State::Listing as u8),
            settled: Notify::new(),
            known: Mutex::default(),
            hasher,
            changes,
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
    pub fn listing<S: Scope>(&self) {
        let known = &mut *self.known();
        let lists = known.lists::<S>();
        lists.number = lists.number.wrapping_add(1);
    }

    /// The list is complete.
    pub fn listed<S: Scope>(&self) {
        let known = &mut *self.known();
        let lists = known.lists::<S>();
        let first = !std::mem::replace(&mut lists.complete, true);
        let number = lists.number;
        let mut gone = Vec::new();
        for (place, bindings) in &mut known.places {
            if place.is_some() == S::IN_NAMESPACE {
                let old = bindings.extract_if(.., |binding| binding.list != number);
                gone.extend(old.map(|binding| (place.clone(), binding)));
            }
        }
        known.places.retain(|_, bindings| !bindings.is_empty());
        for (place, binding) in gone {
            known.bindings -= 1;
            self.unbind(known, place.as_ref(), &binding);
        }
        self.0.metrics.bindings(known.bindings);
        if first {
            // What was answered before may have changed before the list was made.
            self.0.changes.touch_everybody(None);
        }
        if S::IN_NAMESPACE {
            self.settle(State::Known);
        }
    }

    /// The watch has ended. What is known stays.
    pub fn lost<S: Scope>(&self) {
        if S::IN_NAMESPACE && !self.is_known() {
            self.settle(State::Failed);
        }
    }

    /// A binding is there, new or changed.
    pub fn apply<S: Scope>(&self, object: &object::Binding<S>) {
        let Some((place, name)) = self.place(object) else {
            return;
        };
        let passed_over = |reason| self.0.metrics.passed_over(reason);
        let mut subjects = object.subjects(place.as_ref().map(Namespace::as_str), passed_over);
        let role = object.role().map_or(0, |role| self.hash(role));
        let known = &mut *self.known();
        let Lists { number, complete } = *known.lists::<S>();
        let entry = known.places.entry(place);
        // In the memory that it already has.
        let place = entry.key().clone();
        let bindings = entry.or_default();
        let at = bindings.binary_search_by(|binding| (*binding.name).cmp(name));
        let before = at.map_or(0, |at| bindings[at].subjects.len());
        if known.subjects - before + subjects.len() > MAX_SUBJECTS {
            passed_over(PassedOver::Full);
            subjects = vec![Subject::Anybody];
        }
        let subjects: Box<[_]> = subjects.iter().map(|one| self.interned(one)).collect();
        known.subjects = known.subjects - before + subjects.len();
        let binding = Binding {
            name: name.into(),
            subjects: subjects.clone(),
            role,
            list: number,
        };
        let old = match at {
            Ok(at) => Some(std::mem::replace(&mut bindings[at], binding)),
            Err(at) => {
                // Few are there, and their number hardly changes.
                bindings.reserve_exact(1);
                bindings.insert(at, binding);
                known.bindings += 1;
                None
            }
        };
        let other_role = old.as_ref().is_some_and(|old| old.role != role);
        let old = old.map_or_else(Box::default, |old| old.subjects);
        let gone = old
            .iter()
            .filter(|one| subjects.binary_search(one).is_err());
        let new = subjects
            .iter()
            .filter(|one| old.binary_search(one).is_err());
        if let Some(namespace) = &place {
            let gone = gone.clone().map(|one| (one, Change::Unbound));
            let changes = gone.chain(new.clone().map(|one| (one, Change::Bound)));
            self.change(namespace, changes);
        }
        self.0.metrics.bindings(known.bindings);
        // Of a first list nothing is new.
        if !complete {
            return;
        }
        let (changes, place) = (&self.0.changes, place.as_ref());
        if other_role {
            changes.touch(old.iter().chain(&subjects), place);
        } else {
            changes.touch(gone.chain(new), place);
        }
    }

    /// A binding is gone.
    pub fn remove<S: Scope>(&self, object: &object::Binding<S>) {
        let Some((place, name)) = self.place(object) else {
            return;
        };
        let known = &mut *self.known();
        let Some(bindings) = known.places.get_mut(&place) else {
            return;
        };
        let Ok(at) = bindings.binary_search_by(|binding| (*binding.name).cmp(name)) else {
            return;
        };
        let binding = bindings.remove(at);
        if bindings.is_empty() {
            known.places.remove(&place);
        }
        known.bindings -= 1;
        self.unbind(known, place.as_ref(), &binding);
        self.0.metrics.bindings(known.bindings);
    }

    /// A role has changed, or has come or gone: a Role of a namespace, or a ClusterRole.
    pub(super) fn role_changed(&self, namespace: Option<&Namespace>, name: &str) {
        let known = &mut *self.known();
        if !(known.namespaced.complete && known.cluster.complete) {
            return self.0.changes.touch_everybody(namespace.cloned());
        }
        let kind = if namespace.is_some() {
            "Role"
        } else {
            "ClusterRole"
        };
        let role = Role {
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let role = self.hash(&role);
        let places = known.places.iter();
        let places = places.filter(|(place, _)| namespace.is_none() || place.as_ref() == namespace);
        let touched = places.flat_map(|(place, bindings)| {
            let bindings = bindings.iter().filter(|binding| binding.role == role);
            let subjects = bindings.flat_map(|binding| &binding.subjects);
            subjects.map(|subject| (subject, place.as_ref()))
        });
        self.0.changes.touch_all(touched);
    }

    /// Whoever the changes are told to.
    pub(crate) fn changes(&self) -> &Changes {
        &self.0.changes
    }

    fn unbind(&self, known: &mut Known, place: Option<&Namespace>, binding: &Binding) {
        known.subjects -= binding.subjects.len();
        if let Some(namespace) = place {
            let changes = binding.subjects.iter();
            self.change(namespace, changes.map(|one| (one, Change::Unbound)));
        }
        self.0.changes.touch(binding.subjects.iter(), place);
    }

    fn is_known(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == State::Known as u8
    }

    fn settle(&self, state: State) {
        self.0.state.store(state as u8, Ordering::Release);
        self.0.settled.notify_waiters();
    }

    /// Where an object binds, and its name.
    fn place<'o, S: Scope>(
        &self,
        object: &'o object::Binding<S>,
    ) -> Option<(Option<Namespace>, &'o str)> {
        let metadata = &object.metadata;
        let place = if S::IN_NAMESPACE {
            let namespace = metadata.namespace.as_deref().and_then(Namespace::parse);
            namespace.map(Some)
        } else {
            Some(None)
        };
        let name = metadata.name.as_deref().filter(|name| !name.is_empty());
        let place = place.zip(name);
        if place.is_none() {
            self.0.metrics.passed_over(PassedOver::Name);
        }
        place
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Held by the watches alone, and what a panic could leave half done is made good by the next list.
        let known = self.0.known.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, role: &Role) -> u32 {
        (self.0.hasher.hash_one(role) >> 32) as u32
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

impl Known {
    fn lists<S: Scope>(&mut self) -> &mut Lists {
        if S::IN_NAMESPACE {
            &mut self.namespaced
        } else {
            &mut self.cluster
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
