//! Whether there is a Prometheus where the configuration says.

use super::names;
use super::pods::is_ready;
use super::surroundings::{FoundUpstream, Location, Surroundings};
use crate::doctor::finding::{Code, Finding, Severity};
use crate::doctor::lists::Unread;

/// Judges where each upstream is.
pub(super) fn examine(surroundings: &Surroundings) -> Result<Vec<Finding>, Unread> {
    let mut findings = Vec::new();
    for found in &surroundings.upstreams {
        let location = found.location.as_ref().map_err(Clone::clone)?;
        findings.extend(away(found, location));
    }
    Ok(findings)
}

fn away(found: &FoundUpstream, location: &Location) -> Option<Finding> {
    let (what, remedy) = match location {
        Location::Elsewhere => return None,
        Location::NoService => (
            "there is no such Service",
            "kubectl get services -A has those that there are: name one in upstreams",
        ),
        Location::NoPort => (
            "the Service has no such port",
            "name one of its ports in upstreams",
        ),
        Location::Pods { pods, .. } if pods.iter().any(is_ready) => return None,
        Location::Pods { pods, .. } if pods.is_empty() => (
            "no pod is behind it",
            "see whether Prometheus runs, and whether the selector is its pods'",
        ),
        Location::Pods { .. } => ("none of its pods is ready", "see why: kubectl describe pod"),
    };
    let pods = match location {
        Location::Pods { pods, .. } => pods.as_slice(),
        _ => &[],
    };
    let details = pods.iter().map(|pod| {
        let (namespace, name) = names(&pod.metadata);
        format!("Pod {namespace}/{name} is not ready")
    });
    Some(Finding {
        details: details.collect(),
        ..Finding::new(
            Code::InstallUpstreamAway,
            Severity::Error,
            found.description.clone(),
            format!("{what}, so that every chart of it fails"),
            remedy.to_owned(),
        )
    })
}
