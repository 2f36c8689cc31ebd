//! Watches the objects of RBAC.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;

use super::bindings::Bindings;
use super::changes::Changes;
use super::metrics::{RbacMetrics, Watched};
use super::object::{Binding, ClusterRoleBinding, RoleBinding, Scope};
use super::roles::Roles;
use crate::cluster::Pauses;

/// Objects of one answer to a list. kube's 500 can be large ones, of a megabyte each.
const PAGE: u32 = 250;

/// How long a forbidden list is not tried again: it takes somebody to grant the right.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(30);

/// Keeps the objects of a watch.
pub(super) trait Store<K> {
    /// A list begins.
    fn listing(&mut self);
    /// An object is there, in a list or as it was written.
    fn apply(&mut self, object: &K);
    fn remove(&mut self, object: &K);
    /// A list is complete.
    fn listed(&mut self);
    /// The watch has ended.
    fn lost(&mut self);
}

impl<S: Scope> Store<Binding<S>> for Bindings {
    fn listing(&mut self) {
        Bindings::listing::<S>(self);
    }

    fn apply(&mut self, object: &Binding<S>) {
        Bindings::apply(self, object);
    }

    fn remove(&mut self, object: &Binding<S>) {
        Bindings::remove(self, object);
    }

    fn listed(&mut self) {
        Bindings::listed::<S>(self);
    }

    fn lost(&mut self) {
        Bindings::lost::<S>(self);
    }
}

/// Watches the RoleBindings of all namespaces, for ever.
pub async fn watch_role_bindings(client: kube::Client, bindings: Bindings, metrics: RbacMetrics) {
    let api = Api::<RoleBinding>::all(client);
    let changes = bindings.changes().clone();
    follow(api, Watched::RoleBindings, bindings, &changes, &metrics).await;
}

/// Watches what else decides about rights, for ever: ClusterRoleBindings, Roles and ClusterRoles.
pub async fn watch_roles(client: kube::Client, bindings: Bindings, metrics: RbacMetrics) {
    let changes = bindings.changes().clone();
    let cluster = Api::<ClusterRoleBinding>::all(client.clone());
    let roles = Api::<PartialObjectMeta<Role>>::all(client.clone());
    let cluster_roles = Api::<PartialObjectMeta<ClusterRole>>::all(client);
    tokio::join!(
        follow(
            cluster,
            Watched::ClusterRoleBindings,
            bindings.clone(),
            &changes,
            &metrics
        ),
        follow(
            roles,
            Watched::Roles,
            Roles::new(bindings.clone()),
            &changes,
            &metrics
        ),
        follow(
            cluster_roles,
            Watched::ClusterRoles,
            Roles::new(bindings),
            &changes,
            &metrics
        ),
    );
}

async fn follow<K>(
    api: Api<K>,
    resource: Watched,
    mut kept: impl Store<K>,
    changes: &Changes,
    metrics: &RbacMetrics,
) -> std::convert::Infallible
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut pauses = Pauses::default();
    let mut told = false;
    let watched = |goes_on| {
        changes.watched(resource, goes_on);
        metrics.watched(resource, goes_on);
    };
    watched(false);
    loop {
        let listed = |kept: &mut _| {
            Store::<K>::listed(kept);
            watched(true);
        };
        let (error, worked) = watch(api.clone(), &mut kept, listed).await;
        watched(false);
        kept.lost();
        let forbidden = error.as_ref().is_some_and(is_forbidden);
        // Once: a right that is missing stays so.
        if !forbidden || worked || !told {
            log(resource, error.as_ref(), forbidden);
        }
        told = forbidden;
        let pause = match forbidden {
            true => Some(FORBIDDEN_PAUSE),
            false => pauses.next(),
        };
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

fn log(resource: Watched, error: Option<&watcher::Error>, forbidden: bool) {
    let error: Option<&dyn std::error::Error> = error.map(|error| error as _);
    let resource = resource.as_str();
    if forbidden {
        tracing::warn!(
            resource,
            error,
            "the proxy's ServiceAccount may not list and watch this resource: give it that right, or set authorization.namespaces to all and authorization.changes to ttl"
        );
    } else {
        tracing::warn!(resource, error, "this resource cannot be watched now");
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 403,
        watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

/// Lists and watches until that fails, as for the namespaces; what is known stays meanwhile. Also returns whether a
/// list was complete.
async fn watch<K, T: Store<K>>(
    api: Api<K>,
    kept: &mut T,
    listed: impl Fn(&mut T),
) -> (Option<watcher::Error>, bool)
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = std::pin::pin!(watcher::watcher(api, config));
    let mut worked = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => kept.listing(),
            Ok(Event::InitApply(object) | Event::Apply(object)) => kept.apply(&object),
            Ok(Event::InitDone) => {
                listed(kept);
                worked = true;
            }
            Ok(Event::Delete(object)) => kept.remove(&object),
            Err(error) => return (Some(error), worked),
        }
    }
    (None, worked)
}
