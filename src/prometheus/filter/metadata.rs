//! The answer of `/api/v1/metadata`: types, help texts and units by metric family.
//!
//! It does not say which target said what, and two targets may say different things of one family. So the families are
//! those of the series that the caller can see (see [`MetricNamesReader`](super::MetricNamesReader)), and texts pass
//! only if a target of the caller's own says the same (see [`OwnTextsReader`](super::OwnTextsReader)). Of another
//! entry the type is left, which is one of a closed set.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::envelope::Envelope;
use super::family::{BLANK, Entry, Kind};
use super::names::MetricNames;
use super::scanner::Container;
use super::texts::OwnTexts;
use super::walk::{Plan, Treatment, Walk};
use super::{Filter, FilterError, Limits, shape};

/// Keeps the metadata of the metrics that the caller can see.
#[derive(Debug)]
pub struct MetadataFilter(Walk<Envelope<Metadata>>);

impl MetadataFilter {
    /// Keeps the families of the series in `names`, and of their texts those in `texts`.
    pub fn new(names: Arc<MetricNames>, texts: OwnTexts, limits: Limits) -> Self {
        let metadata = Metadata {
            names,
            texts,
            most_families: None,
            most_entries: None,
            family: String::new(),
            key: Vec::new(),
            inside: false,
            first: true,
        };
        Self(Walk::new(Envelope::new(metadata), limits))
    }

    /// Keeps at most so many families, and entries of each, as Prometheus does for `limit` and `limit_per_metric`.
    /// Prometheus itself must not be given the limits: it would spend them on what the caller does not get.
    #[must_use]
    pub fn with_limits(mut self, families: Option<usize>, entries: Option<usize>) -> Self {
        let metadata = self.0.plan().data();
        (metadata.most_families, metadata.most_entries) = (families, entries);
        self
    }
}

impl Filter for MetadataFilter {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.push(chunk, out)
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.finish()
    }
}

#[derive(Debug)]
struct Metadata {
    names: Arc<MetricNames>,
    texts: OwnTexts,
    /// How many families may still be kept; `None` means all.
    most_families: Option<usize>,
    /// How many entries of each may be kept; `None` means all.
    most_entries: Option<usize>,
    /// The family that is being read, and its key as it is spelled.
    family: String,
    key: Vec<u8>,
    /// Whether the object of families is being read.
    inside: bool,
    first: bool,
}

const SHAPE: &str = "data is an object of metric names, each with a list of types and texts";

impl Metadata {
    /// The entries that the caller may read of a family, joined by commas.
    fn entries(&self, list: &[u8]) -> Result<String, FilterError> {
        // Prometheus writes null for no entry.
        let Ok(entries) = serde_json::from_slice::<Option<Vec<&RawValue>>>(list) else {
            return shape(SHAPE);
        };
        let mut kept = Vec::new();
        for entry in entries.unwrap_or_default() {
            let entry = Entry::parse(entry.get())?;
            let kind = Kind::of(&entry.kind);
            if !kind.has_series(&self.family, &self.names) {
                continue;
            }
            let own = self.texts.contains(&self.family, &entry)?;
            let entry = (kind, own.then_some((entry.help(), entry.unit())));
            if !kept.contains(&entry) {
                kept.push(entry);
            }
        }
        // Without its text an entry says nothing beside one of the same type that has it.
        let told: Vec<Kind> = kept
            .iter()
            .filter(|(_, text)| text.is_some())
            .map(|(kind, _)| *kind)
            .collect();
        kept.retain(|(kind, text)| text.is_some() || !told.contains(kind));
        kept.truncate(self.most_entries.unwrap_or(usize::MAX));
        let written = kept.into_iter().map(|(kind, text)| {
            let (help, unit) = text.unwrap_or((BLANK, BLANK));
            format!(
                r#"{{"type":"{}","help":{help},"unit":{unit}}}"#,
                kind.name()
            )
        });
        Ok(written.collect::<Vec<_>>().join(","))
    }
}

impl Plan for Metadata {
    fn open(&mut self, container: Container, out: &mut Vec<u8>) -> Result<(), FilterError> {
        match (self.inside, container) {
            (false, Container::Object) => {
                out.push(b'{');
                self.inside = true;
                Ok(())
            }
            _ => shape(SHAPE),
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        out.push(b'}');
        self.inside = false;
        Ok(())
    }

    fn member(
        &mut self,
        name: &str,
        key: &[u8],
        _: &mut Vec<u8>,
    ) -> Result<Treatment, FilterError> {
        if self.most_families == Some(0) || !self.names.has_family(name) {
            return Ok(Treatment::Drop);
        }
        self.family.clear();
        self.family.push_str(name);
        self.key.clear();
        self.key.extend_from_slice(key);
        Ok(Treatment::Hold)
    }

    fn element(&mut self) -> Treatment {
        Treatment::Drop
    }

    fn held(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        if !self.inside {
            return shape(SHAPE);
        }
        let entries = self.entries(value)?;
        if entries.is_empty() {
            return Ok(());
        }
        self.most_families = self.most_families.map(|families| families - 1);
        if !std::mem::replace(&mut self.first, false) {
            out.push(b',');
        }
        out.extend_from_slice(&self.key);
        out.extend_from_slice(b":[");
        out.extend_from_slice(entries.as_bytes());
        out.push(b']');
        Ok(())
    }
}
