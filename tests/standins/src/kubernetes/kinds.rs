//! The kinds of objects that the stand-in stores. Another kind is one more line.

/// One kind of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// API group; `""` is core.
    pub group: &'static str,
    /// The one version it is served in.
    pub version: &'static str,
    /// CamelCase name.
    pub kind: &'static str,
    /// Lower-case plural, as in URLs and roles.
    pub resource: &'static str,
    /// Whether its objects live in a namespace.
    pub namespaced: bool,
    /// kubectl's abbreviations.
    pub short_names: &'static [&'static str],
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    resource: &'static str,
    namespaced: bool,
    short_names: &'static [&'static str],
) -> Kind {
    Kind {
        group,
        version,
        kind,
        resource,
        namespaced,
        short_names,
    }
}

/// What every stand-in knows.
#[rustfmt::skip]
pub const KINDS: &[Kind] = &[
    kind("", "v1", "Namespace", "namespaces", false, &["ns"]),
    kind("", "v1", "Node", "nodes", false, &["no"]),
    kind("", "v1", "PersistentVolume", "persistentvolumes", false, &["pv"]),
    kind("", "v1", "Pod", "pods", true, &["po"]),
    kind("", "v1", "Service", "services", true, &["svc"]),
    kind("", "v1", "Endpoints", "endpoints", true, &["ep"]),
    kind("", "v1", "ConfigMap", "configmaps", true, &["cm"]),
    kind("", "v1", "Secret", "secrets", true, &[]),
    kind("", "v1", "ServiceAccount", "serviceaccounts", true, &["sa"]),
    kind("", "v1", "Event", "events", true, &["ev"]),
    kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true, &["pvc"]),
    kind("", "v1", "ResourceQuota", "resourcequotas", true, &["quota"]),
    kind("", "v1", "LimitRange", "limitranges", true, &["limits"]),
    kind("apps", "v1", "Deployment", "deployments", true, &["deploy"]),
    kind("apps", "v1", "StatefulSet", "statefulsets", true, &["sts"]),
    kind("apps", "v1", "DaemonSet", "daemonsets", true, &["ds"]),
    kind("apps", "v1", "ReplicaSet", "replicasets", true, &["rs"]),
    kind("batch", "v1", "Job", "jobs", true, &[]),
    kind("batch", "v1", "CronJob", "cronjobs", true, &["cj"]),
    kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true, &["hpa"]),
    kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true, &["netpol"]),
    kind("networking.k8s.io", "v1", "Ingress", "ingresses", true, &["ing"]),
    kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true, &["pdb"]),
    kind("coordination.k8s.io", "v1", "Lease", "leases", true, &[]),
    kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true, &[]),
    kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false, &[]),
    kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false, &[]),
    kind("rbac.authorization.k8s.io", "v1", "Role", "roles", true, &[]),
    kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true, &[]),
    kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors", true, &["smon"]),
    kind("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors", true, &["pmon"]),
    kind("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules", true, &["promrule"]),
];

impl Kind {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods`, `roles.rbac.authorization.k8s.io`: how messages name it.
    pub(crate) fn qualified(&self) -> String {
        qualified(self.group, self.resource)
    }
}

/// A resource name with its group, as messages write it.
pub(crate) fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}
