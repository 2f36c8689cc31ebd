//! Which roles lead through the API server, which of them somebody has added, and what to put in their place.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde_json::{Value, json};

use super::super::finding::{Code, Finding, Severity};
use super::super::own_service::OwnService;
use super::holders::{Aggregation, Bindings, Holder, name};
use super::smaller::{Served, without_proxies};
use super::way::{self, Way};
use crate::doctor::rule::{self, KUBERNETES_OWN};

/// Who put an object there, where a program says so.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// kubectl's copy of what was applied before; `kubectl apply` writes a new one.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Holders of a role of Kubernetes that a note names.
const NOTED: usize = 5;

/// Everything that RBAC decides by.
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

/// A Role or a ClusterRole.
#[derive(Clone, Copy)]
struct RoleView<'a> {
    namespace: Option<&'a str>,
    name: &'a str,
    labels: Option<&'a BTreeMap<String, String>>,
    annotations: Option<&'a BTreeMap<String, String>>,
    rules: &'a [PolicyRule],
    aggregated: bool,
}

impl RoleView<'_> {
    fn kind(&self) -> &'static str {
        if self.namespace.is_some() {
            "Role"
        } else {
            "ClusterRole"
        }
    }

    fn told(&self) -> String {
        match self.namespace {
            Some(namespace) => format!("Role {namespace}/{}", self.name),
            None => format!("ClusterRole {}", self.name),
        }
    }

    /// Whether it comes with Kubernetes and Kubernetes itself grants such a way in it. By its name: a copy of `edit` keeps the
    /// label that Kubernetes marks its own with. `view` and what it is made of are never meant to have one.
    fn is_kubernetes_own(&self) -> bool {
        let builtin = KUBERNETES_OWN.contains(&self.name);
        let system = self.name.starts_with("system:") && self.name != "system:aggregate-to-view";
        match self.namespace {
            None => builtin || system,
            Some(namespace) => system && ["kube-system", "kube-public"].contains(&namespace),
        }
    }
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
                .filter(|holder| !is_of_the_cluster(holder) && reaches(holder, &ways))
                .collect();
            if ways.is_empty() || holders.is_empty() {
                return None;
            }
            let mut told: Vec<_> = holders
                .iter()
                .take(NOTED)
                .map(|holder| holder.told())
                .collect();
            if let Some(more) = holders.len().checked_sub(NOTED).filter(|more| *more > 0) {
                told.push(format!("and {more} more"));
            }
            let (role, told) = (role.told(), told.join("; "));
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

    /// What a role opens beside the proxy's own door.
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
        let (code, severity) = if holders.iter().any(|(holder, _)| holder.everybody) {
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
            Some(into) => format!("held by {}, of ClusterRole {into}", holder.told()),
            None => format!("held by {}", holder.told()),
        }));
        if holders.is_empty() {
            details.push(match self.all_bindings {
                true => "held by nobody".to_owned(),
                false => "who holds it is not known".to_owned(),
            });
        }
        let rest = self.rest(role);
        for rule in rest.iter().flatten() {
            details.push(format!("gives as well: {}", rule::told(rule)));
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
            about: role.told(),
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

    /// The rules beside those ways. `None`: that cannot be said.
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
    holder.namespace.is_none() || ways.iter().any(|way| !way.needs_cluster_binding())
}

/// Whether it is a part of Kubernetes itself.
fn is_of_the_cluster(holder: &Holder) -> bool {
    let subject = &holder.subject;
    [
        "user system:",
        "group system:masters",
        "group system:nodes",
        "service account kube-system/",
    ]
    .iter()
    .any(|own| subject.starts_with(own))
}

fn listed(ways: &[Way]) -> String {
    ways.iter().map(Way::told).collect::<Vec<_>>().join("; ")
}

/// What to do, and the manifest for it.
fn remedy(
    role: RoleView<'_>,
    rest: Option<Vec<PolicyRule>>,
    holders: &[(&Holder, Option<&str>)],
) -> (String, Option<String>) {
    let managed = role.labels.and_then(|labels| labels.get(MANAGED_BY));
    let managed = managed.map_or_else(String::new, |by| {
        format!("; it is managed by {by}: change it there too, or it comes back")
    });
    let Some(rest) = rest else {
        let remedy = format!(
            "write its stars out, without pods/proxy, services/proxy and nodes/proxy{managed}"
        );
        return (remedy, None);
    };
    if !rest.is_empty() {
        let how = if role.aggregated {
            "it takes in a role of Kubernetes that grants this; write its rules out: kubectl replace -f - of this"
        } else {
            "apply the smaller role in its place: kubectl apply -f - of this"
        };
        return (format!("{how}{managed}"), manifest(role, &rest));
    }
    let place = role.namespace.map_or_else(String::new, |namespace| {
        format!(" -n {}", quoted(namespace))
    });
    let kind = role.kind().to_lowercase();
    let mut commands = vec![format!(
        "kubectl delete {kind} {}{place}",
        quoted(role.name)
    )];
    let direct = holders.iter().filter(|(_, through)| through.is_none());
    for (holder, _) in direct {
        let (kind, name) = holder.binding.split_once(' ').unwrap_or_default();
        let name = name.split_once('/').map_or(name, |(_, name)| name);
        let place = holder
            .namespace
            .as_deref()
            .map_or_else(String::new, |it| format!(" -n {}", quoted(it)));
        let command = format!(
            "kubectl delete {} {}{place}",
            kind.to_lowercase(),
            quoted(name)
        );
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    (
        format!(
            "it gives nothing else, delete it: {}{managed}",
            commands.join(" && ")
        ),
        None,
    )
}

/// The role with those rules, as kubectl takes it. Labels and annotations stay, as an apply takes away what it does not
/// name.
fn manifest(role: RoleView<'_>, rules: &[PolicyRule]) -> Option<String> {
    let mut metadata = json!({ "name": role.name });
    if let Some(namespace) = role.namespace {
        metadata["namespace"] = json!(namespace);
    }
    if let Some(labels) = role.labels.filter(|labels| !labels.is_empty()) {
        metadata["labels"] = json!(labels);
    }
    let annotations = role
        .annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != LAST_APPLIED);
    let annotations: BTreeMap<_, _> = annotations.collect();
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    let object: Value = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": role.kind(), "metadata": metadata, "rules": rules,
    });
    // Whatever is JSON can be written as YAML.
    serde_saphyr::to_string(&object).ok()
}

/// A name as a shell takes it for one word: RBAC allows almost any character in names.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._-".contains(&byte);
    if !name.is_empty() && name.bytes().all(plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}
