//! Rights to take away: roles that lead through the API server to ports of pods, services and nodes, which somebody has
//! added, most often for charts. With the proxy they are not needed for those.

mod holders;
mod judgement;
mod smaller;
mod way;

#[cfg(test)]
mod tests;

pub(super) use self::smaller::Served;

use self::holders::{Aggregation, Bindings};
use self::judgement::Rbac;
use super::finding::Section;
use super::lists::Unread;
use super::own_service::own_services;
use super::snapshot::Snapshot;
use crate::config::Config;

const TITLE: &str = "Rights to take away";

/// Judges roles and bindings.
pub(super) fn examine(snapshot: Snapshot, config: &Config) -> Section {
    let mut unread = Vec::new();
    let cluster_roles = take(
        snapshot.cluster_roles,
        "ClusterRoles are not judged",
        &mut unread,
    );
    let roles = take(snapshot.roles, "Roles are not judged", &mut unread);
    let before = unread.len();
    let without = "who holds a role is not known";
    let cluster_bindings = take(snapshot.cluster_bindings, without, &mut unread);
    let bindings = take(snapshot.bindings, without, &mut unread);
    let all_bindings = unread.len() == before;
    let without = "the Role of the proxy's own door cannot be told from others";
    let services = take(snapshot.services, without, &mut unread);
    let served = take(
        snapshot.served.map(Some),
        "a star in a role cannot be written out",
        &mut unread,
    );
    let rbac = Rbac {
        aggregation: Aggregation::new(&cluster_roles),
        cluster_roles,
        roles,
        bindings: Bindings::new(cluster_bindings, bindings),
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

/// What was read, or nothing, and then what that means for the section.
fn take<T: Default>(read: Result<T, Unread>, without: &str, unread: &mut Vec<String>) -> T {
    read.unwrap_or_else(|why| {
        unread.push(why.means(without));
        T::default()
    })
}
