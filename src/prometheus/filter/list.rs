//! The answers whose data is one list, of elements that are the caller's or another's: `/api/v1/alerts`,
//! `/api/v1/targets` and `/api/v1/alertmanagers`.
//!
//! A target belongs to the namespace that its label names, and where Kubernetes was asked for it, to the namespace that
//! it was found in: both must be the caller's. Targets that were dropped have no label yet, and nothing of them is
//! shown. An Alertmanager is the cluster's.

use super::envelope::Envelope;
use super::labels::Ownership;
use super::scanner::Container;
use super::walk::{Plan, Treatment, Walk};
use super::{Filter, FilterError, Limits, shape};
use crate::namespace::NamespaceSet;

/// Which list an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Alerts,
    /// Targets that are scraped.
    Targets,
    /// Alertmanagers that alerts are sent to.
    Alertmanagers,
}

/// Keeps the elements of a list that belong to some namespaces, each byte for byte.
#[derive(Debug)]
pub struct ListFilter(Walk<Envelope<OwnList>>);

impl ListFilter {
    /// Keeps what has one of `namespaces` in `label`.
    pub fn new(list: List, namespaces: NamespaceSet, label: &str, limits: Limits) -> Self {
        let label = label.into();
        let plan = OwnList {
            shape: list.shape(),
            ownership: Ownership { label, namespaces },
            place: Place::Outside,
            has_list: false,
            first: true,
        };
        Self(Walk::new(Envelope::new(plan), limits))
    }

    /// How much memory is held, in bytes.
    #[cfg(test)]
    pub(super) fn held_capacity(&self) -> usize {
        self.0.gathered_capacity()
    }
}

impl Filter for ListFilter {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.push(chunk, out)
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.finish()
    }
}

/// The properties of the list in an answer.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// The member of data that is the list.
    list: &'static str,
    /// Whether an element is the caller's.
    owns: fn(&Ownership, &[u8]) -> Result<bool, FilterError>,
    /// What data has besides the list, as the end of an object.
    rest: &'static str,
    /// What is expected, as a sentence.
    expected: &'static str,
}

impl List {
    fn shape(self) -> Shape {
        match self {
            Self::Alerts => Shape {
                list: "alerts",
                owns: |ownership, alert| Ok(ownership.alert(alert)?.is_some()),
                rest: "}",
                expected: "data has one list of alerts",
            },
            Self::Targets => Shape {
                list: "activeTargets",
                owns: Ownership::target,
                rest: r#","droppedTargets":[],"droppedTargetCounts":{}}"#,
                expected: "data has one list of active targets",
            },
            Self::Alertmanagers => Shape {
                list: "activeAlertmanagers",
                owns: |_, _| Ok(false),
                rest: r#","droppedAlertmanagers":[]}"#,
                expected: "data has one list of active Alertmanagers",
            },
        }
    }
}

#[derive(Debug)]
struct OwnList {
    shape: Shape,
    ownership: Ownership,
    place: Place,
    has_list: bool,
    first: bool,
}

impl OwnList {
    fn write_key(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.shape.list.as_bytes());
        out.extend_from_slice(b"\":");
    }
}

/// The innermost container that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    Data,
    List,
}

impl Plan for OwnList {
    fn open(&mut self, container: Container, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.place = match (self.place, container) {
            (Place::Outside, Container::Object) => {
                out.push(b'{');
                Place::Data
            }
            (Place::Data, Container::Array) => {
                self.write_key(out);
                out.push(b'[');
                Place::List
            }
            _ => return shape(self.shape.expected),
        };
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        if self.place == Place::List {
            out.push(b']');
            self.place = Place::Data;
            return Ok(());
        }
        if !self.has_list {
            return shape(self.shape.expected);
        }
        out.extend_from_slice(self.shape.rest.as_bytes());
        self.place = Place::Outside;
        Ok(())
    }

    fn member(&mut self, name: &str, _: &[u8], _: &mut Vec<u8>) -> Result<Treatment, FilterError> {
        if name != self.shape.list {
            return Ok(Treatment::Drop);
        }
        if std::mem::replace(&mut self.has_list, true) {
            return shape(self.shape.expected);
        }
        Ok(Treatment::Descend)
    }

    fn element(&mut self) -> Treatment {
        Treatment::Hold
    }

    fn held(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        match self.place {
            Place::List => {
                if (self.shape.owns)(&self.ownership, value)? {
                    if !std::mem::replace(&mut self.first, false) {
                        out.push(b',');
                    }
                    out.extend_from_slice(value);
                }
                Ok(())
            }
            Place::Data if value == b"null" => {
                self.write_key(out);
                out.extend_from_slice(b"null");
                Ok(())
            }
            Place::Data | Place::Outside => shape(self.shape.expected),
        }
    }
}
