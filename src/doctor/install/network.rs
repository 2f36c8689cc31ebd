//! NetworkPolicies between the API server, the proxy and Prometheus; and whether Prometheus is open around the proxy.

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::Role;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::policies::{Direction, NamespaceLabels, Peer, Policies, Verdict};
use super::surroundings::{Entrance, FoundUpstream, Location, Surroundings};
use super::{door, names, pods};
use crate::config::{Config, PortRef};
use crate::doctor::finding::{Code, Finding, Severity};
use crate::doctor::lists::Unread;
use crate::doctor::snapshot::Snapshot;

/// Where the API server listens, in most clusters. Which of its ports a policy sees depends on what enforces it.
const API_SERVER: [u16; 2] = [443, 6443];

/// Judges all policies.
pub(super) fn examine(
    snapshot: &Snapshot,
    surroundings: &Surroundings,
    config: &Config,
) -> Result<Vec<Finding>, Unread> {
    let policies = snapshot.policies.as_ref().map_err(Clone::clone)?;
    let namespaces = labels(snapshot)?;
    let services = snapshot.services.as_ref().map_err(Clone::clone)?;
    let roles = snapshot.roles.as_ref().map_err(Clone::clone)?;
    let entrances = surroundings.entrances.as_ref().map_err(Clone::clone)?;
    let policies = Policies {
        policies,
        namespaces: &namespaces,
    };
    let mut findings = Vec::new();
    for entrance in entrances {
        let Some(pods) = &entrance.pods else {
            continue;
        };
        // Pods of one Service are alike.
        if let Some(proxy) = pods.as_ref().map_err(Clone::clone)?.first() {
            findings.extend(of_proxy(
                &policies, entrance, proxy, services, roles, config,
            ));
            findings.extend(to_upstreams(&policies, proxy, &surroundings.upstreams)?);
        }
    }
    findings.extend(open(&policies, &surroundings.upstreams)?);
    Ok(findings)
}

fn labels(snapshot: &Snapshot) -> Result<NamespaceLabels, Unread> {
    let namespaces = snapshot.namespaces.as_ref().map_err(Clone::clone)?;
    let labelled = namespaces.iter().map(|namespace| {
        let name = names(&namespace.metadata).1.to_owned();
        (name, namespace.metadata.labels.clone().unwrap_or_default())
    });
    Ok(labelled.collect())
}

/// The ways between the API server and the proxy.
fn of_proxy(
    policies: &Policies<'_>,
    entrance: &Entrance,
    proxy: &Pod,
    services: &[Service],
    roles: &[Role],
    config: &Config,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let port = door_port(entrance, proxy, config);
    let verdict = policies.verdict(proxy, Direction::Ingress, Peer::ApiServer, port);
    if let Verdict::Blocked(by) = verdict
        && door::is_open(&entrance.service, roles)
    {
        let what = format!(
            "the API server does not reach port {port} of the proxy, so that every chart through it fails"
        );
        findings.push(blocks(&by, what));
    }
    let mut ports = api_server(services);
    let blocked = ports.all(|port| {
        let verdict = policies.verdict(proxy, Direction::Egress, Peer::ApiServer, port);
        matches!(verdict, Verdict::Blocked(_))
    });
    let verdict = policies.verdict(proxy, Direction::Egress, Peer::ApiServer, API_SERVER[0]);
    if let (true, Verdict::Blocked(by)) = (blocked, verdict) {
        let what = "the proxy does not reach the API server, so that no caller is known".to_owned();
        findings.push(blocks(&by, what));
    }
    findings
}

/// The pod's port behind the Service that callers come through.
fn door_port(entrance: &Entrance, proxy: &Pod, config: &Config) -> u16 {
    let ports = entrance
        .service
        .spec
        .iter()
        .flat_map(|spec| spec.ports.iter())
        .flatten();
    let mut numbers = ports.filter_map(|port| {
        let number = PortRef::Number(port.port.try_into().ok()?);
        pods::number(proxy, &pods::target(&entrance.service, &number)?)
    });
    let listens = config.listeners.service.address.port();
    numbers.next().unwrap_or(listens)
}

