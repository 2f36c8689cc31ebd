//! What Services and the configuration lead to: the proxy's own pods, and those of Prometheus. Read after the lists
//! that name them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use http::Uri;
use k8s_openapi::api::core::v1::{Pod, Service};

use super::clock::{self, Ahead};
use super::{names, pods};
use crate::config::{Config, PortRef, Upstream, UpstreamAddress};
use crate::doctor::lists::{Lists, Unread};
use crate::doctor::own_service::is_own;
use crate::doctor::snapshot::Snapshot;

/// How long a pod may take to say why it is not ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found by means of the lists.
pub(in crate::doctor) struct Surroundings {
    /// The proxy's Services that callers come through, and the pods behind each.
    pub(super) entrances: Result<Vec<Entrance>, Unread>,
    /// Each upstream of the configuration.
    pub(super) upstreams: Vec<FoundUpstream>,
    /// How far the API server's clock is ahead of ours, where it says.
    pub(super) ahead: Option<Ahead>,
}

/// A Service of the proxy with its pods.
pub(super) struct Entrance {
    pub(super) service: Service,
    /// `None`: it has no selector, so that what is behind it is not for Kubernetes to say.
    pub(super) pods: Option<Result<Vec<Pod>, Unread>>,
    /// What pods that are not ready answer when they are asked why, by their names.
    pub(super) reasons: BTreeMap<String, String>,
}

/// An upstream, and what of it is in the cluster.
pub(super) struct FoundUpstream {
    /// As `upstream default, service monitoring/prometheus:9090`.
    pub(super) description: String,
    pub(super) location: Result<Location, Unread>,
}

/// Where an upstream is, as the objects of the cluster say.
pub(super) enum Location {
    /// Its address names nothing whose pods Kubernetes knows.
    Elsewhere,
    /// There is no Service of that name.
    NoService,
    /// The Service has no such port.
    NoPort,
    /// Pods with these labels.
    Pods { pods: Vec<Pod>, port: PortRef },
}

impl Surroundings {
    pub(in crate::doctor) async fn read(
        lists: &Lists<'_>,
        snapshot: &Snapshot,
        config: &Config,
    ) -> Self {
        let services = &snapshot.services;
        let upstreams = config.upstreams.iter();
        let upstreams = join_all(upstreams.map(async |upstream| FoundUpstream {
            description: format!("upstream {}, {}", upstream.name, upstream.address),
            location: location(lists, services, upstream).await,
        }));
        let entrances = async {
            let services = services.as_ref().map_err(Clone::clone)?;
            let own = services.iter().filter(|service| is_own(service));
            Ok(join_all(own.map(|service| entrance(lists, service, config))).await)
        };
        let (entrances, upstreams, ahead) =
            tokio::join!(entrances, upstreams, clock::ahead(lists.client()));
        Self {
            entrances,
            upstreams,
            ahead,
        }
    }
}

async fn entrance(lists: &Lists<'_>, service: &Service, config: &Config) -> Entrance {
    let pods = match selector(service) {
        Some(labels) => Some(lists.pods(names(&service.metadata).0, &labels).await),
        None => None,
    };
    let unready = pods.iter().flatten().flatten();
    let unready = unready.filter(|pod| pods::is_running(pod) && !pods::is_ready(pod));
    let reasons = join_all(unready.map(async |pod| {
        let (namespace, name) = names(&pod.metadata);
        let port = pods::port(pod, "admin").unwrap_or(config.listeners.admin.address.port());
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/readyz");
        let told = tokio::time::timeout(PATIENCE, pods::said(lists.client(), &path)).await;
        Some((name.to_owned(), told.ok()??))
    }));
    Entrance {
        reasons: reasons.await.into_iter().flatten().collect(),
        pods,
        service: service.clone(),
    }
}

/// A Service's selector, as a list is asked with it.
fn selector(service: &Service) -> Option<String> {
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    let terms = selector.iter().map(|(key, value)| format!("{key}={value}"));
    let terms: Vec<_> = terms.collect();
    (!terms.is_empty()).then(|| terms.join(","))
}

async fn location(
    lists: &Lists<'_>,
    services: &Result<Vec<Service>, Unread>,
    upstream: &Upstream,
) -> Result<Location, Unread> {
    let (namespace, name, port) = match &upstream.address {
        UpstreamAddress::Pods {
            namespace,
            selector,
            port,
            ..
        } => {
            let pods = lists.pods(namespace.as_str(), selector).await?;
            let port = port.clone();
            return Ok(Location::Pods { pods, port });
        }
        UpstreamAddress::Service {
            namespace,
            name,
            port,
            ..
        } => (namespace.as_str(), name.as_str(), port.clone()),
        UpstreamAddress::Url(uri) => match service_of(uri) {
            Some(service) => service,
            None => return Ok(Location::Elsewhere),
        },
    };
    let services = services.as_ref().map_err(Clone::clone)?;
    let mut services = services.iter();
    let Some(service) = services.find(|it| names(&it.metadata) == (namespace, name)) else {
        return Ok(Location::NoService);
    };
    let Some(labels) = selector(service) else {
        return Ok(Location::Elsewhere);
    };
    let Some(port) = pods::target(service, &port) else {
        return Ok(Location::NoPort);
    };
    let pods = lists.pods(namespace, &labels).await?;
    Ok(Location::Pods { pods, port })
}

/// The Service and its port that a URL such as `http://prometheus.monitoring.svc:9090` names.
fn service_of(uri: &Uri) -> Option<(&str, &str, PortRef)> {
    let mut labels = uri.host()?.split('.');
    let (name, namespace) = (labels.next()?, labels.next()?);
    if labels.next() != Some("svc") {
        return None;
    }
    let https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    Some((namespace, name, PortRef::Number(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_service_where_it_says_svc() {
        let named = |text: &str| {
            let uri: Uri = text.parse().expect("a URL");
            let named = service_of(&uri);
            named.map(|(namespace, name, port)| format!("{namespace}/{name}:{port}"))
        };
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(
            named("http://p.monitoring.svc:9090/x"),
            of("monitoring/p:9090")
        );
        assert_eq!(named("http://p.m.svc.cluster.local"), of("m/p:80"));
        assert_eq!(named("https://p.m.svc"), of("m/p:443"));
        for elsewhere in [
            "http://prometheus.example.com",
            "http://10.0.0.1:9090",
            "http://p",
        ] {
            assert_eq!(named(elsewhere), None, "{elsewhere}");
        }
    }
}
