//! Who holds a role: by a binding of it, and by a binding of a role that takes it in by aggregation.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, RoleBinding, RoleRef, Subject};

use crate::doctor::selector::matches;

/// Groups that everybody is in who comes to the API server.
const EVERYBODY: [&str; 3] = [
    "system:authenticated",
    "system:unauthenticated",
    "system:serviceaccounts",
];

/// Somebody to whom a binding gives a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    /// As `group viewers`.
    pub(super) subject: String,
    /// The namespace it holds in; `None`: everywhere.
    pub(super) namespace: Option<String>,
    /// The binding's kind and name.
    pub(super) binding: String,
    /// Whether it is a group of more or less everybody.
    pub(super) everybody: bool,
}

impl Holder {
    /// As `group viewers in the whole cluster, by ClusterRoleBinding viewers`.
    pub(super) fn told(&self) -> String {
        let place = match &self.namespace {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in the whole cluster".to_owned(),
        };
        format!("{} {place}, by {}", self.subject, self.binding)
    }
}

/// All bindings, by the role that they give: a ClusterRole's has no namespace.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    by_role: HashMap<(Option<String>, String), Vec<Holder>>,
}

impl Bindings {
    pub(super) fn new(cluster: Vec<ClusterRoleBinding>, namespaced: Vec<RoleBinding>) -> Self {
        let mut bindings = Self::default();
        for binding in cluster {
            let name = binding.metadata.name.unwrap_or_default();
            let told = format!("ClusterRoleBinding {name}");
            bindings.add(&binding.role_ref, binding.subjects, None, &told);
        }
        for binding in namespaced {
            let name = binding.metadata.name.unwrap_or_default();
            let namespace = binding.metadata.namespace.unwrap_or_default();
            let told = format!("RoleBinding {namespace}/{name}");
            bindings.add(&binding.role_ref, binding.subjects, Some(&namespace), &told);
        }
        bindings
    }

    fn add(
        &mut self,
        role: &RoleRef,
        subjects: Option<Vec<Subject>>,
        namespace: Option<&str>,
        binding: &str,
    ) {
        let of = match (role.kind.as_str(), namespace) {
            ("ClusterRole", _) => None,
            ("Role", Some(namespace)) => Some(namespace.to_owned()),
            // The API server takes no such binding.
            _ => return,
        };
        let holders = subjects
            .unwrap_or_default()
            .into_iter()
            .map(|subject| Holder {
                everybody: subject.kind == "Group" && EVERYBODY.contains(&subject.name.as_str()),
                subject: told(&subject, namespace),
                namespace: namespace.map(str::to_owned),
                binding: binding.to_owned(),
            });
        let key = (of, role.name.clone());
        self.by_role.entry(key).or_default().extend(holders);
    }

    /// Who holds a ClusterRole, or a Role of a namespace.
    pub(super) fn of(&self, namespace: Option<&str>, role: &str) -> &[Holder] {
        let key = (namespace.map(str::to_owned), role.to_owned());
        self.by_role.get(&key).map_or(&[], Vec::as_slice)
    }
}

fn told(subject: &Subject, namespace: Option<&str>) -> String {
    let name = &subject.name;
    match subject.kind.as_str() {
        "User" => format!("user {name}"),
        "Group" => format!("group {name}"),
        "ServiceAccount" => {
            let own = subject
                .namespace
                .as_deref()
                .or(namespace)
                .unwrap_or_default();
            format!("service account {own}/{name}")
        }
        kind => format!("{kind} {name}"),
    }
}

/// Which ClusterRoles take in which by their labels.
#[derive(Debug, Default)]
pub(super) struct Aggregation {
    /// From a role to those that it ends in, directly or through another.
    reached: BTreeMap<String, BTreeSet<String>>,
}

impl Aggregation {
    pub(super) fn new(roles: &[ClusterRole]) -> Self {
        let aggregated: Vec<_> = roles
            .iter()
            .filter_map(|role| Some((name(role), role.aggregation_rule.as_ref()?)))
            .collect();
        let mut direct: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for role in roles {
            let labels = role.metadata.labels.clone().unwrap_or_default();
            for (into, rule) in &aggregated {
                let mut selectors = rule.cluster_role_selectors.iter().flatten();
                if *into != name(role) && selectors.any(|selector| matches(selector, &labels)) {
                    direct.entry(name(role)).or_default().push(into);
                }
            }
        }
        let mut reached = BTreeMap::new();
        for role in direct.keys() {
            let mut all = BTreeSet::new();
            let mut open = vec![*role];
            while let Some(next) = open.pop() {
                for into in direct.get(next).into_iter().flatten() {
                    if into != role && all.insert((*into).to_owned()) {
                        open.push(into);
                    }
                }
            }
            reached.insert((*role).to_owned(), all);
        }
        Self { reached }
    }

    /// The roles that this one ends in.
    pub(super) fn of(&self, role: &str) -> impl Iterator<Item = &str> {
        self.reached
            .get(role)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The roles that end in this one.
    pub(super) fn sources(&self, role: &str) -> impl Iterator<Item = &str> {
        let reached = self.reached.iter();
        reached
            .filter(move |(_, all)| all.contains(role))
            .map(|(source, _)| source.as_str())
    }
}

pub(super) fn name(role: &ClusterRole) -> &str {
    role.metadata.name.as_deref().unwrap_or_default()
}
