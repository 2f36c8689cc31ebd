//! Follows the pieces of an answer through the containers that a filter looks into, and does with each value
//! what the filter's [`Plan`] says. Blanks, colons and commas at these levels are not copied; the plan writes
//! its own.

use super::scanner::{Container, Part, Piece, Scanner};
use super::{FilterError, Limits};

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Look into it. What turns out not to be a container is held.
    Descend,
    /// Write it as it is.
    Copy,
    /// Gather it and give it to [`Plan::held`].
    Hold,
    Drop,
}

/// A filter's knowledge of the shape of its answer. The calls follow the order of the document.
pub(super) trait Plan {
    /// A value that is looked into begins.
    fn open(&mut self, container: Container, out: &mut Vec<u8>) -> Result<(), FilterError>;

    /// The innermost container that is looked into ends.
    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError>;

    /// An object that is looked into has a member `name`, which the document spells `key`, quotes included.
    fn member(
        &mut self,
        name: &str,
        key: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Treatment, FilterError>;

    /// What becomes of the next element, if there is one, of an array that is looked into.
    fn element(&mut self) -> Treatment;

    /// The text of a whole value that was to be held. It is valid JSON.
    fn held(&mut self, value: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError>;
}

/// Runs a plan over an answer.
#[derive(Debug)]
pub(super) struct Walk<P> {
    scanner: Scanner,
    plan: P,
    limits: Limits,
    /// Of the value that comes next or has begun.
    treatment: Treatment,
    /// The part that has arrived of a key or of a value that is held.
    gathered: Vec<u8>,
    failure: Option<FilterError>,
}

impl<P: Plan> Walk<P> {
    pub(super) fn new(plan: P, limits: Limits) -> Self {
        Self {
            scanner: Scanner::new(),
            plan,
            limits,
            treatment: Treatment::Descend,
            gathered: Vec::new(),
            failure: None,
        }
    }

    pub(super) fn plan(&mut self) -> &mut P {
        &mut self.plan
    }

    pub(super) fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.pieces(chunk, out)
            .inspect_err(|failure| self.failure = Some(*failure))
    }

    pub(super) fn finish(&mut self) -> Result<(), FilterError> {
        match self.failure {
            Some(failure) => Err(failure),
            None if self.scanner.is_complete() => Ok(()),
            None => Err(FilterError::Truncated),
        }
    }

    /// How much memory is held, in bytes.
    #[cfg(test)]
    pub(super) fn gathered_capacity(&self) -> usize {
        self.gathered.capacity()
    }

    fn pieces(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        while let Some(piece) = self
            .scanner
            .piece(&mut chunk, self.treatment == Treatment::Descend)?
        {
            match piece.part {
                Part::Blank | Part::Colon => {}
                Part::Comma => self.expect_element(),
                Part::Open(container) => {
                    self.plan.open(container, out)?;
                    self.expect_element();
                }
                Part::Close => self.plan.close(out)?,
                Part::Key { complete } => self.gather(&piece, complete, |walk, key| {
                    walk.treatment = match plain_text(key) {
                        Some(name) => walk.plan.member(name, key, out)?,
                        None => walk.plan.member(&decoded(key)?, key, out)?,
                    };
                    Ok(())
                })?,
                Part::Value { complete } => match self.treatment {
                    Treatment::Copy => out.extend_from_slice(piece.bytes),
                    Treatment::Drop => {}
                    Treatment::Hold | Treatment::Descend => {
                        self.gather(&piece, complete, |walk, value| walk.plan.held(value, out))?;
                    }
                },
            }
        }
        Ok(())
    }

    fn expect_element(&mut self) {
        if self.scanner.in_array() {
            self.treatment = self.plan.element();
        }
    }

    /// Hands a key or value over once it is complete, without a copy where it came in one fragment.
    fn gather(
        &mut self,
        piece: &Piece<'_>,
        complete: bool,
        hand_over: impl FnOnce(&mut Self, &[u8]) -> Result<(), FilterError>,
    ) -> Result<(), FilterError> {
        let limit = self.limits.element_bytes;
        if self.gathered.len() + piece.bytes.len() > limit {
            return Err(FilterError::TooLarge { limit });
        }
        if complete && self.gathered.is_empty() {
            return hand_over(self, piece.bytes);
        }
        self.gathered.extend_from_slice(piece.bytes);
        if complete {
            let mut gathered = std::mem::take(&mut self.gathered);
            hand_over(self, &gathered)?;
            gathered.clear();
            self.gathered = gathered;
        }
        Ok(())
    }
}

/// The text of a string without escapes; `None` for one with escapes.
fn plain_text(string: &[u8]) -> Option<&str> {
    let text = string.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let plain = !text.contains(&b'\\');
    plain.then(|| std::str::from_utf8(text).ok()).flatten()
}

/// The text of a string. Fails for another value, and for an escape of half a surrogate pair, which is not text.
pub(super) fn decoded(string: &[u8]) -> Result<String, FilterError> {
    serde_json::from_slice(string).map_err(|_| FilterError::Shape {
        expected: "keys, the status and names are strings of Unicode text",
    })
}
