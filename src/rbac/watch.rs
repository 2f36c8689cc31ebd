//! Watches the role bindings of the cluster.

use std::time::Duration;

use futures_util::StreamExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};

use super::bindings::Bindings;
use super::object::RoleBinding;
use crate::cluster::Pauses;

/// Objects of one answer to a list. kube's 500 can be large ones, of a megabyte each.
const PAGE: u32 = 250;

/// After which a list that was forbidden is tried again: a right does not come by itself.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(30);

/// Watches the role bindings of all namespaces, for ever.
pub async fn watch_role_bindings(client: kube::Client, bindings: Bindings) {
    let api = Api::<RoleBinding>::all(client);
    let mut pauses = Pauses::default();
    let mut told = false;
    loop {
        let error = watch(api.clone(), &bindings, &mut told).await;
        bindings.lost();
        let forbidden = error.as_ref().is_some_and(is_forbidden);
        let pause = if forbidden {
            Some(FORBIDDEN_PAUSE)
        } else {
            pauses.next()
        };
        // Once: a right that is missing stays so.
        if !(forbidden && told) {
            log(error.as_ref(), forbidden);
        }
        told = forbidden;
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
}

fn log(error: Option<&watcher::Error>, forbidden: bool) {
    let error: Option<&dyn std::error::Error> = error.map(|error| error as _);
    if forbidden {
        tracing::warn!(
            error,
            "the proxy's ServiceAccount may not list and watch rolebindings: give it that right, or set authorization.namespaces to all"
        );
    } else {
        tracing::warn!(error, "the role bindings cannot be watched now");
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

/// Lists and watches until that fails, as for the namespaces. What is known stays meanwhile.
async fn watch(
    api: Api<RoleBinding>,
    bindings: &Bindings,
    told: &mut bool,
) -> Option<watcher::Error> {
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = std::pin::pin!(watcher::watcher(api, config));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => bindings.listing(),
            Ok(Event::InitApply(object) | Event::Apply(object)) => bindings.apply(&object),
            Ok(Event::InitDone) => {
                bindings.listed();
                *told = false;
            }
            Ok(Event::Delete(object)) => bindings.remove(&object),
            Err(error) => return Some(error),
        }
    }
    None
}
