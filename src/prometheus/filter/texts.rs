//! What targets of the caller's own say of their metrics, read from the answer of `/api/v1/targets/metadata`.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::family::Entry;
use super::labels::Ownership;
use super::scanner::Container;
use super::walk::{Plan, Treatment, Walk};
use super::{FilterError, Limits, shape};
use crate::namespace::NamespaceSet;

/// Types, help texts and units that are the caller's own.
#[derive(Debug, Default)]
pub struct OwnTexts(HashSet<Box<[u8]>>);

impl OwnTexts {
    /// Whether a target of the caller's own says just this of `family`.
    pub(super) fn contains(&self, family: &str, entry: &Entry<'_>) -> Result<bool, FilterError> {
        Ok(self.0.contains(&entry.text(family)?))
    }
}

/// Reads them from an answer that arrives in chunks. Whose a target is its own label says; that just these targets were
/// asked for is not relied upon.
#[derive(Debug)]
pub struct OwnTextsReader {
    walk: Walk<Envelope<Texts>>,
    /// What the walk writes, which nobody reads.
    ignored: Vec<u8>,
}

/// What a text takes in the set beside itself: a pointer, a length, and its share of the table.
const TEXT_OVERHEAD_BYTES: usize = 40;

impl OwnTextsReader {
    /// Takes what targets say that have one of `namespaces` in `label`, about at most `max_bytes` of it. The answer to a
    /// question for one `metric` does not repeat its name.
    pub fn new(
        namespaces: NamespaceSet,
        label: &str,
        metric: Option<&str>,
        max_bytes: usize,
        limits: Limits,
    ) -> Self {
        let texts = Texts {
            ownership: Ownership {
                label: label.into(),
                namespaces,
            },
            metric: metric.map(Box::from),
            texts: OwnTexts::default(),
            bytes: 0,
            max_bytes,
            inside: false,
        };
        Self {
            walk: Walk::new(Envelope::new(texts), limits),
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

    /// The texts, once the answer has ended.
    ///
    /// # Errors
    ///
    /// As [`Filter::finish`](super::Filter::finish).
    pub fn finish(mut self) -> Result<OwnTexts, FilterError> {
        self.walk.finish()?;
        Ok(std::mem::take(&mut self.walk.plan().data().texts))
    }
}

#[derive(Debug)]
struct Texts {
    ownership: Ownership,
    metric: Option<Box<str>>,
    texts: OwnTexts,
    bytes: usize,
    max_bytes: usize,
    /// Whether the list is being read.
    inside: bool,
}

/// What is looked at beside the [`Entry`].
#[derive(Deserialize)]
struct OfTarget<'a> {
    #[serde(borrow)]
    target: &'a RawValue,
    metric: Option<String>,
}

const SHAPE: &str = "data is a list of what targets say of metrics";

impl Plan for Texts {
    fn open(&mut self, container: Container, _: &mut Vec<u8>) -> Result<(), FilterError> {
        if self.inside || container != Container::Array {
            return shape(SHAPE);
        }
        self.inside = true;
        Ok(())
    }

    fn close(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        self.inside = false;
        Ok(())
    }

    fn member(&mut self, _: &str, _: &[u8], _: &mut Vec<u8>) -> Result<Treatment, FilterError> {
        shape(SHAPE)
    }

    fn element(&mut self) -> Treatment {
        Treatment::Hold
    }

    fn held(&mut self, value: &[u8], _: &mut Vec<u8>) -> Result<(), FilterError> {
        let Some(text) = std::str::from_utf8(value).ok().filter(|_| self.inside) else {
            return shape(SHAPE);
        };
        let entry = Entry::parse(text)?;
        let Ok(OfTarget { target, metric }) = serde_json::from_str(text) else {
            return shape(SHAPE);
        };
        if !self.ownership.owns(target.get().as_bytes())? {
            return Ok(());
        }
        let Some(family) = metric.as_deref().or(self.metric.as_deref()) else {
            return shape(SHAPE);
        };
        let text = entry.text(family)?;
        let bytes = text.len() + TEXT_OVERHEAD_BYTES;
        if self.texts.0.insert(text) {
            self.bytes += bytes;
        }
        if self.bytes > self.max_bytes {
            let limit = self.max_bytes;
            return Err(FilterError::TooLarge { limit });
        }
        Ok(())
    }
}
