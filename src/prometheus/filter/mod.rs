//! Filters of Prometheus' JSON answers for callers who may see some namespaces only.
//!
//! A filter takes an answer in chunks as they arrive and gives what the caller may read of it. It is a pure
//! transformer: it knows nothing of HTTP, compression or permissions, and whoever runs it turns an error
//! into a 502 or, where a part is already on its way, into a body that is cut short.
//!
//! Three rules hold for all of them:
//!
//! - Fail closed. What is not strict JSON, not of the expected shape, or says twice what must be said once
//!   is an error, and so is an answer that ends early: it never becomes a document that looks complete.
//! - Bounded memory. At most one element is held (see [`Limits`]), however large the answer is.
//! - Fidelity. What is kept is copied byte for byte, so that the texts of numbers stay, and unknown members of what is
//!   wholly the caller's.
//!
//! ```text
//! bytes -> scanner   strict JSON, cut into pieces
//!       -> walk      follows the pieces through the containers that a filter looks into
//!       -> envelope  {"status":"success","data":...}
//!       -> rules | list | metadata | names | texts
//! bytes -> scanner -> warnings
//! ```

mod envelope;
mod family;
mod labels;
mod lexeme;
mod list;
mod message;
mod metadata;
mod names;
mod rule;
mod rules;
mod scanner;
mod set;
#[cfg(test)]
mod tests;
mod texts;
mod walk;
mod warnings;

pub use list::{List, ListFilter};
pub use message::with_message;
pub use metadata::MetadataFilter;
pub use names::{MetricNames, MetricNamesReader};
pub use rules::RulesFilter;
pub use scanner::MAX_DEPTH;
pub use texts::{OwnTexts, OwnTextsReader};
pub use warnings::WarningsFilter;

/// The most that a filter holds of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest single element, in bytes: an alert, a target, a rule without its alerts, the head of a group, a
    /// name, what is said of a metric. The default is 4 MiB. Past it is [`FilterError::TooLarge`].
    pub element_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            element_bytes: 4 << 20,
        }
    }
}

/// A transformer of one answer. It is used once: after [`Filter::finish`] or an error it is spent.
pub trait Filter {
    /// Takes the next chunk, which may end anywhere, and appends to `out` what the caller may read of it.
    /// What `out` holds already is not touched.
    ///
    /// # Errors
    ///
    /// The answer is malformed, of another shape, or past a limit. What has been appended before is fit to
    /// be read by the caller, but the answer cannot be completed; every later call repeats the error.
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError>;

    /// Says that the answer has ended.
    ///
    /// # Errors
    ///
    /// [`FilterError::Truncated`] when the answer is not complete, or the error of an earlier call.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError>;
}

/// Why an answer of Prometheus could not be filtered. The fault is Prometheus' (or of what is between), never
/// the caller's. No variant carries any text of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The bytes are not strict JSON in valid UTF-8, or something follows the document.
    #[error("the answer of Prometheus is not valid JSON (byte {offset})")]
    Syntax {
        /// How many bytes were read before the offending one.
        offset: u64,
    },
    /// Containers are nested deeper than [`MAX_DEPTH`].
    #[error("the answer of Prometheus is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// One element is larger than [`Limits::element_bytes`], or a set is larger than its bound.
    #[error("one element of the answer of Prometheus is larger than {limit} bytes")]
    TooLarge {
        /// The bound that was passed, in bytes.
        limit: usize,
    },
    /// Valid JSON, but not what this endpoint answers.
    #[error("the answer of Prometheus is not of the expected shape: {expected}")]
    Shape {
        /// What was expected, as a sentence.
        expected: &'static str,
    },
    /// The answer ended before the document did.
    #[error("the answer of Prometheus ends before it is complete")]
    Truncated,
}

/// A shape error, for use with `?`.
fn shape<T>(expected: &'static str) -> Result<T, FilterError> {
    Err(FilterError::Shape { expected })
}
