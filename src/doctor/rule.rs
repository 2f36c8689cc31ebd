//! A rule of a role, read as Kubernetes' RBAC authorizer reads it.
//!
//! It honours `*` and `*/SUBRESOURCE` among resources and nothing else with a star: `pods/*` is not a resource at all.

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::config::ResourceAttributes;

/// Everything, as a group, a resource or a verb.
pub(super) const ALL: &str = "*";

/// Kubernetes' own ClusterRoles for people, but `view`.
pub(super) const KUBERNETES_OWN: [&str; 3] = ["cluster-admin", "admin", "edit"];

/// Whether it grants `verb` on `resource` of `group`, perhaps for certain names alone. A subresource follows a slash.
pub(super) fn allows(rule: &PolicyRule, verb: &str, group: &str, resource: &str) -> bool {
    let has = |texts: &[String], text: &str| texts.iter().any(|one| one == text || one == ALL);
    let groups = rule.api_groups.as_deref().unwrap_or_default();
    let resources = rule.resources.as_deref().unwrap_or_default();
    let every = resource
        .split_once('/')
        .map(|(_, subresource)| format!("*/{subresource}"));
    has(&rule.verbs, verb)
        && has(groups, group)
        && (has(resources, resource) || every.is_some_and(|every| resources.contains(&every)))
}

/// Whether a role's rules grant the access that the proxy asks about. One for certain names does not grant it without a
/// name.
pub(super) fn grants(rules: Option<&[PolicyRule]>, attributes: &ResourceAttributes) -> bool {
    let ResourceAttributes { verb, group, .. } = attributes;
    rules.unwrap_or_default().iter().any(|rule| {
        let named = rule.resource_names.iter().flatten().next().is_some();
        !named && allows(rule, verb, group, &resource(attributes))
    })
}

/// As a rule writes it.
pub(super) fn resource(attributes: &ResourceAttributes) -> String {
    if attributes.subresource.is_empty() {
        attributes.resource.clone()
    } else {
        format!("{}/{}", attributes.resource, attributes.subresource)
    }
}

/// As `get, list on pods, services in apps`.
pub(super) fn describe(rule: &PolicyRule) -> String {
    let verbs = rule.verbs.join(", ");
    let joined = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default().join(", ");
    if rule.resources.iter().flatten().next().is_none() {
        return format!("{verbs} on {}", joined(&rule.non_resource_urls));
    }
    let groups: Vec<_> = rule.api_groups.iter().flatten().collect();
    let place = match groups.as_slice() {
        [group] if group.is_empty() => String::new(),
        [group] if *group == ALL => " in all groups".to_owned(),
        groups => {
            let named = |group: &&String| {
                let name = if group.is_empty() { "core" } else { group };
                name.to_owned()
            };
            format!(
                " in {}",
                groups.iter().map(named).collect::<Vec<_>>().join(", ")
            )
        }
    };
    let names = match joined(&rule.resource_names) {
        names if names.is_empty() => names,
        names => format!(" of {names}"),
    };
    format!("{verbs} on {}{place}{names}", joined(&rule.resources))
}
