//! In which namespaces each subject is bound. Callers look it up without waiting: the subjects are spread over shards,
//! and a change copies only the shards that it touches.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashMap;

use super::Change;
use crate::namespace::Namespace;
use crate::rbac::subject::{Subject, SubjectRef};

/// With 25,000 subjects a change copies a hundred of them.
const SHARDS: usize = 256;

/// Written under the lock of what the bindings know, so by one thread at a time; read by any number.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[ArcSwap<Shard>]>,
    hasher: RandomState,
}

/// Where each subject is bound, sorted by namespace.
type Shard = HashMap<Subject, Arc<[Bound]>, RandomState>;

/// One subject in one namespace.
#[derive(Clone, Debug)]
struct Bound {
    namespace: Namespace,
    /// How many bindings there name the subject.
    bindings: u32,
}

impl Index {
    pub(super) fn new(hasher: RandomState) -> Self {
        let shard = || ArcSwap::from_pointee(Shard::with_hasher(hasher.clone()));
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            hasher,
        }
    }

    /// The namespaces in which one of `subjects` is bound, sorted.
    pub(super) fn namespaces_of<'s>(
        &self,
        subjects: impl Iterator<Item = SubjectRef<'s>>,
    ) -> Vec<Namespace> {
        let mut namespaces = Vec::new();
        for subject in subjects {
            let shard = self.shards[self.shard_of(subject)].load();
            let bound = shard.get(&subject).into_iter().flat_map(|bound| &**bound);
            namespaces.extend(bound.map(|bound| bound.namespace.clone()));
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }

    /// The same subject, sharing the memory of the one in the index if it is there.
    pub(super) fn interned(&self, subject: &Subject) -> Subject {
        let shard = self.shards[self.shard_of(subject.borrowed())].load();
        let known = shard.get_key_value(subject);
        known.map_or_else(|| subject.clone(), |(known, _)| known.clone())
    }

    /// Counts bindings of subjects in a namespace. Each shard that this touches is copied once.
    pub(super) fn change<'s>(
        &self,
        namespace: &Namespace,
        changes: impl Iterator<Item = (&'s Subject, Change)>,
    ) {
        let mut changes: Vec<_> = changes
            .map(|(subject, change)| (self.shard_of(subject.borrowed()), subject, change))
            .collect();
        changes.sort_unstable_by_key(|(shard, ..)| *shard);
        for changes in changes.chunk_by(|one, other| one.0 == other.0) {
            let shard = &self.shards[changes[0].0];
            let mut changed = Shard::clone(&shard.load());
            for (_, subject, change) in changes {
                count(&mut changed, subject, namespace, *change);
            }
            shard.store(Arc::new(changed));
        }
    }

    fn shard_of(&self, subject: SubjectRef<'_>) -> usize {
        // Other bits of the hash than the shard's own table uses.
        (self.hasher.hash_one(subject) >> 16) as usize % SHARDS
    }
}

fn count(shard: &mut Shard, subject: &Subject, namespace: &Namespace, change: Change) {
    let bound = shard.get(subject).map_or(&[][..], |bound| &**bound);
    let at = bound.binary_search_by(|bound| bound.namespace.cmp(namespace));
    let mut bound = bound.to_vec();
    match (at, change) {
        (Ok(at), Change::Bound) => bound[at].bindings += 1,
        (Ok(at), Change::Unbound) => {
            bound[at].bindings -= 1;
            if bound[at].bindings == 0 {
                bound.remove(at);
            }
        }
        (Err(at), Change::Bound) => {
            let namespace = namespace.clone();
            bound.insert(
                at,
                Bound {
                    namespace,
                    bindings: 1,
                },
            );
        }
        // It was never counted.
        (Err(_), Change::Unbound) => return,
    }
    if bound.is_empty() {
        shard.remove(subject);
    } else {
        shard.insert(subject.clone(), bound.into());
    }
}
