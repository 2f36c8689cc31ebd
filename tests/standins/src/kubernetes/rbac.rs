//! Role-based access control, evaluated on the stored Roles and bindings. Escalation checks on
//! writing roles are left out: the stand-in trusts whoever may write them.

use serde_json::{Value, json};

use super::authentication::User;
use super::request::RequestInfo;
use super::selector::object_selects;
use super::store::{Store, text};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Members may do everything, whatever the roles say.
const MASTERS: &str = "system:masters";

/// What a caller wants to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// A path that is no resource; the fields above but `verb` are then empty.
    pub(crate) path: Option<String>,
}

impl From<&RequestInfo> for Attributes {
    fn from(info: &RequestInfo) -> Self {
        Self {
            verb: info.verb.clone(),
            group: info.group.clone(),
            resource: info.resource.clone(),
            subresource: info.subresource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            path: (!info.is_resource).then(|| info.path.clone()),
        }
    }
}

/// The authorizer's answer, with the text it gives for it (often empty).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    pub(crate) reason: String,
}

/// Decides by all bindings that name the user or one of the groups.
pub(crate) fn authorize(store: &Store, user: &User, attributes: &Attributes) -> Decision {
    if user.groups.iter().any(|group| group == MASTERS) {
        return Decision {
            allowed: true,
            reason: String::new(),
        };
    }
    let mut missing = Vec::new();
    for grant in grants(store, user, &attributes.namespace) {
        match &grant.rules {
            None => missing.push(grant.missing_role()),
            Some(rules) => {
                if rules.iter().any(|rule| rule_allows(rule, attributes)) {
                    return Decision {
                        allowed: true,
                        reason: grant.reason(),
                    };
                }
            }
        }
    }
    let reason = match missing.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        several => format!("RBAC: [{}]", several.join(", ")),
    };
    Decision {
        allowed: false,
        reason,
    }
}

/// All rules that hold for a user in a namespace: what a SelfSubjectRulesReview lists.
pub(crate) fn rules_for(store: &Store, user: &User, namespace: &str) -> Vec<Value> {
    if user.groups.iter().any(|group| group == MASTERS) {
        return vec![
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
            json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
        ];
    }
    grants(store, user, namespace)
        .into_iter()
        .filter_map(|grant| grant.rules)
        .flatten()
        .collect()
}

