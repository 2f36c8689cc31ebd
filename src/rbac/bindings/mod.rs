//! The role bindings of the cluster, those of namespaces and those for the whole cluster, indexed by subject.
//!
//! One watch of each kind writes; callers read the `index` without waiting. A new list is compared with what is known,
//! object by object, so that only what differs is written.

mod index;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use tokio::sync::Notify;

use self::index::Index;
use super::changes::Changes;
use super::metrics::{PassedOver, RbacMetrics};
use super::object::{self, Role, Scope};
use super::subject::{Subject, subjects_of};
use crate::namespace::Namespace;

/// Subjects of all bindings together. Past the limit, a further binding counts as anybody's: whoever may create
/// bindings in one namespace must not fill our memory.
const MAX_SUBJECTS: usize = 1_000_000;

/// The role bindings of the cluster as a watch last saw them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bindings(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    index: Index,
    hasher: RandomState,
    state: AtomicU8,
    /// Notified when the first list is complete, or has failed.
    settled: Notify,
    /// For the watches alone.
    known: Mutex<Known>,
    changes: Changes,
    metrics: RbacMetrics,
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
    /// A hash of the role that it grants. Where two are equal by chance, a change of one counts for both.
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
    /// Empty at first. Once the first list is complete, it reports every change to `changes`.
    pub fn new(changes: Changes, metrics: RbacMetrics) -> Self {
        let hasher = RandomState::new();
        Self(Arc::new(Shared {
            index: Index::new(hasher.clone()),
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
        self.is_known()
            .then(|| self.0.index.namespaces_of(subjects_of(user, groups)))
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

    /// A list is complete.
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
            // What was answered earlier may have changed before the list was made.
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

    /// A binding exists, new or changed.
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
        let subjects: Box<[_]> = subjects
            .iter()
            .map(|one| self.0.index.interned(one))
            .collect();
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
            self.0.index.change(namespace, changes);
        }
        self.0.metrics.bindings(known.bindings);
        // Nothing in the first list counts as a change.
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

    /// A role was created, changed or deleted: a Role of a namespace, or a ClusterRole.
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

    /// Where changes are reported.
    pub(crate) fn changes(&self) -> &Changes {
        &self.0.changes
    }

    fn unbind(&self, known: &mut Known, place: Option<&Namespace>, binding: &Binding) {
        known.subjects -= binding.subjects.len();
        if let Some(namespace) = place {
            let changes = binding.subjects.iter();
            self.0
                .index
                .change(namespace, changes.map(|one| (one, Change::Unbound)));
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
        // Only the watches hold it, and the next list repairs what a panic could leave half done.
        let known = self.0.known.lock();
        known.unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, role: &Role) -> u32 {
        (self.0.hasher.hash_one(role) >> 32) as u32
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

#[cfg(test)]
mod tests;
