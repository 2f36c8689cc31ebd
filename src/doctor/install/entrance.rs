//! Whether Headlamp finds the proxy, and whether viewers may see anything: Services, labels, and what `view` grants.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::names;
use crate::config::{Config, ResourceAttributes};
use crate::doctor::finding::{Code, Finding, Severity};
use crate::doctor::own_service::is_own;
use crate::doctor::rule::{KUBERNETES_OWN, grants, resource};
use crate::doctor::snapshot::LABEL;

/// What makes a ClusterRole a part of `view`.
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-view";

/// Services of the proxy, and others that carry the label.
pub(super) fn of_services(services: &[Service], config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (own, other): (Vec<_>, Vec<_>) = services.iter().partition(|service| is_own(service));
    if own.is_empty() {
        findings.push(missing());
    }
    // With TLS the API server's service proxy does not reach it by the address that the plugin takes.
    let found_by_label = config.listeners.service.tls.is_none();
    let unlabelled = own
        .iter()
        .filter(|service| found_by_label && !is_labelled(service));
    findings.extend(unlabelled.map(|service| unlabelled_service(&service.metadata)));
    findings.extend(own.iter().filter_map(|service| ports(service)));
    // Headlamp takes the first one that answers.
    let second = own.iter().filter(|service| is_labelled(service)).skip(1);
    let strange = other.iter().filter(|service| is_labelled(service));
    findings.extend(
        second
            .chain(strange)
            .map(|service| labelled_service(&service.metadata)),
    );
    findings
}

fn is_labelled(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(LABEL.0))
        .is_some_and(|value| value == LABEL.1)
}

fn missing() -> Finding {
    Finding::new(
        Code::InstallServiceMissing,
        Severity::Error,
        "the proxy's Service".to_owned(),
        "no Service of the cluster has the label app.kubernetes.io/name=prom-rbac-proxy, or a selector with it".to_owned(),
        "install the chart or the kustomize base, or give your own Service that label".to_owned(),
    )
}

fn unlabelled_service(service: &ObjectMeta) -> Finding {
    let (namespace, name) = names(service);
    Finding::new(
        Code::InstallLabelMissing,
        Severity::Warning,
        format!("Service {namespace}/{name}"),
        "it lacks the label headlamp-prometheus=true, so that Headlamp's autodetection does not find the proxy".to_owned(),
        format!(
            "service.headlampLabel=true in the chart, or: kubectl label service {name} -n {namespace} headlamp-prometheus=true"
        ),
    )
}

fn labelled_service(service: &ObjectMeta) -> Finding {
    let (namespace, name) = names(service);
    Finding::new(
        Code::InstallLabelElsewhere,
        Severity::Warning,
        format!("Service {namespace}/{name}"),
        "it carries the label headlamp-prometheus=true as well, so that Headlamp's autodetection may ask it in the proxy's place"
            .to_owned(),
        format!("kubectl label service {name} -n {namespace} headlamp-prometheus-"),
    )
}

pub(super) fn labelled_pod(pod: &ObjectMeta) -> Finding {
    let (namespace, name) = names(pod);
    let remedy = format!(
        "take it out of what made the pod, and: kubectl label pod {name} -n {namespace} headlamp-prometheus-"
    );
    Finding::new(
        Code::InstallPodLabelled,
        Severity::Warning,
        format!("Pod {namespace}/{name}"),
        "it carries the label headlamp-prometheus=true: Headlamp's autodetection tries pods first, through pods/proxy, which \
         viewers do not have"
            .to_owned(),
        remedy,
    )
}

fn ports(service: &Service) -> Option<Finding> {
    let ports = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default();
    let tcp = |protocol: Option<&str>| protocol.is_none_or(|protocol| protocol == "TCP");
    let tcp: Vec<_> = ports
        .iter()
        .filter(|port| tcp(port.protocol.as_deref()))
        .collect();
    let (namespace, name) = names(&service.metadata);
    (tcp.len() != 1).then(|| {
        Finding::new(
            Code::InstallServicePorts,
            Severity::Warning,
            format!("Service {namespace}/{name}"),
            format!("it has {} TCP ports: Headlamp's autodetection tries each, and the first that is wrong ends it", tcp.len()),
            "give it one, and what else is served a Service of its own".to_owned(),
        )
    })
}

/// Whether whoever is bound to `view` has the right that the proxy asks about.
pub(super) fn of_view(roles: &[ClusterRole], attributes: &ResourceAttributes) -> Option<Finding> {
    let grants = |role: &&ClusterRole| grants(role.rules.as_deref(), attributes);
    let name = |role: &ClusterRole| role.metadata.name.clone().unwrap_or_default();
    let view = roles
        .iter()
        .find(|role| role.metadata.name.as_deref() == Some("view"))?;
    if grants(&view) {
        return None;
    }
    // Others than Kubernetes' own that grant it and lack the label, or whose label has not worked.
    let sources = roles.iter().filter(grants).filter(|role| {
        let name = name(role);
        !name.starts_with("system:") && !KUBERNETES_OWN.contains(&name.as_str())
    });
    let details = sources.map(|role| {
        let labels = role.metadata.labels.as_ref();
        let labelled = labels
            .and_then(|labels| labels.get(AGGREGATE))
            .is_some_and(|value| value == "true");
        let says = if labelled {
            "has the label, and view does not have its rules (yet)"
        } else {
            "grants it and lacks the label"
        };
        format!("ClusterRole {} {says}", name(role))
    });
    let manifest = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": "prom-rbac-proxy-view", "labels": { AGGREGATE: "true" } },
        "rules": [{
            "apiGroups": [attributes.group], "verbs": [attributes.verb], "resources": [resource(attributes)],
        }],
    });
    Some(Finding {
        details: details.collect(),
        // Whatever is JSON can be written as YAML.
        manifest: serde_saphyr::to_string(&manifest).ok(),
        ..Finding::new(
            Code::InstallViewLacksRight,
            Severity::Warning,
            "ClusterRole view".to_owned(),
            format!("it does not grant {attributes}, so that whoever has view sees no chart"),
            "rbac.aggregateToView=true in the chart, or kubectl apply -f - of this; nothing, where you grant it in another way"
                .to_owned(),
        )
    })
}
