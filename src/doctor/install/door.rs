//! The Role by which callers come through the API server: that it names the proxy's Service, and that somebody holds
//! it.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding};

use super::names;
use crate::config::Config;
use crate::doctor::finding::{Code, Finding, Severity};
use crate::doctor::lists::Unread;
use crate::doctor::own_service::{self, is_own, is_program};
use crate::doctor::rule::allows;
use crate::doctor::snapshot::Snapshot;

const RESOURCE: &str = "services/proxy";

/// What is known of the door of one Service.
struct Door<'a> {
    /// Roles that grant it.
    open: Vec<&'a Role>,
    /// Roles of the proxy that name something else.
    misnamed: Vec<&'a Role>,
}

/// Judges the doors of the proxy's Services. With TLS there is none: the API server speaks plain HTTP to Services.
pub(super) fn examine(snapshot: &Snapshot, config: &Config) -> Result<Vec<Finding>, Unread> {
    if config.listeners.service.tls.is_some() {
        return Ok(Vec::new());
    }
    let services = snapshot.services.as_ref().map_err(Clone::clone)?;
    let roles = snapshot.roles.as_ref().map_err(Clone::clone)?;
    let bindings = snapshot.bindings.as_ref().map_err(Clone::clone)?;
    let own = services.iter().filter(|service| is_own(service));
    let findings = own.filter_map(|service| closed(service, &door(service, roles), bindings));
    Ok(findings.collect())
}

/// Whether callers come to a Service through the API server by a Role for it.
pub(super) fn is_open(service: &Service, roles: &[Role]) -> bool {
    !door(service, roles).open.is_empty()
}

fn door<'a>(service: &Service, roles: &'a [Role]) -> Door<'a> {
    let namespace = service.metadata.namespace.as_deref();
    let segments = segments(service);
    let beside = |role: &&Role| role.metadata.namespace.as_deref() == namespace;
    let opens = |rule: &PolicyRule, named: bool| {
        let names: Vec<_> = rule.resource_names.iter().flatten().collect();
        let names_it = names.iter().any(|name| segments.contains(name));
        allows(rule, "get", "", RESOURCE) && !names.is_empty() && names_it == named
    };
    let having = |named: bool| {
        let roles = roles.iter().filter(beside);
        roles.filter(move |role| role.rules.iter().flatten().any(|rule| opens(rule, named)))
    };
    Door {
        open: having(true).collect(),
        misnamed: having(false)
            .filter(|role| role.metadata.labels.as_ref().is_some_and(is_program))
            .collect(),
    }
}

/// Its ports, as a path of the API server has them.
fn segments(service: &Service) -> Vec<String> {
    own_service::read(service).map_or_else(Vec::new, |own| own.segments)
}

fn closed(service: &Service, door: &Door<'_>, bindings: &[RoleBinding]) -> Option<Finding> {
    let (namespace, name) = names(&service.metadata);
    let bound = |role: &&Role| {
        let (namespace, name) = names(&role.metadata);
        bindings.iter().any(|binding| {
            let here = binding.metadata.namespace.as_deref() == Some(namespace);
            let this = binding.role_ref.kind == "Role" && binding.role_ref.name == name;
            here && this && binding.subjects.iter().flatten().next().is_some()
        })
    };
    if door.open.iter().any(bound) {
        return None;
    }
    let told = |role: &&Role, why: &str| {
        let (namespace, name) = names(&role.metadata);
        format!("Role {namespace}/{name} {why}")
    };
    let unbound = door
        .open
        .iter()
        .map(|role| told(role, "is bound to nobody"));
    let misnamed = door.misnamed.iter().map(|role| {
        let rules = role.rules.iter().flatten();
        let named: Vec<_> = rules
            .flat_map(|rule| rule.resource_names.iter().flatten().map(String::as_str))
            .collect();
        told(role, &format!("names {}", named.join(", ")))
    });
    let details: Vec<_> = unbound.chain(misnamed).collect();
    // Without any such Role, that may well be meant: the other doors need none.
    let severity = if details.is_empty() {
        Severity::Advice
    } else {
        Severity::Warning
    };
    let segments = segments(service);
    let segment = segments.last().map_or(name, String::as_str);
    Some(Finding {
        details,
        ..Finding::new(
            Code::InstallDoorClosed,
            severity,
            format!("Service {namespace}/{name}"),
            format!("no Role that somebody holds grants get on {RESOURCE} of {segment}, so that nobody comes through the API server"),
            "access.enabled=true in the chart, or the Role and RoleBinding prom-rbac-proxy-access of the kustomize base; nothing, where \
             Headlamp uses another door"
                .to_owned(),
        )
    })
}
