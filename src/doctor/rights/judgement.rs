//! Which roles lead through the API server, which of them somebody has added, and what to put in their place.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};

use super::super::finding::{Code, Finding, Severity};
use super::super::own_service::OwnService;
use super::holders::{Aggregation, Bindings, Holder, name};
use super::remedy::remedy;
use super::role::RoleView;
use super::smaller::{Served, without_proxies};
use super::way::{self, Way};
use crate::doctor::rule;

/// Holders of a role of Kubernetes that a note names.
const NOTED: usize = 5;

/// Everything that RBAC decides on.
pub(super) struct Rbac {
    pub(super) cluster_roles: Vec<ClusterRole>,
    pub(super) roles: Vec<Role>,
    pub(super) aggregation: Aggregation,
    pub(super) bindings: Bindings,
    /// Whether these are all bindings.
    pub(super) all_bindings: bool,
    pub(super) own_services: Vec<OwnService>,
    /// `None` where it could not be asked.
    pub(super) served: Option<Served>,
}

impl Rbac {
    /// Roles that somebody has added, the worst first.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let added = self.views().filter(|role| !role.is_kubernetes_own());
        let mut findings: Vec<_> = added.filter_map(|role| self.finding(role)).collect();
        findings
            .sort_by(|one, other| (other.severity, &one.about).cmp(&(one.severity, &other.about)));
        findings
    }

    /// Who holds such a right by a role of Kubernetes.
    pub(super) fn notes(&self) -> Vec<String> {
        let own = self.views().filter(RoleView::is_kubernetes_own);
        own.filter_map(|role| {
            let ways = self.ways(role);
            let holders = self.bindings.of(role.namespace, role.name).iter();
            let holders: Vec<_> = holders
                .filter(|holder| !holder.who.is_of_the_cluster() && reaches(holder, &ways))
                .collect();
            if ways.is_empty() || holders.is_empty() {
                return None;
            }
            let mut told: Vec<_> = holders
                .iter()
                .take(NOTED)
                .map(|holder| holder.description())
                .collect();
            if let Some(more) = holders.len().checked_sub(NOTED).filter(|more| *more > 0) {
                told.push(format!("and {more} more"));
            }
            let (role, told) = (role.description(), told.join("; "));
            Some(format!(
                "{role} comes with Kubernetes and grants {}: {told}",
                listed(&ways)
            ))
        })
        .collect()
    }

    fn cluster_views(&self) -> impl Iterator<Item = RoleView<'_>> {
        self.cluster_roles.iter().map(|role| RoleView {
            namespace: None,
            name: name(role),
            labels: role.metadata.labels.as_ref(),
            annotations: role.metadata.annotations.as_ref(),
            rules: role.rules.as_deref().unwrap_or_default(),
            aggregated: role.aggregation_rule.is_some(),
        })
    }

    fn views(&self) -> impl Iterator<Item = RoleView<'_>> {
        let namespaced = self.roles.iter().map(|role| RoleView {
            namespace: Some(role.metadata.namespace.as_deref().unwrap_or_default()),
            name: role.metadata.name.as_deref().unwrap_or_default(),
            labels: role.metadata.labels.as_ref(),
            annotations: role.metadata.annotations.as_ref(),
            rules: role.rules.as_deref().unwrap_or_default(),
            aggregated: false,
        });
        self.cluster_views().chain(namespaced)
    }

    /// What a role opens besides the proxy's own door.
    fn ways(&self, role: RoleView<'_>) -> Vec<Way> {
        let ways = role.rules.iter().flat_map(way::ways);
        let mut ways: Vec<_> = ways
            .filter(|way| role.namespace.is_none() || !way.needs_cluster_binding())
            .filter(|way| !self.is_own_door(role, way))
            .collect();
        ways.sort();
        ways.dedup();
        ways
    }

    fn is_own_door(&self, role: RoleView<'_>, way: &Way) -> bool {
        let own = |name: &String| {
            let mut own = self.own_services.iter();
            own.any(|own| {
                Some(own.namespace.as_str()) == role.namespace && own.segments.contains(name)
            })
        };
        way.resource == "services/proxy" && !way.names.is_empty() && way.names.iter().all(own)
    }

    fn finding(&self, role: RoleView<'_>) -> Option<Finding> {
        let ways = self.ways(role);
        // What others put into an aggregated role is taken out of them, but for what Kubernetes puts there.
        if ways.is_empty() || (role.aggregated && !self.has_own_source(role.name)) {
            return None;
        }
        let mut holders: Vec<_> = self
            .bindings
            .of(role.namespace, role.name)
            .iter()
            .map(|holder| (holder, None))
            .collect();
        let through: Vec<_> = self.reached(role).collect();
        for into in &through {
            holders.extend(
                self.bindings
                    .of(None, into)
                    .iter()
                    .map(|holder| (holder, Some(*into))),
            );
        }
        holders.retain(|(holder, _)| reaches(holder, &ways));
        let (code, severity) = if holders.iter().any(|(holder, _)| holder.who.is_everybody()) {
            (Code::RightsProxyGrantedToAll, Severity::Error)
        } else if holders.is_empty() && self.all_bindings {
            (Code::RightsProxyUnbound, Severity::Advice)
        } else {
            (Code::RightsProxyGranted, Severity::Warning)
        };
        let mut details = Vec::new();
        for into in &through {
            details.push(format!("its labels put it into ClusterRole {into}"));
        }
        details.extend(holders.iter().map(|(holder, through)| match through {
            Some(into) => format!("held by {}, of ClusterRole {into}", holder.description()),
            None => format!("held by {}", holder.description()),
        }));
        if holders.is_empty() {
            details.push(match self.all_bindings {
                true => "held by nobody".to_owned(),
                false => "who holds it is not known".to_owned(),
            });
        }
        let rest = self.rest(role);
        for rule in rest.iter().flatten() {
            details.push(format!("gives as well: {}", rule::describe(rule)));
        }
        let (remedy, manifest) = remedy(role, rest, &holders);
        let reach = if ways.iter().all(|way| !way.names.is_empty()) {
            "leads through the API server to these ports, past the proxy"
        } else {
            "leads through the API server to every HTTP port there, Prometheus with all namespaces' series among them"
        };
        Some(Finding {
            code,
            severity,
            about: role.description(),
            what: format!("it grants {}, which {reach}", listed(&ways)),
            details,
            remedy,
            manifest,
        })
    }

    /// The aggregated roles that this one brings such a right into, which Kubernetes itself does not give them.
    fn reached<'a>(&'a self, role: RoleView<'a>) -> impl Iterator<Item = &'a str> {
        let reached = role
            .namespace
            .is_none()
            .then(|| self.aggregation.of(role.name));
        reached
            .into_iter()
            .flatten()
            .filter(|into| !self.has_own_source(into))
    }

    /// Whether a role of Kubernetes brings such a right into an aggregated one.
    fn has_own_source(&self, role: &str) -> bool {
        let mut sources = self.aggregation.sources(role);
        sources.any(|source| {
            let mut own = self.cluster_views().filter(|role| role.name == source);
            // An aggregated one has its rights of others.
            own.any(|role| {
                role.is_kubernetes_own() && !role.aggregated && !self.ways(role).is_empty()
            })
        })
    }

    /// The rules besides those ways. `None`: they cannot be told.
    fn rest(&self, role: RoleView<'_>) -> Option<Vec<PolicyRule>> {
        let own_door = |rule: &PolicyRule| {
            let ways = way::ways(rule);
            !ways.is_empty() && ways.iter().all(|way| self.is_own_door(role, way))
        };
        let mut rest = Vec::new();
        for rule in role.rules {
            if own_door(rule) {
                rest.push(rule.clone());
            } else {
                rest.extend(without_proxies(
                    std::slice::from_ref(rule),
                    self.served.as_ref(),
                )?);
            }
        }
        Some(rest)
    }
}

/// Whether a binding of that kind grants any of the ways.
fn reaches(holder: &Holder, ways: &[Way]) -> bool {
    holder.binding.namespace.is_none() || ways.iter().any(|way| !way.needs_cluster_binding())
}

fn listed(ways: &[Way]) -> String {
    ways.iter()
        .map(Way::description)
        .collect::<Vec<_>>()
        .join("; ")
}
