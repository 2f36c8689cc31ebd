//! Roles and ClusterRoles: only whether they change.
//!
//! What a role allows is for Kubernetes to say. The metadata shows that it was written, also for an aggregated
//! ClusterRole, whose rules a controller writes when another role changes.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::marker::PhantomData;

use kube::Resource;
use kube::core::PartialObjectMeta;

use super::bindings::Bindings;
use super::watch::Store;
use crate::namespace::Namespace;

/// The versions of all roles, by which changes are noticed.
#[derive(Debug)]
pub(super) struct Roles<K> {
    bindings: Bindings,
    hasher: RandomState,
    /// By a hash of namespace and name.
    known: HashMap<u64, Version>,
    list: u32,
    complete: bool,
    kind: PhantomData<fn(K)>,
}

#[derive(Clone, Copy, Debug)]
struct Version {
    /// A hash of the resource version.
    hash: u64,
    /// The list that last held the role.
    list: u32,
}

impl<K> Roles<K> {
    pub(super) fn new(bindings: Bindings) -> Self {
        Self {
            bindings,
            hasher: RandomState::new(),
            known: HashMap::new(),
            list: 0,
            complete: false,
            kind: PhantomData,
        }
    }

    fn hash(&self, value: impl Hash) -> u64 {
        self.hasher.hash_one(value)
    }
}

impl<K> Store<PartialObjectMeta<K>> for Roles<K>
where
    PartialObjectMeta<K>: Resource,
{
    fn listing(&mut self) {
        self.list = self.list.wrapping_add(1);
    }

    fn apply(&mut self, object: &PartialObjectMeta<K>) {
        let metadata = &object.metadata;
        let key = self.hash((&metadata.namespace, &metadata.name));
        let version = Version {
            hash: self.hash(&metadata.resource_version),
            list: self.list,
        };
        let before = self.known.insert(key, version);
        // Nothing in the first list counts as a change.
        if self.complete && before.is_none_or(|before| before.hash != version.hash) {
            self.tell(object);
        }
    }

    fn remove(&mut self, object: &PartialObjectMeta<K>) {
        let metadata = &object.metadata;
        let key = self.hash((&metadata.namespace, &metadata.name));
        self.known.remove(&key);
        self.tell(object);
    }

    fn listed(&mut self) {
        self.complete = true;
        let (before, list) = (self.known.len(), self.list);
        self.known.retain(|_, version| version.list == list);
        // The names of those that are gone are not kept.
        if self.known.len() < before {
            self.bindings.changes().touch_everybody(None);
        }
    }

    fn lost(&mut self) {}
}

impl<K> Roles<K> {
    fn tell(&self, object: &PartialObjectMeta<K>) {
        let metadata = &object.metadata;
        let Some(name) = metadata.name.as_deref() else {
            return;
        };
        match metadata.namespace.as_deref().map(Namespace::parse) {
            None => self.bindings.role_changed(None, name),
            Some(Some(namespace)) => self.bindings.role_changed(Some(&namespace), name),
            // Nobody can ask about such a namespace.
            Some(None) => {}
        }
    }
}
