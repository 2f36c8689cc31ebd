//! Pods: which are ready, and what is behind a port. Those of the proxy are judged.

use http::Request;
use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::core::v1::{Container, Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names;
use super::surroundings::{Entrance, Surroundings};
use crate::config::PortRef;
use crate::doctor::finding::{Code, Finding, Severity};
use crate::doctor::lists::Unread;

/// Bytes of what `/readyz` says that are looked at.
const MAX_SAID: usize = 4096;

/// Judges the pods behind the proxy's Services.
pub(super) fn examine(surroundings: &Surroundings) -> Result<Vec<Finding>, Unread> {
    let entrances = surroundings.entrances.as_ref().map_err(Clone::clone)?;
    let mut findings = Vec::new();
    for entrance in entrances {
        let Some(pods) = &entrance.pods else {
            continue;
        };
        let pods = pods.as_ref().map_err(Clone::clone)?;
        if pods.is_empty() {
            findings.push(no_pod(entrance));
        }
        let unready = pods.iter().filter(|pod| !is_ready(pod));
        findings.extend(unready.map(|pod| not_ready(pod, entrance)));
    }
    Ok(findings)
}

fn no_pod(entrance: &Entrance) -> Finding {
    let (namespace, name) = names(&entrance.service.metadata);
    Finding::new(
        Code::InstallPodNotReady,
        Severity::Error,
        format!("Service {namespace}/{name}"),
        "its selector matches no pod".to_owned(),
        format!("see why there is none: kubectl describe replicaset -n {namespace}"),
    )
}

fn not_ready(pod: &Pod, entrance: &Entrance) -> Finding {
    let (namespace, name) = names(&pod.metadata);
    let said = entrance.reasons.get(name).into_iter();
    let said = said.flat_map(|said| said.lines().map(|line| format!("/readyz says: {line}")));
    Finding {
        details: causes(pod).into_iter().chain(said).collect(),
        ..Finding::new(
            Code::InstallPodNotReady,
            Severity::Error,
            format!("Pod {namespace}/{name}"),
            "it is not ready, so that no request comes to it".to_owned(),
            format!(
                "kubectl describe pod {name} -n {namespace}; kubectl logs {name} -n {namespace}"
            ),
        )
    }
}

/// What Kubernetes says of it.
fn causes(pod: &Pod) -> Vec<String> {
    let status = pod.status.as_ref();
    let containers = status
        .into_iter()
        .flat_map(|it| it.container_statuses.iter());
    let waiting = containers.flatten().filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().unwrap_or("unknown");
        Some(format!("container {} waits: {reason}", container.name))
    });
    let conditions = status.into_iter().flat_map(|it| it.conditions.iter());
    let failed = conditions.flatten().filter_map(|condition| {
        let text = condition
            .message
            .as_deref()
            .filter(|text| !text.is_empty())?;
        (condition.status != "True").then(|| format!("{}: {text}", condition.type_))
    });
    waiting.chain(failed).collect()
}

/// Whether it is meant to answer.
pub(super) fn is_running(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|it| it.conditions.iter())
        .flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The number of a container's port of that name.
pub(super) fn port(pod: &Pod, name: &str) -> Option<u16> {
    let spec = pod.spec.as_ref()?;
    let ports = spec
        .containers
        .iter()
        .flat_map(|Container { ports, .. }| ports.iter());
    let mut named = ports
        .flatten()
        .filter(|port| port.name.as_deref() == Some(name));
    named.next()?.container_port.try_into().ok()
}

/// The number of a pod's port.
pub(super) fn number(pod: &Pod, port: &PortRef) -> Option<u16> {
    match port {
        PortRef::Number(number) => Some(*number),
        PortRef::Name(name) => self::port(pod, name),
    }
}

/// The port of the pods behind a port of a Service.
pub(super) fn target(service: &Service, wanted: &PortRef) -> Option<PortRef> {
    let ports = service.spec.as_ref()?.ports.iter().flatten();
    let mut found = ports.filter(|port| match wanted {
        PortRef::Number(number) => port.port == i32::from(*number),
        PortRef::Name(name) => port.name.as_deref() == Some(name),
    });
    let found = found.next()?;
    match &found.target_port {
        Some(IntOrString::String(name)) => Some(PortRef::Name(name.clone())),
        Some(IntOrString::Int(number)) => u16::try_from(*number).ok().map(PortRef::Number),
        None => u16::try_from(found.port).ok().map(PortRef::Number),
    }
}

/// The body of a 503 at a path of the API server, which at `/readyz` is the reason. `None` where it cannot be asked.
pub(super) async fn said(client: &kube::Client, path: &str) -> Option<String> {
    let request = Request::get(path).body(kube::client::Body::empty()).ok()?;
    let answer = client.send(request).await.ok()?;
    // The API server's own refusals are JSON.
    let json = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/json");
    let own = answer
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(json);
    if own || answer.status() != http::StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let body = Limited::new(answer.into_body(), MAX_SAID)
        .collect()
        .await
        .ok()?;
    String::from_utf8(body.to_bytes().into()).ok()
}
