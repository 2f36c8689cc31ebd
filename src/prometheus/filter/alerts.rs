//! The answer of `/api/v1/alerts`.

use super::envelope::Envelope;
use super::labels::Ownership;
use super::scanner::Container;
use super::walk::{Plan, Treatment, Walk};
use super::{Filter, FilterError, Limits, shape};
use crate::namespace::NamespaceSet;

/// Keeps the alerts of some namespaces in an answer of `/api/v1/alerts`, each byte for byte.
#[derive(Debug)]
pub struct AlertsFilter(Walk<Envelope<Alerts>>);

impl AlertsFilter {
    /// Keeps the alerts that have one of `namespaces` in `label`.
    pub fn new(namespaces: NamespaceSet, label: &str, limits: Limits) -> Self {
        let label = label.into();
        let alerts = Alerts {
            ownership: Ownership { label, namespaces },
            place: Place::Outside,
            has_alerts: false,
            first: true,
        };
        Self(Walk::new(Envelope::new(alerts), limits))
    }

    /// How much memory is held, in bytes.
    #[cfg(test)]
    pub(super) fn held_capacity(&self) -> usize {
        self.0.gathered_capacity()
    }
}

impl Filter for AlertsFilter {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.push(chunk, out)
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.finish()
    }
}

#[derive(Debug)]
struct Alerts {
    ownership: Ownership,
    place: Place,
    has_alerts: bool,
    first: bool,
}

/// The innermost container that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Outside,
    Data,
    Alerts,
}

const SHAPE: &str = "data has one list of alerts";

impl Plan for Alerts {
    fn open(&mut self, container: Container, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.place = match (self.place, container) {
            (Place::Outside, Container::Object) => {
                out.push(b'{');
                Place::Data
            }
            (Place::Data, Container::Array) => {
                out.extend_from_slice(br#""alerts":["#);
                Place::Alerts
            }
            _ => return shape(SHAPE),
        };
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        if self.place == Place::Alerts {
            out.push(b']');
            self.place = Place::Data;
            return Ok(());
        }
        if !self.has_alerts {
            return shape(SHAPE);
        }
        out.push(b'}');
        self.place = Place::Outside;
        Ok(())
    }

    fn member(&mut self, name: &str, _: &[u8], _: &mut Vec<u8>) -> Result<Treatment, FilterError> {
        if name != "alerts" {
            return Ok(Treatment::Drop);
        }
        if std::mem::replace(&mut self.has_alerts, true) {
            return shape(SHAPE);
        }
        Ok(Treatment::Descend)
    }

    fn element(&mut self) -> Treatment {
        Treatment::Hold
    }

    fn held(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        match self.place {
            Place::Alerts => {
                if self.ownership.alert(value)?.is_some() {
                    if !std::mem::replace(&mut self.first, false) {
                        out.push(b',');
                    }
                    out.extend_from_slice(value);
                }
                Ok(())
            }
            Place::Data if value == b"null" => {
                out.extend_from_slice(br#""alerts":null"#);
                Ok(())
            }
            Place::Data | Place::Outside => shape(SHAPE),
        }
    }
}
