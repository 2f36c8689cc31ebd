//! Rights to take away: roles that lead through the API server to ports of pods, services and nodes, which somebody has
//! added, most often for charts. With the proxy they are not needed for those.

mod holders;
mod judgement;
mod remedy;
mod role;
mod smaller;
mod way;

#[cfg(test)]
mod tests;

pub(super) use self::smaller::Served;

use self::holders::{Aggregation, Bindings};
use self::judgement::Rbac;
use super::binding;
use super::finding::Section;
use super::lists::known;
use super::own_service::own_services;
use super::snapshot::Snapshot;
use crate::config::{Config, MetricAccess};

const TITLE: &str = "Rights to take away";

/// Judges roles and bindings.
pub(super) fn examine(snapshot: Snapshot, config: &Config) -> Section {
    let mut unread = Vec::new();
    let without = "ClusterRoles are not judged";
    let cluster_roles = known(snapshot.cluster_roles, without, &mut unread).unwrap_or_default();
    let without = "Roles are not judged";
    let roles = known(snapshot.roles, without, &mut unread).unwrap_or_default();
    let without = "who holds a role is not known";
    let cluster_bindings = known(snapshot.cluster_bindings, without, &mut unread);
    let bindings = known(snapshot.bindings, without, &mut unread);
    let all_bindings = cluster_bindings.is_some() && bindings.is_some();
    let without = "the Role of the proxy's own door cannot be told from others";
    let services = known(snapshot.services, without, &mut unread).unwrap_or_default();
    let without = "a star in a role cannot be written out";
    let mut served = known(snapshot.served, without, &mut unread);
    if let Some(served) = &mut served {
        // Rights in a group that nothing serves count all the same, and these open charts.
        served.add_groups(asked_about(config));
    }
    let rbac = Rbac {
        aggregation: Aggregation::new(&cluster_roles),
        cluster_roles,
        roles,
        bindings: Bindings::new(binding::all(
            &cluster_bindings.unwrap_or_default(),
            &bindings.unwrap_or_default(),
        )),
        all_bindings,
        own_services: own_services(&services, config),
        served,
    };
    Section {
        title: TITLE,
        unread,
        notes: rbac.notes(),
        findings: rbac.findings(),
    }
}

/// The groups of what the proxy reviews.
fn asked_about(config: &Config) -> impl Iterator<Item = &str> {
    let rules = config.authorization.metric_rules.iter();
    let of_rules = rules.filter_map(|rule| match &rule.rule {
        MetricAccess::Cluster(attributes) => Some(attributes),
        MetricAccess::Label(_) => None,
    });
    let attributes = std::iter::once(&config.authorization.attributes).chain(of_rules);
    attributes.map(|attributes| attributes.group.as_str())
}
