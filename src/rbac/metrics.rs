//! The watches of RBAC, the bindings that are known, and the searches that use them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::candidates::Source;
use crate::telemetry::metrics::{Register, closed_label};

closed_label! {
    /// Objects of RBAC that are watched.
    Watched {
        RoleBindings = "rolebindings",
        ClusterRoleBindings = "clusterrolebindings",
        Roles = "roles",
        ClusterRoles = "clusterroles",
    }
}

closed_label! {
    /// Why something in a binding is not read.
    PassedOver {
        /// The object has no name, or no namespace that can be one.
        Name = "name",
        /// A subject whose kind RBAC does not know. To RBAC it is nobody.
        Kind = "kind",
        /// More subjects than are read.
        Subjects = "subjects",
        /// A subject's name is too long.
        LongName = "long_name",
        /// Subjects that are none.
        Unreadable = "unreadable",
        /// There are more subjects in all bindings together than are kept.
        Full = "full",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchedLabels {
    resource: Watched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassedOverLabels {
    reason: PassedOver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: Source,
}

/// The series of RBAC. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RbacMetrics {
    watched: Family<WatchedLabels, Gauge>,
    bindings: Gauge,
    passed_over: Family<PassedOverLabels, Counter>,
    searches: Family<SourceLabels, Counter>,
}

impl RbacMetrics {
    /// Whether the watch of a resource has listed everything and goes on.
    pub(super) fn watched(&self, resource: Watched, watched: bool) {
        let labels = WatchedLabels { resource };
        self.watched.get_or_create(&labels).set(watched.into());
    }

    /// How many bindings are known.
    pub(super) fn bindings(&self, count: usize) {
        self.bindings.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn passed_over(&self, reason: PassedOver) {
        let labels = PassedOverLabels { reason };
        self.passed_over.get_or_create(&labels).inc();
    }

    pub(super) fn searched(&self, source: Source) {
        let labels = SourceLabels { source };
        self.searches.get_or_create(&labels).inc();
    }
}

impl Register for RbacMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "rbac_watched",
            "Whether a resource of RBAC is listed and watched",
            self.watched.clone(),
        );
        registry.register(
            "role_bindings",
            "RoleBindings and ClusterRoleBindings that are known",
            self.bindings.clone(),
        );
        registry.register(
            "role_bindings_passed_over",
            "What of bindings was not read",
            self.passed_over.clone(),
        );
        registry.register(
            "candidate_searches",
            "Searches for the namespaces that a caller may have rights in",
            self.searches.clone(),
        );
    }
}
