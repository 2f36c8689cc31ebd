//! The namespaces of the cluster, kept up to date by a watch of their names.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use tokio::sync::Notify;

use super::Pauses;
use super::namespace_objects::{NamespaceObjects, Seen};
use crate::namespace::Namespace;

/// The namespaces of the cluster as a watch last saw them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ClusterNamespaces(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    names: ArcSwap<Names>,
    listed: Notify,
}

#[derive(Clone, Debug, Default)]
struct Names {
    /// Sorted. `None` until the first list has arrived.
    known: Option<Arc<[Namespace]>>,
    /// Whether the watch is still connected.
    watched: bool,
}

impl ClusterNamespaces {
    /// Replaces the list, which counts as complete until [`Self::lost`] is called.
    pub fn publish(&self, mut names: Vec<Namespace>) {
        names.sort_unstable();
        self.0.names.store(Arc::new(Names {
            known: Some(names.into()),
            watched: true,
        }));
        self.0.listed.notify_waiters();
    }

    /// From now on the list may be incomplete.
    pub fn lost(&self) {
        let known = self.0.names.load().known.clone();
        self.0.names.store(Arc::new(Names {
            known,
            watched: false,
        }));
    }

    /// The known namespaces, sorted. `None` until the first list has arrived.
    pub(crate) fn known(&self) -> Option<Arc<[Namespace]>> {
        self.0.names.load().known.clone()
    }

    /// Whether it is certain that there is no such namespace. It is not while the watch is interrupted, or before its
    /// first list.
    pub(crate) fn lacks(&self, name: &Namespace) -> bool {
        let names = self.0.names.load();
        names.watched
            && names
                .known
                .as_ref()
                .is_some_and(|known| known.binary_search(name).is_err())
    }

    /// Waits until the first list has arrived.
    pub async fn listed(&self) {
        let listed = self.0.listed.notified();
        if self.known().is_none() {
            listed.await;
        }
    }
}

/// Watches the names of the cluster's namespaces, for ever; with `objects`, also what a list shows of them.
pub async fn watch_namespaces(
    client: kube::Client,
    namespaces: ClusterNamespaces,
    objects: Option<NamespaceObjects>,
) {
    // The names are in the metadata, and a list of that alone is small.
    let api = Api::<PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>>::all(client);
    let mut pauses = Pauses::default();
    loop {
        let error = watch(api.clone(), &namespaces, objects.as_ref()).await;
        namespaces.lost();
        log(error.as_ref());
        if let Some(pause) = pauses.next() {
            tokio::time::sleep(pause).await;
        }
    }
}

fn log(error: Option<&watcher::Error>) {
    let error: Option<&dyn std::error::Error> = error.map(|error| error as _);
    tracing::warn!(error, "the namespaces cannot be watched now");
}

/// Lists and watches until that fails. kube's watcher would go on after an error, but does not say when it works again;
/// until then the list cannot be relied on, and a new list shows that it can.
async fn watch(
    api: Api<PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>>,
    namespaces: &ClusterNamespaces,
    objects: Option<&NamespaceObjects>,
) -> Option<watcher::Error> {
    let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
    let name =
        |object: &PartialObjectMeta<_>| object.metadata.name.as_deref().and_then(Namespace::parse);
    let mut names: BTreeSet<Namespace> = BTreeSet::new();
    let mut listed = BTreeSet::new();
    let mut seen = objects.map(|objects| (Seen::default(), objects));
    while let Some(event) = events.next().await {
        if let (Ok(event), Some((seen, objects))) = (&event, &mut seen) {
            show(event, seen, objects);
        }
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed.extend(name(&object));
                continue;
            }
            Ok(Event::InitDone) => names = std::mem::take(&mut listed),
            Ok(Event::Apply(object)) => {
                if !name(&object).is_some_and(|name| names.insert(name)) {
                    continue;
                }
            }
            Ok(Event::Delete(object)) => {
                if !name(&object).is_some_and(|name| names.remove(&name)) {
                    continue;
                }
            }
            Err(error) => return Some(error),
        }
        namespaces.publish(names.iter().cloned().collect());
    }
    None
}

fn show(
    event: &Event<PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>>,
    seen: &mut Seen,
    objects: &NamespaceObjects,
) {
    match event {
        Event::Init => return *seen = Seen::default(),
        Event::InitApply(object) => return seen.apply(&object.metadata),
        Event::InitDone => {}
        Event::Apply(object) => seen.apply(&object.metadata),
        Event::Delete(object) => seen.delete(&object.metadata),
    }
    seen.publish(objects);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Namespace {
        Namespace::parse(text).expect(text)
    }

    #[test]
    fn k18_only_a_list_that_is_complete_says_what_is_not_there() {
        let namespaces = ClusterNamespaces::default();
        assert!(!namespaces.lacks(&name("a")), "nothing is known yet");
        namespaces.publish(vec![name("b"), name("a")]);
        assert!(!namespaces.lacks(&name("a")) && !namespaces.lacks(&name("b")));
        assert!(namespaces.lacks(&name("c")));
        namespaces.lost();
        assert!(!namespaces.lacks(&name("c")), "it may have come meanwhile");
        assert_eq!(
            namespaces.known().as_deref(),
            Some(&[name("a"), name("b")][..])
        );
        namespaces.publish(Vec::new());
        assert!(namespaces.lacks(&name("a")));
    }
}