/// The usual ports, and those of the Service that leads to it.
fn api_server(services: &[Service]) -> impl Iterator<Item = u16> {
    let mut services = services.iter();
    let service = services.find(|it| names(&it.metadata) == ("default", "kubernetes"));
    let ports = service
        .and_then(|it| it.spec.as_ref())
        .and_then(|spec| spec.ports.as_deref());
    let ports = ports.unwrap_or_default().iter().flat_map(|port| {
        let target = port.target_port.as_ref().and_then(|target| match target {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(_) => None,
        });
        [Some(port.port), target]
    });
    let ports = ports.flatten().filter_map(|port| u16::try_from(port).ok());
    API_SERVER.into_iter().chain(ports)
}

/// The ways from the proxy to each Prometheus, seen from both ends.
fn to_upstreams(
    policies: &Policies<'_>,
    proxy: &Pod,
    upstreams: &[FoundUpstream],
) -> Result<Vec<Finding>, Unread> {
    let mut findings = Vec::new();
    for (found, prometheus, port) in placed(upstreams)? {
        let what = || {
            format!(
                "the proxy does not reach port {port} of {}",
                found.description
            )
        };
        let out = policies.verdict(proxy, Direction::Egress, Peer::Pod(prometheus), port);
        if let Verdict::Blocked(by) = out {
            findings.push(blocks(&by, what()));
        }
        let into = policies.verdict(prometheus, Direction::Ingress, Peer::Pod(proxy), port);
        if let Verdict::Blocked(by) = into {
            findings.push(blocks(&by, what()));
        }
    }
    Ok(findings)
}

/// Each Prometheus whose pods may be reached by any other.
fn open(policies: &Policies<'_>, upstreams: &[FoundUpstream]) -> Result<Vec<Finding>, Unread> {
    let mut findings = Vec::new();
    for (found, prometheus, port) in placed(upstreams)? {
        let verdict = policies.verdict(prometheus, Direction::Ingress, Peer::Stranger, port);
        let details = match verdict {
            Verdict::Blocked(_) => continue,
            Verdict::Unbound => vec!["no NetworkPolicy selects its pods".to_owned()],
            Verdict::Admitted(by) => by
                .iter()
                .map(|policy| format!("{} lets everybody in", describe(policy)))
                .collect(),
        };
        findings.push(Finding {
            details,
            ..Finding::new(
                Code::InstallPrometheusOpen,
                Severity::Advice,
                found.description.clone(),
                format!("every pod of the cluster reads all of it on port {port}, around the proxy"),
                "networkPolicy.prometheus.enabled=true in the chart, or the component networkpolicy-prometheus; list its other readers first"
                    .to_owned(),
            )
        });
    }
    Ok(findings)
}

/// One pod of each upstream that has pods, with the number of its port.
fn placed(upstreams: &[FoundUpstream]) -> Result<Vec<(&FoundUpstream, &Pod, u16)>, Unread> {
    let mut placed = Vec::new();
    for found in upstreams {
        if let Location::Pods { pods, port } = found.location.as_ref().map_err(Clone::clone)? {
            let pod = pods.first();
            let one = pod.and_then(|pod| Some((found, pod, pods::number(pod, port)?)));
            placed.extend(one);
        }
    }
    Ok(placed)
}

fn describe(policy: &NetworkPolicy) -> String {
    let (namespace, name) = names(&policy.metadata);
    format!("NetworkPolicy {namespace}/{name}")
}

fn blocks(by: &[&NetworkPolicy], what: String) -> Finding {
    let mut told = by.iter().map(|policy| describe(policy));
    let about = told.next().unwrap_or_default();
    Finding {
        details: told
            .map(|other| format!("{other} does not let it through either"))
            .collect(),
        ..Finding::new(
            Code::InstallPolicyBlocks,
            Severity::Error,
            about,
            what,
            "add a rule for it: those of the chart and of the kustomize base have one".to_owned(),
        )
    }
}
