//! The metadata of the caller's own targets, read from the answer of `/api/v1/targets/metadata`.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::family::Entry;
use super::labels::Ownership;
use super::set::{Elements, SetReader};
use super::{FilterError, Limits, shape};
use crate::namespace::NamespaceSet;

/// Types, help texts and units that are the caller's own.
#[derive(Debug, Default)]
pub struct OwnTexts(HashSet<Box<[u8]>>);

impl OwnTexts {
    /// Whether a target of the caller's own has exactly this entry for `family`.
    pub(super) fn contains(&self, family: &str, entry: &Entry<'_>) -> Result<bool, FilterError> {
        Ok(self.0.contains(&entry.text(family)?))
    }
}

impl From<HashSet<Box<[u8]>>> for OwnTexts {
    fn from(texts: HashSet<Box<[u8]>>) -> Self {
        Self(texts)
    }
}

/// Reads them from an answer that arrives in chunks. A target's own label says whose it is; that only the caller's
/// targets were asked for is not relied upon.
pub type OwnTextsReader = SetReader<Texts>;

impl OwnTextsReader {
    /// Keeps the metadata of targets that have one of `namespaces` in `label`, about `max_bytes` at most. The answer to
    /// a request for one `metric` does not repeat its name.
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
        };
        Self::of(texts, max_bytes, limits)
    }
}

/// What targets say, each of a metric.
#[derive(Debug)]
pub struct Texts {
    ownership: Ownership,
    metric: Option<Box<str>>,
}

/// What is read besides the [`Entry`].
#[derive(Deserialize)]
struct OfTarget<'a> {
    #[serde(borrow)]
    target: &'a RawValue,
    metric: Option<String>,
}

impl Elements for Texts {
    type Member = Box<[u8]>;
    type Set = OwnTexts;
    const SHAPE: &'static str = "data is a list of what targets say of metrics";

    fn read(&self, element: &[u8]) -> Result<Option<(Box<[u8]>, usize)>, FilterError> {
        let Ok(text) = std::str::from_utf8(element) else {
            return shape(Self::SHAPE);
        };
        let entry = Entry::parse(text)?;
        let Ok(OfTarget { target, metric }) = serde_json::from_str(text) else {
            return shape(Self::SHAPE);
        };
        if !self.ownership.owns(target.get().as_bytes())? {
            return Ok(None);
        }
        let Some(family) = metric.as_deref().or(self.metric.as_deref()) else {
            return shape(Self::SHAPE);
        };
        let text = entry.text(family)?;
        let bytes = text.len();
        Ok(Some((text, bytes)))
    }
}
