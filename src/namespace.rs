//! Names of namespaces, valid by construction.
//!
//! Everything that can end up in a matcher or in a review goes through [`Namespace::parse`], so that an
//! empty name, a blank, a wildcard or a regular expression has no way into either.

use std::fmt;
use std::sync::Arc;

/// The longest name that Kubernetes allows for a namespace (RFC 1123 label), in bytes.
const MAX_NAMESPACE_BYTES: usize = 63;

/// The name of a namespace: an RFC 1123 label, at most 63 bytes of `[a-z0-9-]`, starting and ending with a
/// letter or a digit.
///
/// None of these characters is special in a regular expression outside of a character class, so that names
/// joined by `|` are an alternation of literals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Reads a name. `None` for what can never be the name of a namespace.
    pub fn parse(text: &str) -> Option<Self> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let (first, last) = (*bytes.first()?, *bytes.last()?);
        let valid = bytes.len() <= MAX_NAMESPACE_BYTES
            && alphanumeric(first)
            && alphanumeric(last)
            && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-');
        valid.then(|| Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Namespace {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of namespaces with at least one member, sorted, without duplicates. Cheap to clone.
///
/// There is no empty set: `namespace=""` would select the series that have no such label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceSet(Arc<[Namespace]>);

impl NamespaceSet {
    /// Makes a set of all `names`. `None` when there are none.
    pub fn new(names: impl IntoIterator<Item = Namespace>) -> Option<Self> {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then(|| Self(names.into()))
    }

    /// The members in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Namespace> {
        self.0.iter()
    }

    /// The members in order.
    pub fn as_slice(&self) -> &[Namespace] {
        &self.0
    }

    /// How many members there are; at least one.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `name` is a member. Takes text, so that a label's value can be asked about as it is.
    pub fn contains(&self, name: &str) -> bool {
        self.0
            .binary_search_by(|member| member.as_str().cmp(name))
            .is_ok()
    }
}

impl<'a> IntoIterator for &'a NamespaceSet {
    type Item = &'a Namespace;
    type IntoIter = std::slice::Iter<'a, Namespace>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_rfc_1123_are_names() {
        for name in ["a", "team-a", "0", "x".repeat(63).as_str()] {
            assert_eq!(Namespace::parse(name).expect(name).as_str(), name);
        }
    }

    #[test]
    fn q09_q10_k02_what_is_no_label_is_no_name() {
        let long = "x".repeat(64);
        for name in [
            "", " ", "*", ".*", "a/b", "..", "TEAM-A", "team.a", "(?i)x", "team-a\n", "-a", "a-",
            "ä", &long,
        ] {
            assert_eq!(Namespace::parse(name), None, "{name:?}");
        }
    }

    #[test]
    fn q08_there_is_no_empty_set() {
        assert_eq!(NamespaceSet::new([]), None);
    }

    #[test]
    fn a_set_is_sorted_and_has_each_member_once() {
        let name = |text| Namespace::parse(text).expect(text);
        let set = NamespaceSet::new([name("b"), name("a"), name("b")]).expect("two names");
        assert_eq!(
            set.iter().map(Namespace::as_str).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert!(set.contains("a") && !set.contains("c") && !set.contains(""));
    }
}
