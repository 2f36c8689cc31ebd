//! What all sections examine: each list of the cluster, read once.

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};

use super::lists::{Lists, Unread};
use super::rights::Served;
use crate::cluster::goaway::again_if_unprocessed;

/// The label by which Headlamp's autodetection finds a Prometheus.
pub(super) const LABEL: (&str, &str) = ("headlamp-prometheus", "true");

/// The cluster, as far as it could be read.
pub(super) struct Snapshot {
    pub(super) cluster_roles: Result<Vec<ClusterRole>, Unread>,
    pub(super) roles: Result<Vec<Role>, Unread>,
    pub(super) cluster_bindings: Result<Vec<ClusterRoleBinding>, Unread>,
    pub(super) bindings: Result<Vec<RoleBinding>, Unread>,
    pub(super) services: Result<Vec<Service>, Unread>,
    /// Those with [`LABEL`] alone.
    pub(super) labelled_pods: Result<Vec<Pod>, Unread>,
    pub(super) policies: Result<Vec<NetworkPolicy>, Unread>,
    pub(super) namespaces: Result<Vec<Namespace>, Unread>,
    pub(super) served: Result<Served, Unread>,
}

impl Snapshot {
    pub(super) async fn read(lists: &Lists<'_>) -> Self {
        let label = format!("{}={}", LABEL.0, LABEL.1);
        let rbac = async {
            tokio::join!(
                lists.all(None),
                lists.all(None),
                lists.all(None),
                lists.all(None),
            )
        };
        let others = async {
            tokio::join!(
                lists.all(None),
                lists.all(Some(&label)),
                lists.all(None),
                lists.all(None),
                served(lists),
            )
        };
        let (rbac, others) = tokio::join!(rbac, others);
        let (cluster_roles, roles, cluster_bindings, bindings) = rbac;
        let (services, labelled_pods, policies, namespaces, served) = others;
        Self {
            cluster_roles,
            roles,
            cluster_bindings,
            bindings,
            services,
            labelled_pods,
            policies,
            namespaces,
            served,
        }
    }
}

impl Snapshot {
    /// Whether nothing was read that anything could be found in. Namespaces and what is served only help to judge it.
    pub(super) fn is_blank(&self) -> bool {
        self.cluster_roles.is_err()
            && self.roles.is_err()
            && self.cluster_bindings.is_err()
            && self.bindings.is_err()
            && self.services.is_err()
            && self.labelled_pods.is_err()
            && self.policies.is_err()
    }
}

/// By the discovery that every caller with a token may read.
async fn served(lists: &Lists<'_>) -> Result<Served, Unread> {
    let client = lists.client();
    let failed = |_| Unread("the API server did not say which resources it serves".to_owned());
    let core = again_if_unprocessed(|| client.list_core_api_resources("v1"));
    let core = core.await.map_err(failed)?;
    let groups = again_if_unprocessed(|| client.list_api_groups());
    let groups = groups.await.map_err(failed)?;
    Ok(Served {
        core: core
            .resources
            .into_iter()
            .map(|resource| resource.name)
            .collect(),
        groups: groups.groups.into_iter().map(|group| group.name).collect(),
    })
}
