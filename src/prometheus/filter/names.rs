//! The metric names that a caller can see, read from the answer of `/api/v1/label/__name__/values` to a
//! request that was restricted to what they may see.

use std::collections::HashSet;

use super::set::{Elements, SetReader};
use super::walk::decoded;
use super::{FilterError, Limits};

/// A set of metric names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricNames(HashSet<Box<str>>);

impl MetricNames {
    /// Whether `name` is in the set.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<&'a str> for MetricNames {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        Self(names.into_iter().map(Box::from).collect())
    }
}

impl From<HashSet<Box<str>>> for MetricNames {
    fn from(names: HashSet<Box<str>>) -> Self {
        Self(names)
    }
}

/// Reads a set of metric names from an answer that arrives in chunks.
pub type MetricNamesReader = SetReader<Names>;

impl MetricNamesReader {
    /// Reads a set that takes at most about `max_bytes` of memory.
    pub fn new(max_bytes: usize, limits: Limits) -> Self {
        Self::of(Names, max_bytes, limits)
    }
}

/// A list of texts.
#[derive(Debug)]
pub struct Names;

impl Elements for Names {
    type Member = Box<str>;
    type Set = MetricNames;
    const SHAPE: &'static str = "data is a list of names";

    fn read(&self, element: &[u8]) -> Result<Option<(Box<str>, usize)>, FilterError> {
        let name = decoded(element)?;
        let bytes = name.len();
        Ok(Some((name.into_boxed_str(), bytes)))
    }
}
