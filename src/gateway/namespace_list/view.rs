//! What a caller may be shown, at one moment. Nothing else is ever written.

use std::sync::Arc;

use crate::authz::NamespacesPermit;
use crate::cluster::namespace_objects::{NamespaceObject, Snapshot};
use crate::namespace::Namespace;

/// Namespaces that a permit opens, sorted by name. Only a permit makes one. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct View(Arc<[Arc<NamespaceObject>]>);

impl Default for View {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl View {
    /// What `permit` opens of all that there are.
    pub(super) fn new(all: &Snapshot, permit: &NamespacesPermit) -> Self {
        match permit.names() {
            None => Self(all.objects().clone()),
            Some(names) => {
                let found = names.iter().filter_map(|name| all.find(name).cloned());
                Self(found.collect())
            }
        }
    }

    /// One namespace alone, whoever may be shown it.
    #[cfg(test)]
    pub(super) fn of(object: Arc<NamespaceObject>) -> Self {
        Self(Arc::new([object]))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<NamespaceObject>> {
        self.0.iter()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Arc<NamespaceObject>> {
        self.0.get(index)
    }

    pub(super) fn find(&self, name: &Namespace) -> Option<&Arc<NamespaceObject>> {
        let found = self.0.binary_search_by(|object| object.name.cmp(name));
        found.ok().map(|index| &self.0[index])
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether both hold the same versions of the same namespaces.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.len() == other.len()
                && self
                    .iter()
                    .zip(other.iter())
                    .all(|(one, other)| one == other))
    }

    /// What is in either of them.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut all: Vec<_> = self.iter().chain(other.iter()).cloned().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all.dedup_by(|one, other| one.name == other.name);
        Self(all.into())
    }
}
