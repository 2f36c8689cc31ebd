//! RoleBindings and ClusterRoleBindings as they are listed and watched. A malformed one must not end the watch of all
//! others, so only the metadata is read strictly.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::metrics::{PassedOver, Watched};
use super::subject::Subject;

/// Subjects that are read of one binding.
pub(super) const MAX_SUBJECTS: usize = 1_000;

/// Bytes of a subject's name. No user of an authenticator comes near, and an object has room for a megabyte.
const MAX_NAME_BYTES: usize = 1_024;

/// A binding: only names, role and subjects are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "")]
pub struct Binding<S> {
    #[serde(default)]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    subjects: SubjectList,
    #[serde(default, rename = "roleRef")]
    role: Element<Role>,
    #[serde(skip)]
    scope: PhantomData<S>,
}

/// Binds in its namespace.
pub type RoleBinding = Binding<InNamespace>;

/// Binds in the whole cluster.
pub type ClusterRoleBinding = Binding<InCluster>;

/// Where a binding binds.
pub trait Scope: Clone + fmt::Debug + Send + Sync + 'static {
    /// The scope in kube's terms.
    type Scope;
    const KIND: &'static str;
    const WATCHED: Watched;
    const IN_NAMESPACE: bool;
}

#[derive(Clone, Debug)]
pub struct InNamespace;

#[derive(Clone, Debug)]
pub struct InCluster;

impl Scope for InNamespace {
    type Scope = kube::core::NamespaceResourceScope;
    const KIND: &'static str = "RoleBinding";
    const WATCHED: Watched = Watched::RoleBindings;
    const IN_NAMESPACE: bool = true;
}

impl Scope for InCluster {
    type Scope = kube::core::ClusterResourceScope;
    const KIND: &'static str = "ClusterRoleBinding";
    const WATCHED: Watched = Watched::ClusterRoleBindings;
    const IN_NAMESPACE: bool = false;
}

/// A role as a binding names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
pub(super) struct Role {
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) name: String,
}

/// Subjects as they are written.
#[derive(Clone, Debug, Default)]
struct SubjectList {
    subjects: Vec<WrittenSubject>,
    /// Why these are not all.
    lacks: Option<PassedOver>,
}

#[derive(Clone, Debug, Deserialize)]
struct WrittenSubject {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

/// The expected type, or anything else that stands in its place.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Element<T> {
    Read(T),
    Other(IgnoredAny),
}

impl<T> Default for Element<T> {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

impl<S: Scope> Binding<S> {
    /// The role that it gives. `None` where it names none.
    pub(super) fn role(&self) -> Option<&Role> {
        match &self.role {
            Element::Read(role) => Some(role),
            Element::Other(_) => None,
        }
    }

    /// Its subjects, each once and in order; `namespace` is that of the binding, if it has one. [`Subject::Anybody`]
    /// alone where not all of them can be read. `passed_over` is called for each thing that is not read.
    pub(super) fn subjects(
        &self,
        namespace: Option<&str>,
        mut passed_over: impl FnMut(PassedOver),
    ) -> Vec<Subject> {
        let SubjectList { subjects, lacks } = &self.subjects;
        if let Some(reason) = lacks {
            passed_over(*reason);
            return vec![Subject::Anybody];
        }
        let mut read = Vec::with_capacity(subjects.len());
        for written in subjects {
            if written.name.len() > MAX_NAME_BYTES {
                passed_over(PassedOver::LongName);
                return vec![Subject::Anybody];
            }
            match written.kind.as_str() {
                "User" => read.push(Subject::User(written.name.as_str().into())),
                "Group" => read.push(Subject::Group(written.name.as_str().into())),
                "ServiceAccount" => {
                    let own = written.namespace.as_deref().filter(|own| !own.is_empty());
                    // Without a namespace it is the binding's, and without that, to RBAC, nobody.
                    if let Some(own) = own.or(namespace) {
                        let user = format!("system:serviceaccount:{own}:{}", written.name);
                        read.push(Subject::User(user.into()));
                    }
                }
                // Nobody, to RBAC.
                _ => passed_over(PassedOver::Kind),
            }
        }
        read.sort_unstable();
        read.dedup();
        read
    }
}

impl<'de> Deserialize<'de> for SubjectList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient)
    }
}

/// Reads a list up to a length, and treats anything but a list as one that cannot be read.
struct Lenient;

impl Lenient {
    fn unreadable<E>() -> Result<SubjectList, E> {
        Ok(SubjectList {
            subjects: Vec::new(),
            lacks: Some(PassedOver::Unreadable),
        })
    }
}

