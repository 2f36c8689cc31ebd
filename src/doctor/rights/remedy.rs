//! What to do about a role: the smaller one as YAML, or the commands that delete it.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use super::holders::Holder;
use super::role::RoleView;

/// Who put an object there, where a program says so.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// kubectl's copy of what was applied before; `kubectl apply` writes a new one.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What to do, and the manifest for it.
pub(super) fn remedy(
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
    for (holder, _) in holders.iter().filter(|(_, through)| through.is_none()) {
        let binding = &holder.binding;
        let place = binding
            .namespace
            .as_deref()
            .map_or_else(String::new, |it| format!(" -n {}", quoted(it)));
        let (kind, name) = (binding.kind().to_lowercase(), quoted(&binding.name));
        let command = format!("kubectl delete {kind} {name}{place}");
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
