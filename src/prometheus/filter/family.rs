//! Metric families: the names of their series, and the metadata that a target has for one.
//!
//! A family's name differs from those of its series: the histogram `a` has `a_bucket`, `a_count` and `a_sum`, and
//! OpenMetrics' counter `b` is stored as `b_total`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::MetricNames;
use super::walk::decoded;
use super::{FilterError, shape};

/// The types of metric families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    Unknown,
}

impl Kind {
    /// The type of that name; whatever is not known is of the unknown type.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            _ => Self::Unknown,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// The suffixes that the names of its series have. All but the first are in [`SUFFIXES`].
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[""],
            // A native histogram is one series with the family's name.
            Self::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
            Self::GaugeHistogram => &["", "_bucket", "_gcount", "_gsum"],
            Self::Summary => &["", "_count", "_sum", "_created"],
            Self::Info => &["", "_info"],
        }
    }

    /// Whether a series of a family of this type is among `names`.
    pub(super) fn has_series(self, family: &str, names: &MetricNames) -> bool {
        self.suffixes()
            .iter()
            .any(|suffix| names.has(family, suffix))
    }
}

/// All suffixes that the name of a series may have.
const SUFFIXES: [&str; 9] = [
    "", "_bucket", "_count", "_sum", "_total", "_created", "_info", "_gcount", "_gsum",
];

impl MetricNames {
    /// Whether a series of a family of some type is in the set.
    pub(super) fn has_family(&self, family: &str) -> bool {
        SUFFIXES.iter().any(|suffix| self.has(family, suffix))
    }

    fn has(&self, family: &str, suffix: &str) -> bool {
        if suffix.is_empty() {
            self.contains(family)
        } else {
            self.contains(&[family, suffix].concat())
        }
    }
}

/// An empty text, as JSON.
pub(super) const BLANK: &str = r#""""#;

/// The metadata that a target has for a family. Other members are not read: nothing is known of what they tell.
#[derive(Debug, Deserialize)]
pub(super) struct Entry<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    help: Option<&'a RawValue>,
    #[serde(borrow, default)]
    unit: Option<&'a RawValue>,
}

impl<'a> Entry<'a> {
    pub(super) fn parse(entry: &'a str) -> Result<Self, FilterError> {
        // A derived struct would be read from an array too.
        let parsed = entry.starts_with('{').then(|| serde_json::from_str(entry));
        match parsed {
            Some(Ok(entry)) => Ok(entry),
            _ => shape("what is said of a metric is an object with its type"),
        }
    }

    /// As JSON.
    pub(super) fn help(&self) -> &'a str {
        self.help.map_or(BLANK, RawValue::get)
    }

    /// As JSON.
    pub(super) fn unit(&self) -> &'a str {
        self.unit.map_or(BLANK, RawValue::get)
    }

    /// The entry for `family` as one text, different for every other family or entry.
    pub(super) fn text(&self, family: &str) -> Result<Box<[u8]>, FilterError> {
        let (help, unit) = (
            decoded(self.help().as_bytes())?,
            decoded(self.unit().as_bytes())?,
        );
        // No byte of UTF-8.
        const END: &[u8] = &[0xff];
        let parts = [
            family.as_bytes(),
            self.kind.as_bytes(),
            help.as_bytes(),
            unit.as_bytes(),
        ];
        Ok(parts.join(END).into())
    }
}