/// Aggregated ClusterRoles whose rules are not what their selectors find, with the right rules.
pub(crate) fn stale_aggregations(store: &Store) -> Vec<(String, Value)> {
    let roles: Vec<&Value> = store
        .objects(GROUP, "clusterroles", "")
        .map(AsRef::as_ref)
        .collect();
    let mut stale = Vec::new();
    for role in &roles {
        let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else {
            continue;
        };
        let mut rules: Vec<&Value> = Vec::new();
        for other in &roles {
            let selected = other["metadata"]["name"] != role["metadata"]["name"]
                && selectors
                    .iter()
                    .any(|selector| object_selects(selector, &other["metadata"]["labels"]));
            if selected {
                for rule in other["rules"].as_array().into_iter().flatten() {
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
            }
        }
        let rules = json!(rules);
        if rules != role["rules"] {
            stale.push((text(&role["metadata"]["name"]), rules));
        }
    }
    stale
}

/// A binding that names the user, and the rules of its role.
struct Grant {
    binding: String,
    role: String,
    role_kind: String,
    subject: String,
    rules: Option<Vec<Value>>,
}

impl Grant {
    fn reason(&self) -> String {
        format!(
            "RBAC: allowed by {} of {} \"{}\" to {}",
            self.binding, self.role_kind, self.role, self.subject
        )
    }

    fn missing_role(&self) -> String {
        let resource = format!("{}.{GROUP}", self.role_kind.to_ascii_lowercase());
        format!("{resource} \"{}\" not found", self.role)
    }
}

fn grants(store: &Store, user: &User, namespace: &str) -> Vec<Grant> {
    let mut grants = Vec::new();
    for binding in store.objects(GROUP, "clusterrolebindings", "") {
        let name = text(&binding["metadata"]["name"]);
        let label = format!("ClusterRoleBinding \"{name}\"");
        grants.extend(grant(store, user, binding, "", label));
    }
    if !namespace.is_empty() {
        for binding in store.objects(GROUP, "rolebindings", namespace) {
            let name = text(&binding["metadata"]["name"]);
            let label = format!("RoleBinding \"{name}/{namespace}\"");
            grants.extend(grant(store, user, binding, namespace, label));
        }
    }
    grants
}

fn grant(
    store: &Store,
    user: &User,
    binding: &Value,
    namespace: &str,
    label: String,
) -> Option<Grant> {
    let subject = binding["subjects"]
        .as_array()?
        .iter()
        .find_map(|subject| matching_subject(subject, user, namespace))?;
    let role = text(&binding["roleRef"]["name"]);
    let role_kind = text(&binding["roleRef"]["kind"]);
    let found = match role_kind.as_str() {
        "ClusterRole" => store
            .kind(GROUP, "clusterroles")
            .and_then(|kind| store.object(&kind, "", &role)),
        "Role" => store
            .kind(GROUP, "roles")
            .and_then(|kind| store.object(&kind, namespace, &role)),
        _ => None,
    };
    let rules = found.map(|role| role["rules"].as_array().cloned().unwrap_or_default());
    Some(Grant {
        binding: label,
        role,
        role_kind,
        subject,
        rules,
    })
}

/// How messages describe the subject, if it is the user.
fn matching_subject(subject: &Value, user: &User, binding_namespace: &str) -> Option<String> {
    let name = subject["name"].as_str()?;
    match subject["kind"].as_str()? {
        "User" => (user.username == name).then(|| format!("User \"{name}\"")),
        "Group" => user
            .groups
            .iter()
            .any(|group| group == name)
            .then(|| format!("Group \"{name}\"")),
        "ServiceAccount" => {
            let namespace = subject["namespace"]
                .as_str()
                .filter(|namespace| !namespace.is_empty())
                .unwrap_or(binding_namespace);
            (user.username == format!("system:serviceaccount:{namespace}:{name}"))
                .then(|| format!("ServiceAccount \"{name}/{namespace}\""))
        }
        _ => None,
    }
}

fn rule_allows(rule: &Value, attributes: &Attributes) -> bool {
    if !lists(&rule["verbs"], |verb| {
        verb == "*" || verb == attributes.verb
    }) {
        return false;
    }
    if let Some(path) = &attributes.path {
        return lists(&rule["nonResourceURLs"], |url| url_covers(url, path));
    }
    let names = &rule["resourceNames"];
    lists(&rule["apiGroups"], |group| {
        group == "*" || group == attributes.group
    }) && lists(&rule["resources"], |resource| {
        resource_covers(resource, attributes)
    }) && (names.as_array().is_none_or(Vec::is_empty)
        || lists(names, |name| name == attributes.name))
}

fn lists(list: &Value, holds: impl Fn(&str) -> bool) -> bool {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(holds)
}

/// `*` covers subresources too; `*/proxy` covers that subresource of every resource; `*/*` is
/// nothing special to Kubernetes.
fn resource_covers(resource: &str, attributes: &Attributes) -> bool {
    if resource == "*" {
        return true;
    }
    if attributes.subresource.is_empty() {
        return resource == attributes.resource;
    }
    match resource.split_once('/') {
        Some((parent, subresource)) => {
            subresource == attributes.subresource
                && (parent == "*" || parent == attributes.resource)
        }
        None => false,
    }
}

fn url_covers(url: &str, path: &str) -> bool {
    url == "*"
        || url == path
        || url
            .strip_suffix('*')
            .is_some_and(|prefix| path.starts_with(prefix))
}
