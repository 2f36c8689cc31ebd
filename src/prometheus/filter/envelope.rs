//! The outermost object of every answer: `{"status":"success","data":...}`.
//!
//! `warnings` and `infos` are kept, since without them a partial answer would look complete. Other
//! members besides `data` are dropped: nobody knows whose data they tell.

use super::scanner::Container;
use super::walk::{Plan, Treatment, decoded};
use super::{FilterError, shape};

/// Unwraps the data, which the inner plan gets as its outermost value.
#[derive(Debug)]
pub(super) struct Envelope<P> {
    data: P,
    /// How many containers that are looked into are open.
    depth: u32,
    place: Place,
    /// Whether a member has been written.
    begun: bool,
    has_status: bool,
    has_data: bool,
}

/// Which member of the envelope is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Status,
    Data,
    Other,
}

impl<P: Plan> Envelope<P> {
    pub(super) fn new(data: P) -> Self {
        Self {
            data,
            depth: 0,
            place: Place::Other,
            begun: false,
            has_status: false,
            has_data: false,
        }
    }

    pub(super) fn data(&mut self) -> &mut P {
        &mut self.data
    }

    fn write_key(&mut self, key: &[u8], out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            out.push(b',');
        }
        out.extend_from_slice(key);
        out.push(b':');
    }
}

impl<P: Plan> Plan for Envelope<P> {
    fn open(&mut self, container: Container, out: &mut Vec<u8>) -> Result<(), FilterError> {
        match (self.depth, container) {
            (0, Container::Object) => out.push(b'{'),
            (0, Container::Array) => return shape("the answer is an object"),
            _ => self.data.open(container, out)?,
        }
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.depth -= 1;
        if self.depth > 0 {
            return self.data.close(out);
        }
        if !(self.has_status && self.has_data) {
            return shape("the answer has a status and data");
        }
        out.push(b'}');
        Ok(())
    }

    fn member(
        &mut self,
        name: &str,
        key: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Treatment, FilterError> {
        if self.depth > 1 {
            return self.data.member(name, key, out);
        }
        let (place, treatment) = match name {
            "status" => (Place::Status, Treatment::Hold),
            "data" => (Place::Data, Treatment::Descend),
            "warnings" | "infos" => (Place::Other, Treatment::Copy),
            _ => return Ok(Treatment::Drop),
        };
        let repeated = match place {
            Place::Status => std::mem::replace(&mut self.has_status, true),
            Place::Data => std::mem::replace(&mut self.has_data, true),
            Place::Other => false,
        };
        if repeated {
            return shape("the answer has one status and one data");
        }
        self.place = place;
        self.write_key(key, out);
        Ok(treatment)
    }

    fn element(&mut self) -> Treatment {
        self.data.element()
    }

    fn held(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        if self.depth > 1 || self.depth == 1 && self.place == Place::Data {
            return self.data.held(value, out);
        }
        if self.depth == 0 {
            return shape("the answer is an object");
        }
        if decoded(value)? != "success" {
            return shape("the status is success");
        }
        out.extend_from_slice(value);
        Ok(())
    }
}
