//! RoleBindings and ClusterRoleBindings, read alike.

use std::fmt;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};

/// A binding of either kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding<'a> {
    /// Where it gives its role. `None`: in the whole cluster.
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
    pub(super) role: &'a RoleRef,
    pub(super) subjects: &'a [Subject],
}

/// A binding by its name: what it gives holds in its namespace, that of a ClusterRoleBinding everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BindingName {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// All bindings: those of the whole cluster, then those of namespaces.
pub(super) fn all<'a>(
    cluster: &'a [ClusterRoleBinding],
    namespaced: &'a [RoleBinding],
) -> impl Iterator<Item = Binding<'a>> {
    let cluster = cluster.iter().map(|binding| Binding {
        namespace: None,
        name: binding.metadata.name.as_deref().unwrap_or_default(),
        role: &binding.role_ref,
        subjects: binding.subjects.as_deref().unwrap_or_default(),
    });
    let namespaced = namespaced.iter().map(|binding| Binding {
        namespace: Some(binding.metadata.namespace.as_deref().unwrap_or_default()),
        name: binding.metadata.name.as_deref().unwrap_or_default(),
        role: &binding.role_ref,
        subjects: binding.subjects.as_deref().unwrap_or_default(),
    });
    cluster.chain(namespaced)
}

impl Binding<'_> {
    pub(super) fn named(&self) -> BindingName {
        BindingName {
            namespace: self.namespace.map(str::to_owned),
            name: self.name.to_owned(),
        }
    }
}

impl BindingName {
    pub(super) fn kind(&self) -> &'static str {
        match self.namespace {
            Some(_) => "RoleBinding",
            None => "ClusterRoleBinding",
        }
    }
}

impl fmt::Display for BindingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = (self.kind(), &self.name);
        match &self.namespace {
            Some(namespace) => write!(f, "{kind} {namespace}/{name}"),
            None => write!(f, "{kind} {name}"),
        }
    }
}
