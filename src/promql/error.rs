//! Why a query is refused, and where.

use super::Limits;

/// Characters of a line that [`QueryError::pointer`] shows.
const POINTER_WIDTH: usize = 80;

/// Bytes of a caller's name that a message repeats.
const MAX_QUOTED_BYTES: usize = 64;

/// Why a query cannot be restricted. The caller can correct all of these.
///
/// Positions are byte offsets into the query's text. No message repeats more of the query than one name, cut to 64
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The text has more bytes than [`Limits::max_bytes`].
    #[error("the query has {bytes} bytes, the limit is {limit}: split it into several queries")]
    TooLong {
        /// Length of the text.
        bytes: usize,
        limit: usize,
    },
    /// Brackets or signs are nested deeper than [`Limits::max_depth`].
    #[error(
        "the query is nested more than {limit} levels deep at byte {position}: remove needless brackets and signs"
    )]
    TooDeep {
        limit: usize,
        /// The bracket or sign that is too deep.
        position: usize,
    },
    /// There are more operators, signs and ranges than [`Limits::max_operators`].
    #[error(
        "the query has more than {limit} operators, at byte {position}: replace chains such as \
         `a or b or c` by one selector like `{{__name__=~\"a|b|c\"}}`, or split the query"
    )]
    TooManyOperators {
        limit: usize,
        /// The first operator past it.
        position: usize,
    },
    /// There are more vector selectors than [`Limits::max_selectors`].
    #[error(
        "the query has more than {limit} selectors, at byte {position}: split it into several queries"
    )]
    TooManySelectors {
        limit: usize,
        /// The first selector past it.
        position: usize,
    },
    /// The regular expressions are larger than [`Limits::max_pattern_size`], counting what they repeat.
    #[error(
        "the regular expressions of the query are too large, at byte {position}: with all repetitions such as \
         `{{9}}` written out, they would have more than {limit} characters"
    )]
    PatternsTooLarge {
        limit: usize,
        /// The first regular expression past it.
        position: usize,
    },
    /// The restricted text would have more bytes than [`Limits::max_output_bytes`].
    #[error(
        "restricted to its namespaces, the query would have more than {limit} bytes: name the namespaces that you \
         want, or use fewer selectors"
    )]
    OutputTooLong { limit: usize },
    /// A function that Prometheus does not have, or that is newer than this program.
    #[error(
        "unknown function {name:?} at byte {position}: only the functions of Prometheus 3.16 can be used, and their \
         names are in lower case"
    )]
    UnknownFunction {
        /// The name, cut to 64 bytes.
        name: String,
        /// Where the name starts.
        position: usize,
    },
    /// `info()` without a second argument reads series that no selector names.
    #[error(
        "info() at byte {position} without a second argument reads series of all namespaces and needs cluster-wide \
         access: choose the labels, as in `info(up, {{namespace=\"team-a\", version=~\".+\"}})`, or join with an info \
         metric, as in `up * on (instance, job) group_left (version) build_info`"
    )]
    InfoFunction {
        /// Where the name starts.
        position: usize,
    },
    /// The second argument of `info()` cannot be confined without adding labels to the result.
    #[error(
        "info() takes labels from the series that the braces at byte {position} select, of any namespace: add a matcher \
         on the label {label} there, such as `{label}!=\"\"` (in quotes if it is not a plain name), which also makes it one of \
         the labels that are added"
    )]
    InfoLabels {
        /// The label, cut to 64 bytes.
        label: String,
        /// Where the braces start.
        position: usize,
    },
    /// A selector that selects everything. Prometheus refuses it, but would accept it once a matcher is added.
    #[error(
        "the selector at byte {position} has no metric name and no matcher that refuses the empty string: add a \
         metric name, or a matcher such as `__name__=~\".+\"`"
    )]
    EmptySelector {
        /// Where the selector starts.
        position: usize,
    },
    /// A series selector was expected and more, or something else, was found.
    #[error(
        "expected a series selector alone, such as `up{{job=\"x\"}}`, and found something else at byte {position}: \
         operators, functions, ranges, offset and @ cannot be used here"
    )]
    NotASelector {
        /// Where the selector ends or should have started.
        position: usize,
    },
    /// The text is not PromQL, or has a part that is not known.
    #[error("the query cannot be read at byte {position}: {reason}")]
    Syntax {
        /// Where reading stopped.
        position: usize,
        /// What was expected, or what to write instead.
        reason: &'static str,
    },
}

impl QueryError {
    pub(super) fn check_length(text: &str, limits: &Limits) -> Result<(), Self> {
        // Positions of tokens are kept in 32 bits.
        let limit = limits.max_bytes.min(u32::MAX as usize);
        if text.len() > limit {
            return Err(Self::TooLong {
                bytes: text.len(),
                limit,
            });
        }
        Ok(())
    }

    pub(super) fn syntax(position: usize, reason: &'static str) -> Self {
        Self::Syntax { position, reason }
    }

    pub(super) fn unknown_function(name: &str, position: usize) -> Self {
        Self::UnknownFunction {
            name: name[..name.floor_char_boundary(MAX_QUOTED_BYTES)].to_owned(),
            position,
        }
    }

    pub(super) fn info_labels(label: &str, position: usize) -> Self {
        Self::InfoLabels {
            label: label[..label.floor_char_boundary(MAX_QUOTED_BYTES)].to_owned(),
            position,
        }
    }

    /// Where in the text the fault is, as a byte offset. `None` for a fault of the whole text.
    pub fn position(&self) -> Option<usize> {
        match *self {
            Self::TooLong { .. } | Self::OutputTooLong { .. } => None,
            Self::TooDeep { position, .. }
            | Self::TooManyOperators { position, .. }
            | Self::TooManySelectors { position, .. }
            | Self::PatternsTooLarge { position, .. }
            | Self::UnknownFunction { position, .. }
            | Self::InfoFunction { position }
            | Self::InfoLabels { position, .. }
            | Self::EmptySelector { position }
            | Self::NotASelector { position }
            | Self::Syntax { position, .. } => Some(position),
        }
    }

    /// Two lines: the line of `text` that the fault is in, cut to about 80 characters around it, and a `^` below the
    /// fault. `text` is the text that was refused; `None` for a fault of the whole text.
    pub fn pointer(&self, text: &str) -> Option<String> {
        let position = text.floor_char_boundary(self.position()?);
        let (before, after) = text.split_at(position);
        let before = &before[before.rfind(['\n', '\r']).map_or(0, |end| end + 1)..];
        let after = &after[..after.find(['\n', '\r']).unwrap_or(after.len())];

        // Counted from the fault outwards, so that the work does not depend on the length of the line.
        let half = POINTER_WIDTH / 2;
        let start = before
            .char_indices()
            .rev()
            .nth(half - 1)
            .map_or(0, |(at, _)| at);
        let end = after
            .char_indices()
            .nth(half)
            .map_or(after.len(), |(at, _)| at);
        let cut_before = if start > 0 { "…" } else { "" };
        let cut_after = if end < after.len() { "…" } else { "" };
        let shown = |character: char| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        };
        let indent = cut_before.chars().count() + before[start..].chars().count();

        let mut pointer = String::with_capacity(4 * POINTER_WIDTH);
        pointer.push_str(cut_before);
        pointer.extend(before[start..].chars().map(shown));
        pointer.extend(after[..end].chars().map(shown));
        pointer.push_str(cut_after);
        pointer.push('\n');
        pointer.extend(std::iter::repeat_n(' ', indent));
        pointer.push('^');
        Some(pointer)
    }
}
