//! Finds the endpoints of an upstream in Kubernetes, and watches for changes.
//!
//! A lost watch is begun again, with growing pauses; until then the last known endpoints stay. Which of them work is
//! for `health` to find out.

mod pods;
mod slices;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;

use futures_util::StreamExt;
use http::uri::Authority;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::cluster::Pauses;
use crate::config::UpstreamAddress;
use crate::upstream::choice::endpoint::Offer;
use crate::upstream::choice::endpoints::Discovered;

/// The label that ties an EndpointSlice to its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Why something that Kubernetes listed is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum NotUsed {
    /// It is not clear which of the pods' ports is meant.
    #[error(
        "the Service has several ports ({offered}), and none is {wanted} on the pods: set the upstream's service.port to the name of the right one"
    )]
    Number {
        wanted: u16,
        /// Names and numbers of the ports that there are.
        offered: String,
    },
    /// There is no port with that name.
    #[error("there is no port named {wanted}; there are: {offered}")]
    Name {
        wanted: String,
        /// Names and numbers of the ports that there are.
        offered: String,
    },
}

/// Watches `address` for ever and passes all its endpoints to `publish` whenever they change. Returns at once for a
/// URL.
pub(super) async fn watch(
    upstream: &str,
    client: kube::Client,
    address: UpstreamAddress,
    mut publish: impl FnMut(Vec<Discovered>),
) {
    match address {
        UpstreamAddress::Url(_) => {}
        UpstreamAddress::Service {
            namespace,
            name,
            port,
            ..
        } => {
            let api = Api::<EndpointSlice>::namespaced(client, namespace.as_str());
            let selector = format!("{SERVICE_NAME}={name}");
            follow(upstream, api, selector, |slices| {
                publish(merged(
                    upstream,
                    slices.map(|slice| slices::read(slice, &port)),
                ));
            })
            .await;
        }
        UpstreamAddress::Pods {
            namespace,
            selector,
            port,
            ..
        } => {
            let api = Api::<Pod>::namespaced(client, namespace.as_str());
            follow(upstream, api, selector, |pods| {
                publish(merged(upstream, pods.map(|pod| pods::read(pod, &port))));
            })
            .await;
        }
    }
}

/// Keeps what is listed, and calls `changed` with all of it after each change.
async fn follow<K>(
    upstream: &str,
    api: Api<K>,
    selector: String,
    mut changed: impl FnMut(std::collections::btree_map::Values<'_, String, K>),
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().labels(&selector);
    let events = watcher::watcher(api, config).backoff(Pauses::default());
    let mut events = std::pin::pin!(events);
    let mut objects: BTreeMap<String, K> = BTreeMap::new();
    let mut listed = BTreeMap::new();
    let name = |object: &K| object.meta().name.clone().unwrap_or_default();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed.insert(name(&object), object);
                continue;
            }
            Ok(Event::InitDone) => {
                objects = std::mem::take(&mut listed);
                if objects.is_empty() {
                    tracing::warn!(
                        upstream,
                        selector,
                        "no pods of this upstream exist; if there were some before, they are still tried"
                    );
                }
            }
            Ok(Event::Apply(object)) => {
                objects.insert(name(&object), object);
            }
            Ok(Event::Delete(object)) => {
                objects.remove(&name(&object));
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    upstream,
                    error,
                    "the pods of this upstream cannot be watched now; those that are known stay"
                );
                continue;
            }
        }
        changed(objects.values());
    }
}

/// One endpoint for each name: with two IP families, a pod is in two slices.
fn merged(
    upstream: &str,
    read: impl Iterator<Item = Result<Vec<Discovered>, NotUsed>>,
) -> Vec<Discovered> {
    let mut endpoints: BTreeMap<String, Discovered> = BTreeMap::new();
    for found in read {
        let found = found.unwrap_or_else(|reason| {
            tracing::error!(upstream, %reason, "endpoints of this upstream cannot be used");
            Vec::new()
        });
        for endpoint in found {
            match endpoints.get_mut(&endpoint.name) {
                None => {
                    endpoints.insert(endpoint.name.clone(), endpoint);
                }
                Some(known) => {
                    known.addresses.extend(endpoint.addresses);
                    if endpoint.offer == Offer::Ready {
                        known.offer = Offer::Ready;
                    }
                }
            }
        }
    }
    let mut endpoints: Vec<_> = endpoints.into_values().collect();
    for endpoint in &mut endpoints {
        // Always in the same order, so that an endpoint is the same after each list. IPv4 comes first.
        let family = |address: &Authority| (address.as_str().starts_with('['), address.to_string());
        endpoint.addresses.sort_by_key(family);
        endpoint.addresses.dedup();
    }
    endpoints
}

/// Host and port as they stand in a URL. `None` for what is not an address: a name in a slice of type `FQDN` is for
/// Services outside of the cluster.
fn authority(address: &str, port: u16) -> Option<Authority> {
    let address: IpAddr = address.parse().ok()?;
    std::net::SocketAddr::new(address, port)
        .to_string()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