impl<'de> Visitor<'de> for Lenient {
    type Value = SubjectList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("subjects")
    }

    fn visit_unit<E>(self) -> Result<SubjectList, E> {
        Ok(SubjectList::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<SubjectList, A::Error> {
        let mut listed = SubjectList::default();
        while listed.lacks.is_none() {
            match list.next_element::<Element<WrittenSubject>>()? {
                None => return Ok(listed),
                Some(_) if listed.subjects.len() == MAX_SUBJECTS => {
                    listed.lacks = Some(PassedOver::Subjects);
                }
                Some(Element::Read(subject)) => listed.subjects.push(subject),
                Some(Element::Other(_)) => listed.lacks = Some(PassedOver::Unreadable),
            }
        }
        listed.subjects = Vec::new();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(listed)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<SubjectList, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Self::unreadable()
    }

    fn visit_bool<E>(self, _: bool) -> Result<SubjectList, E> {
        Self::unreadable()
    }

    fn visit_i64<E>(self, _: i64) -> Result<SubjectList, E> {
        Self::unreadable()
    }

    fn visit_u64<E>(self, _: u64) -> Result<SubjectList, E> {
        Self::unreadable()
    }

    fn visit_f64<E>(self, _: f64) -> Result<SubjectList, E> {
        Self::unreadable()
    }

    fn visit_str<E>(self, _: &str) -> Result<SubjectList, E> {
        Self::unreadable()
    }
}

impl<S: Scope> kube::Resource for Binding<S> {
    type DynamicType = ();
    type Scope = S::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        S::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "rbac.authorization.k8s.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        S::WATCHED.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(subjects: &Value) -> (Vec<Subject>, Vec<PassedOver>) {
        let object = json!({"metadata": {"name": "a"}, "subjects": subjects});
        // Of bytes, as from a connection.
        let object: RoleBinding = serde_json::from_str(&object.to_string()).expect("never fails");
        let mut passed_over = Vec::new();
        let subjects = object.subjects(Some("home"), |reason| passed_over.push(reason));
        (subjects, passed_over)
    }

    #[test]
    fn k26_subjects_are_read_as_rbac_reads_them() {
        let (subjects, passed_over) = read(&json!([
            {"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"},
            {"kind": "User", "name": "alice"},
            {"kind": "Group", "name": "alice"},
            {"kind": "ServiceAccount", "name": "grafana", "namespace": "tools"},
            {"kind": "ServiceAccount", "name": "here"},
            {"kind": "ServiceAccount", "name": "empty", "namespace": ""},
        ]));
        let user = |name: &str| Subject::User(name.into());
        assert_eq!(
            subjects,
            [
                user("alice"),
                user("system:serviceaccount:home:empty"),
                user("system:serviceaccount:home:here"),
                user("system:serviceaccount:tools:grafana"),
                Subject::Group("alice".into()),
            ]
        );
        assert_eq!(passed_over, []);
    }

    #[test]
    fn k26_a_kind_that_rbac_does_not_know_is_nobody() {
        let (subjects, passed_over) = read(&json!([
            {"kind": "Robot", "name": "alice"}, {"kind": "User", "name": "bob"}, {}
        ]));
        assert_eq!(subjects, [Subject::User("bob".into())]);
        assert_eq!(passed_over, [PassedOver::Kind, PassedOver::Kind]);
    }

    #[test]
    fn k26_subjects_that_are_not_all_known_may_be_anybody() {
        let many = |count: usize| -> Value {
            let subject = |number| json!({"kind": "User", "name": format!("user-{number}")});
            (0..count).map(subject).collect()
        };
        assert_eq!(read(&many(MAX_SUBJECTS)).0.len(), MAX_SUBJECTS);
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for (subjects, reason) in [
            (many(MAX_SUBJECTS + 1), PassedOver::Subjects),
            (many(30_000), PassedOver::Subjects),
            (
                json!([{"kind": "User", "name": long}]),
                PassedOver::LongName,
            ),
            (
                json!([{"kind": "User", "name": "a"}, 7]),
                PassedOver::Unreadable,
            ),
            (
                json!([{"kind": ["User"], "name": "a"}]),
                PassedOver::Unreadable,
            ),
            (json!({"kind": "User"}), PassedOver::Unreadable),
            (json!("alice"), PassedOver::Unreadable),
            (json!(-1), PassedOver::Unreadable),
            (json!(1.5), PassedOver::Unreadable),
            (json!(true), PassedOver::Unreadable),
        ] {
            assert_eq!(read(&subjects), (vec![Subject::Anybody], vec![reason]));
        }
    }

    #[test]
    fn a_binding_without_subjects_names_nobody() {
        for subjects in [json!(null), json!([])] {
            assert_eq!(read(&subjects), (Vec::new(), Vec::new()));
        }
    }
}
