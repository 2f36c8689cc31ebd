//! What is kept of each namespace besides its name, for the gateway's list of namespaces: only what a list shows.
//! Annotations, owners and conditions are not kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::watch;

use crate::namespace::Namespace;

/// A namespace, as far as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceObject {
    /// Its name.
    pub name: Namespace,
    /// Tells it from an earlier one of the same name.
    pub uid: String,
    /// Which of its versions this is: a revision of the whole cluster's store.
    pub version: u64,
    /// When it was made.
    pub created: Option<jiff::Timestamp>,
    /// Since when it is being deleted, if at all.
    pub deleted: Option<jiff::Timestamp>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl NamespaceObject {
    /// Keeps what is shown of an object's metadata. `None` for an object without a valid name, without a uid, or with a
    /// version that is not a number.
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        let seconds = |time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| time.0;
        Some(Self {
            name: Namespace::parse(metadata.name.as_deref()?)?,
            uid: metadata.uid.clone()?,
            version: metadata.resource_version.as_deref()?.parse().ok()?,
            created: metadata.creation_timestamp.as_ref().map(seconds),
            deleted: metadata.deletion_timestamp.as_ref().map(seconds),
            labels: metadata.labels.clone().unwrap_or_default(),
        })
    }

    /// The phase. The API server sets it together with the time of deletion, so a watch of the metadata tells it.
    pub fn phase(&self) -> &'static str {
        match self.deleted {
            Some(_) => "Terminating",
            None => "Active",
        }
    }
}

/// All namespaces at one moment, by name.
#[derive(Clone, Debug)]
pub struct Snapshot {
    objects: Arc<[Arc<NamespaceObject>]>,
    version: u64,
}

impl Snapshot {
    /// Each of them, sorted by name.
    pub fn objects(&self) -> &Arc<[Arc<NamespaceObject>]> {
        &self.objects
    }

    /// The one of this name.
    pub fn find(&self, name: &Namespace) -> Option<&Arc<NamespaceObject>> {
        let found = self
            .objects
            .binary_search_by(|object| object.name.cmp(name));
        found.ok().map(|index| &self.objects[index])
    }

    /// The newest version that has been seen of any, deleted ones included. Never goes back.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// The namespaces of the cluster as a watch last saw them. Cheap to clone; readers wait for nobody.
#[derive(Clone, Debug)]
pub struct NamespaceObjects(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` until the first list has arrived.
    now: ArcSwapOption<Snapshot>,
    changed: watch::Sender<()>,
}

impl Default for NamespaceObjects {
    fn default() -> Self {
        Self(Arc::new(Shared {
            now: ArcSwapOption::empty(),
            changed: watch::Sender::new(()),
        }))
    }
}

impl NamespaceObjects {
    /// What is known now. `None` until the first list has arrived.
    pub fn now(&self) -> Option<Arc<Snapshot>> {
        self.0.now.load_full()
    }

    /// Notifies of each change from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Replaces what is known. `version` is the newest that was seen.
    pub fn publish(&self, objects: impl IntoIterator<Item = Arc<NamespaceObject>>, version: u64) {
        let mut objects: Vec<_> = objects.into_iter().collect();
        objects.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let newest = objects.iter().map(|object| object.version).max();
        let before = self.0.now.load().as_ref().map_or(0, |now| now.version);
        let version = version.max(newest.unwrap_or_default()).max(before);
        self.0.now.store(Some(Arc::new(Snapshot {
            objects: objects.into(),
            version,
        })));
        self.0.changed.send_replace(());
    }
}

/// What a watch has seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    objects: BTreeMap<Namespace, Arc<NamespaceObject>>,
    version: u64,
}

impl Seen {
    /// One that is there.
    pub(super) fn apply(&mut self, metadata: &ObjectMeta) {
        if let Some(object) = NamespaceObject::of(metadata) {
            self.version = self.version.max(object.version);
            self.objects.insert(object.name.clone(), Arc::new(object));
        }
    }

    /// One that is gone.
    pub(super) fn delete(&mut self, metadata: &ObjectMeta) {
        if let Some(object) = NamespaceObject::of(metadata) {
            self.version = self.version.max(object.version);
            self.objects.remove(&object.name);
        }
    }

    /// Publishes what has been seen.
    pub(super) fn publish(&self, to: &NamespaceObjects) {
        to.publish(self.objects.values().cloned(), self.version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).expect("metadata")
    }

    #[test]
    fn only_what_is_shown_is_kept() {
        let object = NamespaceObject::of(&metadata(serde_json::json!({
            "name": "a", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-11-23T05:47:52Z",
            "labels": {"x": "y"}, "annotations": {"secret": "value"},
        })));
        let object = object.expect("an object");
        assert_eq!((object.version, object.phase()), (7, "Active"));
        assert!(!format!("{object:?}").contains("secret"));
        for broken in [
            serde_json::json!({"name": "a", "uid": "u", "resourceVersion": "x"}),
            serde_json::json!({"name": "A", "uid": "u", "resourceVersion": "1"}),
            serde_json::json!({"name": "a", "resourceVersion": "1"}),
        ] {
            assert_eq!(NamespaceObject::of(&metadata(broken)), None);
        }
    }

    #[test]
    fn the_version_never_goes_back() {
        let objects = NamespaceObjects::default();
        assert!(objects.now().is_none());
        let mut seen = Seen::default();
        let of = |name: &str, version: u64| {
            metadata(
                serde_json::json!({"name": name, "uid": name, "resourceVersion": version.to_string()}),
            )
        };
        seen.apply(&of("b", 5));
        seen.apply(&of("a", 3));
        seen.delete(&of("b", 9));
        seen.publish(&objects);
        let now = objects.now().expect("known");
        let names: Vec<_> = now
            .objects()
            .iter()
            .map(|object| object.name.as_str())
            .collect();
        assert_eq!((names, now.version()), (vec!["a"], 9));
        let mut again = Seen::default();
        again.apply(&of("a", 3));
        again.publish(&objects);
        assert_eq!(objects.now().expect("known").version(), 9);
        let a = Namespace::parse("a").expect("a name");
        assert!(now.find(&a).is_some());
    }
}
