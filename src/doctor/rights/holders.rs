//! Who holds a role: by a binding of it, or of a role that aggregates it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use k8s_openapi::api::rbac::v1::{ClusterRole, Subject};

use crate::doctor::binding::{Binding, BindingName};
use crate::doctor::selector::matches;

/// Groups that contain everybody who can reach the API server.
const EVERYBODY: [&str; 3] = [
    "system:authenticated",
    "system:unauthenticated",
    "system:serviceaccounts",
];

/// Somebody to whom a binding gives a role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) who: Who,
    pub(super) binding: BindingName,
}

/// The subject of a binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl Holder {
    /// As `group viewers in the whole cluster, by ClusterRoleBinding viewers`.
    pub(super) fn description(&self) -> String {
        let Self { who, binding } = self;
        match &binding.namespace {
            Some(namespace) => format!("{who} in namespace {namespace}, by {binding}"),
            None => format!("{who} in the whole cluster, by {binding}"),
        }
    }
}

impl Who {
    /// `None` for a kind that RBAC does not know, which the API server accepts in no binding.
    fn read(subject: &Subject, namespace: Option<&str>) -> Option<Self> {
        let name = subject.name.clone();
        Some(match subject.kind.as_str() {
            "User" => Self::User(name),
            "Group" => Self::Group(name),
            "ServiceAccount" => Self::ServiceAccount {
                namespace: subject.namespace.as_deref().or(namespace)?.to_owned(),
                name,
            },
            _ => return None,
        })
    }

    /// Whether it is a group of more or less everybody.
    pub(super) fn is_everybody(&self) -> bool {
        matches!(self, Self::Group(name) if EVERYBODY.contains(&name.as_str()))
    }

    /// Whether it is a part of Kubernetes itself.
    pub(super) fn is_of_the_cluster(&self) -> bool {
        match self {
            Self::User(name) => name.starts_with("system:"),
            Self::Group(name) => name == "system:masters" || name.starts_with("system:nodes"),
            Self::ServiceAccount { namespace, .. } => namespace == "kube-system",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::ServiceAccount { namespace, name } => {
                write!(f, "service account {namespace}/{name}")
            }
        }
    }
}

/// All bindings, by the role that they give: a ClusterRole's has no namespace.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    by_role: HashMap<(Option<String>, String), Vec<Holder>>,
}

impl Bindings {
    pub(super) fn new<'b>(all: impl Iterator<Item = Binding<'b>>) -> Self {
        let mut by_role: HashMap<_, Vec<Holder>> = HashMap::new();
        for binding in all {
            let role_namespace = match (binding.role.kind.as_str(), binding.namespace) {
                ("ClusterRole", _) => None,
                ("Role", Some(namespace)) => Some(namespace.to_owned()),
                // The API server accepts no such binding.
                _ => continue,
            };
            let holders = binding.subjects.iter().filter_map(|subject| {
                Some(Holder {
                    who: Who::read(subject, binding.namespace)?,
                    binding: binding.named(),
                })
            });
            let role = (role_namespace, binding.role.name.clone());
            by_role.entry(role).or_default().extend(holders);
        }
        Self { by_role }
    }

    /// Who holds a ClusterRole, or a Role of a namespace.
    pub(super) fn of(&self, namespace: Option<&str>, role: &str) -> &[Holder] {
        let key = (namespace.map(str::to_owned), role.to_owned());
        self.by_role.get(&key).map_or(&[], Vec::as_slice)
    }
}

/// Which ClusterRoles aggregate which, by their labels.
#[derive(Debug, Default)]
pub(super) struct Aggregation {
    /// From a role to those that aggregate it, directly or through another.
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

    /// The roles that aggregate this one.
    pub(super) fn of(&self, role: &str) -> impl Iterator<Item = &str> {
        self.reached
            .get(role)
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// The roles that this one aggregates.
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
