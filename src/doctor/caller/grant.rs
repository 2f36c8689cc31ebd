//! The shortest grant that opens something to one caller: a binding of a role that is there, or a role with it.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde_json::{Value, json};

use super::doors::ServiceDoor;
use crate::authn::{ACCOUNT, Caller};
use crate::config::ResourceAttributes;
use crate::doctor::rule::{grants, resource};

const GROUP: &str = "rbac.authorization.k8s.io";
const VERSION: &str = "rbac.authorization.k8s.io/v1";

/// Stands where the operator has to choose.
pub(super) const CHOSEN: &str = "NAMESPACE";

/// Where a right is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrantScope {
    Cluster,
    /// One that the operator chooses.
    Namespace,
}

/// Opens a door of the proxy.
pub(super) fn door(caller: &Caller, door: &ServiceDoor, roles: &[Role]) -> String {
    let wanted = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["services/proxy".to_owned()]),
        resource_names: Some(vec![door.segment.clone()]),
        verbs: vec!["get".to_owned()],
        ..PolicyRule::default()
    };
    let fits = |role: &&Role| {
        let here = role.metadata.namespace.as_deref() == Some(door.namespace.as_str());
        here && is_just(role.rules.as_deref(), &wanted)
    };
    let known = roles.iter().find(fits);
    let name = known.and_then(|role| role.metadata.name.as_deref());
    let made = name.is_none().then(|| {
        json!({
            "apiVersion": VERSION, "kind": "Role", "rules": [wanted],
            "metadata": { "name": "prom-rbac-proxy-door", "namespace": door.namespace },
        })
    });
    let role = ("Role", name.unwrap_or("prom-rbac-proxy-door"));
    documents([made, Some(binding(caller, role, Some(&door.namespace)))])
}

/// Opens series: by a role that gives nothing else, by `view` where that gives it, by a new role else.
pub(super) fn series(
    caller: &Caller,
    attributes: &ResourceAttributes,
    place: GrantScope,
    roles: &[ClusterRole],
) -> String {
    let (made, namespace) = match place {
        GrantScope::Cluster => ("prom-rbac-proxy-cluster-series", None),
        GrantScope::Namespace => ("prom-rbac-proxy-series", Some(CHOSEN)),
    };
    let wanted = PolicyRule {
        api_groups: Some(vec![attributes.group.clone()]),
        resources: Some(vec![resource(attributes)]),
        verbs: vec![attributes.verb.clone()],
        ..PolicyRule::default()
    };
    let just = |role: &&ClusterRole| is_just(role.rules.as_deref(), &wanted);
    let view = |role: &&ClusterRole| {
        let named = role.metadata.name.as_deref() == Some("view") && place == GrantScope::Namespace;
        named && grants(role.rules.as_deref(), attributes)
    };
    let known = roles.iter().find(just).or_else(|| roles.iter().find(view));
    let name = known.and_then(|role| role.metadata.name.as_deref());
    let role = name.is_none().then(|| {
        json!({
            "apiVersion": VERSION, "kind": "ClusterRole", "metadata": { "name": made }, "rules": [wanted],
        })
    });
    let bound = ("ClusterRole", name.unwrap_or(made));
    documents([role, Some(binding(caller, bound, namespace))])
}

/// Whether a role gives this and nothing else: fewer rules are no smaller right, as `cluster-admin` shows.
fn is_just(rules: Option<&[PolicyRule]>, wanted: &PolicyRule) -> bool {
    rules.is_some_and(|rules| !rules.is_empty() && rules.iter().all(|rule| rule == wanted))
}

/// Has a name of its own, so that applying it takes no other binding's place.
fn binding(caller: &Caller, (kind, role): (&str, &str), namespace: Option<&str>) -> Value {
    let user = caller.username();
    // All that a name in RBAC may not have.
    let suffix = user.replace(['/', '%'], "-");
    let mut metadata = json!({ "name": format!("{role}-{suffix}") });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let account = user.strip_prefix(ACCOUNT);
    let subject = match account.and_then(|account| account.split_once(':')) {
        Some((namespace, name)) => {
            json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
        }
        None => json!({ "kind": "User", "apiGroup": GROUP, "name": user }),
    };
    let bound = if namespace.is_some() {
        "RoleBinding"
    } else {
        "ClusterRoleBinding"
    };
    json!({
        "apiVersion": VERSION, "kind": bound, "metadata": metadata, "subjects": [subject],
        "roleRef": { "apiGroup": GROUP, "kind": kind, "name": role },
    })
}

/// As YAML, one after the other.
fn documents(documents: [Option<Value>; 2]) -> String {
    // Whatever is JSON can be written as YAML.
    let texts = documents
        .iter()
        .flatten()
        .filter_map(|it| serde_saphyr::to_string(it).ok());
    texts.collect::<Vec<_>>().join("---\n")
}
