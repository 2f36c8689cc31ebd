//! The metric names that a caller can see, read from the answer of `/api/v1/label/__name__/values` to a
//! request that was restricted to what they may see.

use std::collections::HashSet;

use super::envelope::Envelope;
use super::scanner::Container;
use super::walk::{Plan, Treatment, Walk, decoded};
use super::{FilterError, Limits, shape};

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

/// Reads a set of metric names from an answer that arrives in chunks.
#[derive(Debug)]
pub struct MetricNamesReader {
    walk: Walk<Envelope<Names>>,
    /// What the walk writes, which nobody reads.
    ignored: Vec<u8>,
}

/// What a name takes in the set beside its text: a pointer, a length, and its share of the table.
const NAME_OVERHEAD_BYTES: usize = 40;

impl MetricNamesReader {
    /// Reads a set that takes at most about `max_bytes` of memory.
    pub fn new(max_bytes: usize, limits: Limits) -> Self {
        let names = Names {
            names: MetricNames::default(),
            bytes: 0,
            max_bytes,
            inside: false,
        };
        Self {
            walk: Walk::new(Envelope::new(names), limits),
            ignored: Vec::new(),
        }
    }

    /// Takes the next chunk of the answer.
    ///
    /// # Errors
    ///
    /// As [`Filter::push`](super::Filter::push); [`FilterError::TooLarge`] also for a set past its bound.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), FilterError> {
        self.ignored.clear();
        self.walk.push(chunk, &mut self.ignored)
    }

    /// The names, once the answer has ended.
    ///
    /// # Errors
    ///
    /// As [`Filter::finish`](super::Filter::finish).
    pub fn finish(mut self) -> Result<MetricNames, FilterError> {
        self.walk.finish()?;
        Ok(std::mem::take(&mut self.walk.plan().data().names))
    }
}

#[derive(Debug)]
struct Names {
    names: MetricNames,
    bytes: usize,
    max_bytes: usize,
    /// Whether the list of names is being read.
    inside: bool,
}

impl Plan for Names {
    fn open(&mut self, container: Container, _: &mut Vec<u8>) -> Result<(), FilterError> {
        if container != Container::Array {
            return shape("data is a list of names");
        }
        self.inside = true;
        Ok(())
    }

    fn close(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        self.inside = false;
        Ok(())
    }

    fn member(&mut self, _: &str, _: &[u8], _: &mut Vec<u8>) -> Result<Treatment, FilterError> {
        shape("data is a list of names")
    }

    fn element(&mut self) -> Treatment {
        Treatment::Hold
    }

    fn held(&mut self, value: &[u8], _: &mut Vec<u8>) -> Result<(), FilterError> {
        if !self.inside {
            return shape("data is a list of names");
        }
        let name = decoded(value)?;
        let bytes = name.len() + NAME_OVERHEAD_BYTES;
        if self.names.0.insert(name.into_boxed_str()) {
            self.bytes += bytes;
        }
        if self.bytes > self.max_bytes {
            let limit = self.max_bytes;
            return Err(FilterError::TooLarge { limit });
        }
        Ok(())
    }
}
