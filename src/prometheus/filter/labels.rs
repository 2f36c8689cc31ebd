//! Which namespace an alert, a rule or a target belongs to: reads the namespace label of label sets and alerts.
//!
//! Their labels are the cluster's configuration. Nothing here may be used for the
//! results of a query, whose labels the caller can make up (`label_replace`).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{FilterError, shape};
use crate::namespace::NamespaceSet;

/// What the caller may see: the label that holds the namespace, and the values that are the caller's.
#[derive(Clone, Debug)]
pub(super) struct Ownership {
    pub(super) label: Box<str>,
    pub(super) namespaces: NamespaceSet,
}

/// How far an alert has come; a rule is as far as its furthest alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AlertState {
    Inactive,
    Pending,
    Firing,
}

/// Whose a rule is by its own labels, which every alert of it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RuleOwner {
    Caller,
    Another,
    /// The rule names no namespace: each alert has its own.
    EachAlert,
}

impl Ownership {
    /// The state of an alert of the caller's; `None` for an alert of another's or of nobody's.
    pub(super) fn alert(&self, alert: &[u8]) -> Result<Option<AlertState>, FilterError> {
        const SHAPE: FilterError = FilterError::Shape {
            expected: "an alert is an object with labels and a state",
        };
        // A derived struct would be read from an array too.
        if alert.first() != Some(&b'{') {
            return Err(SHAPE);
        }
        let alert: Alert<'_> = serde_json::from_slice(alert).map_err(|_| SHAPE)?;
        let owned = self.owns(alert.labels.get().as_bytes())?;
        Ok(owned.then_some(match &*alert.state {
            "firing" => AlertState::Firing,
            "pending" => AlertState::Pending,
            _ => AlertState::Inactive,
        }))
    }

    /// Whether a target is the caller's, by its label and by where it was found.
    pub(super) fn target(&self, target: &[u8]) -> Result<bool, FilterError> {
        const SHAPE: FilterError = FilterError::Shape {
            expected: "a target is an object with labels",
        };
        if target.first() != Some(&b'{') {
            return Err(SHAPE);
        }
        let target: Target<'_> = serde_json::from_slice(target).map_err(|_| SHAPE)?;
        let found = match target.discovered_labels {
            Some(labels) => value(FOUND_IN, labels.get().as_bytes())?,
            None => None,
        };
        let is_found_here = found.is_none_or(|namespace| self.namespaces.contains(&namespace));
        Ok(is_found_here && self.owns(target.labels.get().as_bytes())?)
    }

    /// Whether what has these labels is the caller's.
    pub(super) fn owns(&self, labels: &[u8]) -> Result<bool, FilterError> {
        let value = self.value(labels)?;
        Ok(value.is_some_and(|value| self.namespaces.contains(&value)))
    }

    /// Whose a rule with these labels is.
    pub(super) fn rule(&self, labels: &[u8]) -> Result<RuleOwner, FilterError> {
        Ok(match self.value(labels)?.as_deref() {
            Some(value) if self.namespaces.contains(value) => RuleOwner::Caller,
            // An empty value takes the label away; a template is filled in for each alert.
            None | Some("") => RuleOwner::EachAlert,
            Some(value) if value.contains("{{") => RuleOwner::EachAlert,
            Some(_) => RuleOwner::Another,
        })
    }

    fn value(&self, labels: &[u8]) -> Result<Option<String>, FilterError> {
        value(&self.label, labels)
    }
}

/// The value of a label.
fn value(label: &str, labels: &[u8]) -> Result<Option<String>, FilterError> {
    let mut reader = serde_json::Deserializer::from_slice(labels);
    match LabelValue(label).deserialize(&mut reader) {
        Ok(value) => Ok(value),
        Err(_) => shape("labels are an object of strings that has each name once"),
    }
}

impl AlertState {
    /// As JSON.
    pub(super) fn text(self) -> &'static [u8] {
        match self {
            Self::Inactive => br#""inactive""#,
            Self::Pending => br#""pending""#,
            Self::Firing => br#""firing""#,
        }
    }
}

/// The namespace of what Kubernetes was asked for, before any relabelling.
const FOUND_IN: &str = "__meta_kubernetes_namespace";

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    labels: &'a RawValue,
    #[serde(borrow, rename = "discoveredLabels")]
    discovered_labels: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Alert<'a> {
    #[serde(borrow)]
    labels: &'a RawValue,
    #[serde(borrow)]
    state: Cow<'a, str>,
}

/// Reads the value of one label from an object of labels.
struct LabelValue<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for LabelValue<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LabelValue<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut labels: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(wanted) = labels.next_key_seed(IsName(self.0))? {
            if !wanted {
                labels.next_value::<IgnoredAny>()?;
            } else if found.replace(labels.next_value::<String>()?).is_some() {
                return Err(A::Error::custom("the label is there twice"));
            }
        }
        Ok(found)
    }
}

/// Compares a key without allocating it.
struct IsName<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a label's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
