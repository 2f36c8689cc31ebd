//! A set that is read from an answer whose data is one list, and that is all that is kept of it.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

use super::envelope::Envelope;
use super::scanner::Container;
use super::walk::{Plan, Treatment, Walk};
use super::{FilterError, Limits, shape};

/// What a member takes besides its text: a pointer, a length, and its share of the table.
const OVERHEAD_BYTES: usize = 40;

/// What is taken from each element of the list.
pub trait Elements: fmt::Debug {
    type Member: Eq + Hash + fmt::Debug;
    type Set: From<HashSet<Self::Member>>;
    /// What the data is, for whoever reads that it is something else.
    const SHAPE: &'static str;

    /// What an element adds to the set, and the length of its text; `None` where it adds nothing.
    ///
    /// # Errors
    ///
    /// [`FilterError::Shape`] where it is no such element.
    fn read(&self, element: &[u8]) -> Result<Option<(Self::Member, usize)>, FilterError>;
}

/// Reads a set from an answer that arrives in chunks.
#[derive(Debug)]
pub struct SetReader<E: Elements> {
    walk: Walk<Envelope<List<E>>>,
    /// What the walk writes, which nobody reads.
    ignored: Vec<u8>,
}

#[derive(Debug)]
struct List<E: Elements> {
    elements: E,
    members: HashSet<E::Member>,
    bytes: usize,
    max_bytes: usize,
    /// Whether the list is being read.
    inside: bool,
}

impl<E: Elements> SetReader<E> {
    /// Reads a set that takes at most about `max_bytes` of memory.
    pub(super) fn of(elements: E, max_bytes: usize, limits: Limits) -> Self {
        let list = List {
            elements,
            members: HashSet::new(),
            bytes: 0,
            max_bytes,
            inside: false,
        };
        Self {
            walk: Walk::new(Envelope::new(list), limits),
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

    /// The set, once the answer has ended.
    ///
    /// # Errors
    ///
    /// As [`Filter::finish`](super::Filter::finish).
    pub fn finish(mut self) -> Result<E::Set, FilterError> {
        self.walk.finish()?;
        Ok(std::mem::take(&mut self.walk.plan().data().members).into())
    }
}

impl<E: Elements> Plan for List<E> {
    fn open(&mut self, container: Container, _: &mut Vec<u8>) -> Result<(), FilterError> {
        if self.inside || container != Container::Array {
            return shape(E::SHAPE);
        }
        self.inside = true;
        Ok(())
    }

    fn close(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        self.inside = false;
        Ok(())
    }

    fn member(&mut self, _: &str, _: &[u8], _: &mut Vec<u8>) -> Result<Treatment, FilterError> {
        shape(E::SHAPE)
    }

    fn element(&mut self) -> Treatment {
        Treatment::Hold
    }

    fn held(&mut self, value: &[u8], _: &mut Vec<u8>) -> Result<(), FilterError> {
        if !self.inside {
            return shape(E::SHAPE);
        }
        let Some((member, bytes)) = self.elements.read(value)? else {
            return Ok(());
        };
        if self.members.insert(member) {
            self.bytes += bytes + OVERHEAD_BYTES;
        }
        if self.bytes > self.max_bytes {
            let limit = self.max_bytes;
            return Err(FilterError::TooLarge { limit });
        }
        Ok(())
    }
}
