//! Install: whether Headlamp finds the proxy, whether anybody may see anything, and whether the proxy has what it
//! needs.
//!
//! Decided by the objects of the cluster: nothing is asked of Prometheus.

mod account;
mod clock;
mod door;
mod entrance;
mod needs;
mod network;
mod pods;
mod policies;
mod surroundings;
mod upstreams;

pub(super) use self::surroundings::Surroundings;

use std::cmp::Reverse;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::finding::{Finding, Section};
use super::lists::{Unread, known};
use super::snapshot::Snapshot;
use crate::config::Config;

const TITLE: &str = "Install";

/// Judges what was read.
pub(super) fn examine(
    snapshot: &Snapshot,
    surroundings: &Surroundings,
    config: &Config,
) -> Section {
    let mut section = Section {
        title: TITLE,
        ..Section::default()
    };
    let (unread, findings) = (&mut section.unread, &mut section.findings);
    let without = "the Service and its label are not judged";
    if let Some(services) = known(snapshot.services.as_ref(), without, unread) {
        findings.extend(entrance::of_services(services, config));
    }
    let without = "pods with Headlamp's label are not known";
    if let Some(pods) = known(snapshot.labelled_pods.as_ref(), without, unread) {
        let pods = pods.iter().map(|pod| entrance::labelled_pod(&pod.metadata));
        findings.extend(pods);
    }
    let without = "what view grants is not known";
    if let Some(roles) = known(snapshot.cluster_roles.as_ref(), without, unread) {
        let attributes = &config.authorization.attributes;
        findings.extend(entrance::of_view(roles, attributes));
    }
    let door = door::examine(snapshot, config);
    collect(door, "the Role of the door is not judged", &mut section);
    let without = "pods of the proxy and of Prometheus are not judged";
    collect(pods::examine(surroundings), without, &mut section);
    let upstreams = upstreams::examine(surroundings);
    collect(upstreams, without, &mut section);
    let account = account::examine(snapshot, surroundings, config);
    collect(
        account,
        "the proxy's own rights are not judged",
        &mut section,
    );
    let network = network::examine(snapshot, surroundings, config);
    collect(network, "NetworkPolicies are not judged", &mut section);
    section.findings.extend(clock::examine(surroundings.ahead));
    section.unread.dedup();
    section
        .findings
        .sort_by_key(|finding| Reverse(finding.severity));
    section
}

/// Takes over what was found; where something could not be read, that, with what is not known `without` it.
fn collect(found: Result<Vec<Finding>, Unread>, without: &str, section: &mut Section) {
    let found = known(found, without, &mut section.unread);
    section.findings.extend(found.unwrap_or_default());
}

/// Namespace and name.
fn names(metadata: &ObjectMeta) -> (&str, &str) {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    (namespace, metadata.name.as_deref().unwrap_or_default())
}
