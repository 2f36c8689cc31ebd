//! Whom a binding names, read as Kubernetes' own RBAC authorizer reads it.

use std::sync::Arc;

use hashbrown::Equivalent;

/// Whom a binding names. A ServiceAccount is the user that its tokens are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    User(Arc<str>),
    Group(Arc<str>),
    /// Of a binding whose subjects are not all known: it may concern anybody.
    Anybody,
}

/// The same, to look it up. Must hash as [`Subject`] does, so its variants stand in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SubjectRef<'a> {
    User(&'a str),
    Group(&'a str),
    Anybody,
}

impl Subject {
    pub(super) fn borrowed(&self) -> SubjectRef<'_> {
        match self {
            Self::User(name) => SubjectRef::User(name),
            Self::Group(name) => SubjectRef::Group(name),
            Self::Anybody => SubjectRef::Anybody,
        }
    }
}

impl Equivalent<Subject> for SubjectRef<'_> {
    fn equivalent(&self, key: &Subject) -> bool {
        *self == key.borrowed()
    }
}

/// All subjects by which a binding can name a caller.
pub(super) fn subjects_of<'a>(
    user: &'a str,
    groups: &'a [String],
) -> impl Iterator<Item = SubjectRef<'a>> {
    [SubjectRef::User(user), SubjectRef::Anybody]
        .into_iter()
        .chain(groups.iter().map(|group| SubjectRef::Group(group)))
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn what_looks_a_subject_up_hashes_as_it_does() {
        let hasher = RandomState::new();
        for subject in [
            Subject::User("a".into()),
            Subject::Group("a".into()),
            Subject::Anybody,
        ] {
            let borrowed = subject.borrowed();
            assert_eq!(hasher.hash_one(borrowed), hasher.hash_one(&subject));
            assert!(borrowed.equivalent(&subject));
        }
        assert!(!SubjectRef::User("a").equivalent(&Subject::Group("a".into())));
    }
}
