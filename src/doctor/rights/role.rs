//! A role as it is judged, whether it is of a namespace or of the cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::doctor::rule::KUBERNETES_OWN;

/// A Role or a ClusterRole.
#[derive(Clone, Copy)]
pub(super) struct RoleView<'a> {
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) labels: Option<&'a BTreeMap<String, String>>,
    pub(super) annotations: Option<&'a BTreeMap<String, String>>,
    pub(super) rules: &'a [PolicyRule],
    pub(super) aggregated: bool,
}

impl RoleView<'_> {
    pub(super) fn kind(&self) -> &'static str {
        if self.namespace.is_some() {
            "Role"
        } else {
            "ClusterRole"
        }
    }

    pub(super) fn description(&self) -> String {
        match self.namespace {
            Some(namespace) => format!("Role {namespace}/{}", self.name),
            None => format!("ClusterRole {}", self.name),
        }
    }

    /// Whether it comes with Kubernetes and Kubernetes itself grants such a way in it. By its name: a copy of `edit`
    /// keeps the label that Kubernetes marks its own with. `view` and what it is made of are never meant to have one.
    pub(super) fn is_kubernetes_own(&self) -> bool {
        let builtin = KUBERNETES_OWN.contains(&self.name);
        let system = self.name.starts_with("system:") && self.name != "system:aggregate-to-view";
        match self.namespace {
            None => builtin || system,
            Some(namespace) => system && ["kube-system", "kube-public"].contains(&namespace),
        }
    }
}
