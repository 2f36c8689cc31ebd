//! Which rights the proxy needs by its configuration: what docs/permissions.md lists.

use crate::config::{Config, NamespaceSearch, RightsChanges, UpstreamAddress};

/// A right, on resources of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) verbs: &'static [&'static str],
    pub(super) group: &'static str,
    pub(super) resources: &'static [&'static str],
    /// `None`: in the whole cluster.
    pub(super) namespace: Option<String>,
}

const CREATE: &[&str] = &["create"];
const WATCH: &[&str] = &["list", "watch"];
const RBAC: &str = "rbac.authorization.k8s.io";

/// All that it needs.
pub(super) fn needs(config: &Config) -> Vec<Need> {
    let cluster = |verbs, group, resources| Need {
        verbs,
        group,
        resources,
        namespace: None,
    };
    let mut needs = vec![
        cluster(CREATE, "authentication.k8s.io", &["tokenreviews"]),
        cluster(CREATE, "authorization.k8s.io", &["subjectaccessreviews"]),
        cluster(WATCH, "", &["namespaces"]),
    ];
    let authorization = &config.authorization;
    if authorization.changes == RightsChanges::Watch {
        let all = &[
            "rolebindings",
            "clusterrolebindings",
            "roles",
            "clusterroles",
        ];
        needs.push(cluster(WATCH, RBAC, all));
    } else if authorization.namespaces == NamespaceSearch::Bindings {
        needs.push(cluster(WATCH, RBAC, &["rolebindings"]));
    }
    for upstream in &config.upstreams {
        let (namespace, group, resources): (_, _, &[&str]) = match &upstream.address {
            UpstreamAddress::Url(_) => continue,
            UpstreamAddress::Service { namespace, .. } => {
                (namespace, "discovery.k8s.io", &["endpointslices"])
            }
            UpstreamAddress::Pods { namespace, .. } => (namespace, "", &["pods"]),
        };
        needs.push(Need {
            verbs: WATCH,
            group,
            resources,
            namespace: Some(namespace.to_string()),
        });
    }
    needs
}

impl Need {
    /// Each resource with each verb.
    pub(super) fn accesses(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let verbs = self.verbs.iter();
        verbs.flat_map(|&verb| self.resources.iter().map(move |&resource| (verb, resource)))
    }
}
