//! Which Services are the proxy's own, by the labels that the chart and the kustomize base give them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

use crate::config::Config;

const NAME: &str = "app.kubernetes.io/name";
const COMPONENT: &str = "app.kubernetes.io/component";
const CHART: &str = "helm.sh/chart";
const PROGRAM: &str = "prom-rbac-proxy";

/// A Service of the proxy that callers come through, under its names in a path of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnService {
    pub(super) namespace: String,
    pub(super) name: String,
    /// `NAME:PORT` for each port, by number and by name.
    pub(super) segments: Vec<String>,
}

/// The proxy's own Services, of all, and the one that the gateway answers for.
pub(super) fn own_services(services: &[Service], config: &Config) -> Vec<OwnService> {
    let mut own = entrances(services);
    if let Some(gateway) = &config.listeners.gateway {
        let answered = &gateway.reserved_service;
        own.push(OwnService {
            namespace: answered.namespace.to_string(),
            name: answered.name.clone(),
            segments: vec![format!("{}:{}", answered.name, answered.port)],
        });
    }
    own
}

/// Those of all that callers come through.
pub(super) fn entrances(services: &[Service]) -> Vec<OwnService> {
    let own = services.iter().filter(|it| is_own(it));
    own.filter_map(read).collect()
}

/// Whether callers come through it.
pub(super) fn is_own(service: &Service) -> bool {
    let none = BTreeMap::new();
    let labels = service.metadata.labels.as_ref().unwrap_or(&none);
    let spec = service.spec.as_ref();
    let selector = spec.and_then(|spec| spec.selector.as_ref());
    let chart = labels.get(CHART);
    let chart = chart.and_then(|chart| chart.strip_prefix(PROGRAM));
    // The pods that it leads to decide, where it says: an overlay of kustomize labels whatever is in it.
    let name = selector.and_then(|selector| selector.get(NAME));
    let named = name.or_else(|| labels.get(NAME));
    let ours = named.is_some_and(|name| name == PROGRAM)
        || chart.is_some_and(|rest| rest.starts_with('-'));
    ours && !labels.contains_key(COMPONENT)
}

/// Whether labels are those that the chart and the kustomize base give to what is the proxy's.
pub(super) fn is_program(labels: &BTreeMap<String, String>) -> bool {
    labels.get(NAME).is_some_and(|name| name == PROGRAM)
}

/// The Service under its names.
pub(super) fn read(service: &Service) -> Option<OwnService> {
    let name = service.metadata.name.clone()?;
    let ports = service.spec.as_ref()?.ports.iter().flatten();
    let segments = ports.flat_map(|port| {
        let named = port.name.iter().map(|port| format!("{name}:{port}"));
        named
            .chain([format!("{name}:{}", port.port)])
            .collect::<Vec<_>>()
    });
    Some(OwnService {
        namespace: service.metadata.namespace.clone()?,
        segments: segments.collect(),
        name,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_pods_that_a_service_leads_to_decide_before_its_labels() {
        let own = |labels: Value, selector: Value| {
            let service = json!({"metadata": {"name": "s", "labels": labels}, "spec": {"selector": selector}});
            is_own(&serde_json::from_value(service).expect("a Service"))
        };
        let (ours, other) = (json!({NAME: PROGRAM}), json!({NAME: "prometheus"}));
        assert!(own(ours.clone(), Value::Null));
        assert!(own(Value::Null, ours.clone()));
        assert!(own(json!({CHART: "prom-rbac-proxy-0.2.0"}), other.clone()));
        assert!(!own(ours.clone(), other));
        assert!(!own(json!({CHART: "prom-rbac-proxying"}), Value::Null));
        assert!(!own(json!({COMPONENT: "metrics"}), ours));
    }
}
