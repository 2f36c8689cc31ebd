//! A vector selector as the caller wrote it.

use std::borrow::Cow;

use super::pattern;
use crate::namespace::{Namespace, NamespaceSet};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOperator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOperator {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// The label that holds a metric's name.
pub(super) const METRIC_NAME: &str = "__name__";

/// A matcher between braces. The name of a metric that stands before the braces is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher<'t> {
    pub(super) label: Cow<'t, [u8]>,
    pub(super) operator: MatchOperator,
    pub(super) value: Cow<'t, [u8]>,
}

impl Matcher<'_> {
    /// The name of the label, without quotes. A quoted one can be any bytes. `__name__` for a metric's name in braces.
    pub fn label(&self) -> &[u8] {
        &self.label
    }

    /// How the label's value is compared.
    pub fn operator(&self) -> MatchOperator {
        self.operator
    }

    /// The value or regular expression, without quotes. Can be any bytes, as PromQL has escapes for them.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The namespaces that it names, in order; a value that cannot be a namespace is none. `None` for an operator or a
    /// pattern that names no values.
    fn namespaces(&self) -> Option<Vec<Namespace>> {
        let namespace = |value: &[u8]| Namespace::parse(str::from_utf8(value).ok()?);
        match self.operator {
            MatchOperator::Equal => Some(namespace(&self.value).into_iter().collect()),
            MatchOperator::Regex => {
                let values = pattern::alternatives(&self.value)?;
                let mut names: Vec<_> =
                    values.iter().filter_map(|value| namespace(value)).collect();
                names.sort_unstable();
                Some(names)
            }
            MatchOperator::NotEqual | MatchOperator::NotRegex => None,
        }
    }

    /// Whether this matcher alone selects nothing but series whose label is in the set.
    fn is_within(&self, set: &NamespaceSet) -> bool {
        let Ok(value) = str::from_utf8(&self.value) else {
            return false;
        };
        match self.operator {
            MatchOperator::Equal => set.contains(value),
            // Names of namespaces have no character that is special. A part that is not a member ends this.
            MatchOperator::Regex => value.split('|').all(|name| set.contains(name)),
            MatchOperator::NotEqual | MatchOperator::NotRegex => false,
        }
    }

    /// Whether the empty string, and so a series without the label, passes. `None` for a pattern that is not
    /// understood.
    fn matches_empty(&self) -> Option<bool> {
        match self.operator {
            MatchOperator::Equal => Some(self.value.is_empty()),
            MatchOperator::NotEqual => Some(!self.value.is_empty()),
            MatchOperator::Regex => pattern::matches_empty(&self.value),
            MatchOperator::NotRegex => pattern::matches_empty(&self.value).map(|matches| !matches),
        }
    }
}

/// A vector selector of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector<'t> {
    pub(super) shape: Shape,
    pub(super) metric: Option<Cow<'t, str>>,
    pub(super) matchers: Vec<Matcher<'t>>,
    pub(super) position: usize,
    pub(super) insertion: Insertion,
    /// Whether `=` matchers become labels of the result, and others take such labels away.
    pub(super) copied: bool,
}

/// What stands before the braces, or what they stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The name of a metric, with braces or without.
    Named,
    /// The braces alone.
    Braces,
    /// They are the second argument of `info()`. Each label that a matcher is on is one that the result gets, and
    /// where one of them refuses the empty string, what has no such series is left out.
    InfoLabels,
}

/// Where a matcher is added: after which token, and what it needs around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Insertion {
    pub(super) token: usize,
    pub(super) form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// After a name without braces.
    Bare,
    /// After the opening brace of an empty pair.
    Empty,
    /// After the opening brace, before a matcher.
    First,
    /// After a matcher.
    Matcher,
    /// After a comma that the caller left before the closing brace.
    Comma,
}

impl<'t> Selector<'t> {
    /// The name of the metric, if all series that are selected have the same one: before the braces, alone in braces,
    /// or `__name__="..."`.
    pub fn metric(&self) -> Option<&str> {
        self.metric.as_deref()
    }

    /// The matchers between the braces, in the caller's order.
    pub fn matchers(&self) -> &[Matcher<'t>] {
        &self.matchers
    }

    /// Where the selector starts, as a byte offset into the query's text.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Whether the matchers on `label` name more than `limit` values, counted as they are written. Told without making
    /// what [`Self::named`] makes.
    pub fn names_more_than(&self, limit: usize, label: &str) -> bool {
        let room = |matcher: &Matcher<'_>| matcher.value.len() / 2 + 1;
        if self.on(label).map(room).sum::<usize>() <= limit {
            return false;
        }
        let count = |matcher: &Matcher<'_>| match matcher.operator {
            MatchOperator::Equal => 1,
            MatchOperator::Regex => {
                pattern::alternatives(&matcher.value).map_or(0, |literals| literals.len())
            }
            MatchOperator::NotEqual | MatchOperator::NotRegex => 0,
        };
        self.on(label).map(count).sum::<usize>() > limit
    }

    /// The namespaces that the matchers on `label` name: by `=`, or by `=~` with an alternation of literals. Several
    /// such matchers name what they have in common, or, where that is nothing, all that they name.
    ///
    /// `None` when no namespace is named. A value that cannot be a namespace names none.
    pub fn named(&self, label: &str) -> Option<NamespaceSet> {
        let mut matchers = self.on(label).filter_map(Matcher::namespaces);
        let (first, others) = (matchers.next()?, matchers.collect::<Vec<_>>());
        if others.is_empty() {
            return NamespaceSet::new(first);
        }
        let named = || others.iter().chain([&first]);
        let all = NamespaceSet::new(named().flatten().cloned())?;
        let in_all = |name: &&Namespace| named().all(|names| names.binary_search(name).is_ok());
        let common = all.iter().filter(in_all);
        NamespaceSet::new(common.cloned()).or(Some(all))
    }

    /// Whether the caller's own matchers on `label` leave nothing outside of the set.
    pub(super) fn is_within(&self, label: &str, set: &NamespaceSet) -> bool {
        self.on(label).any(|matcher| matcher.is_within(set))
    }

    /// Whether a further matcher on `label`, one that refuses the empty string, changes what is selected and nothing
    /// else. Among the labels of `info()` it would add that label to the result, and leave out what has no series to
    /// take labels from, unless the caller's own matchers do both already.
    pub(super) fn takes_matcher_on(&self, label: &str) -> bool {
        self.shape != Shape::InfoLabels
            || self
                .on(label)
                .any(|matcher| matcher.matches_empty() == Some(false))
    }

    /// Whether one of the caller's own matchers is this one, letter by letter.
    pub(super) fn has(&self, label: &str, operator: MatchOperator, value: &str) -> bool {
        self.on(label)
            .any(|matcher| matcher.operator == operator && *matcher.value == *value.as_bytes())
    }

    /// Whether Prometheus would refuse the selector because it selects everything. So are the selectors of which this
    /// is not known.
    pub(super) fn selects_everything(&self) -> bool {
        self.matchers
            .iter()
            .all(|matcher| matcher.matches_empty() != Some(false))
    }

    fn on(&self, label: &str) -> impl Iterator<Item = &Matcher<'t>> {
        self.matchers
            .iter()
            .filter(move |matcher| *matcher.label == *label.as_bytes())
    }
}
