//! The tokens of PromQL and the spaces between them.

use super::MatchOperator;

/// What a token is. Words are told apart by what they can mean; which of it they do mean is up to the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name without a colon: a metric, a function or a label.
    Identifier,
    /// A name with a colon: a metric or a label.
    MetricIdentifier,
    /// The name of a label in braces. No word is a keyword there.
    Label,
    /// The name of a metric, a function or an aggregation, once the grammar has found it to be one.
    Name,

    /// `sum`, `topk`, ...
    Aggregator,
    /// `and`, `or`, `unless`.
    SetOperator,
    /// `atan2`, the one operator that is a word but never a name.
    Atan2,
    By,
    Without,
    /// `on`, `ignoring`.
    Matching,
    /// `group_left`, `group_right`.
    Grouping,
    /// `fill`, `fill_left`, `fill_right`; identifiers unless a parenthesis follows.
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Offset,
    /// `anchored`, `smoothed`.
    Extension,
    /// `start`, `end`.
    Boundary,
    /// `step`, `range`.
    Step,
    /// `max_of`, `min_of`.
    Extremum,

    /// `inf` and `nan`, too.
    Number,
    Duration,
    String,

    /// `+` or `-`. A [`Kind::Unary`] once the grammar has found it to stand before its operand.
    Sign,
    Unary,
    /// `*`, `/`, `%`, `^`.
    Arithmetic,
    /// `==`, `!=`, `<`, `<=`, `>`, `>=`, `</`, `>/`.
    Comparison,
    Match(MatchOperator),
    At,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    End,
}

/// A token and the bytes of the text that it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Token {
    pub(super) fn new(kind: Kind, start: usize, end: usize) -> Self {
        // The length of the text is checked before the first token is made.
        let narrow = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        Self {
            kind,
            start: narrow(start),
            end: narrow(end),
        }
    }

    pub(super) fn position(self) -> usize {
        self.start as usize
    }

    pub(super) fn text(self, query: &str) -> &str {
        &query[self.start as usize..self.end as usize]
    }
}

impl Kind {
    /// What a word outside of braces is. Case does not matter; `fill` and its kin are decided by the lexer.
    pub(super) fn of_word(word: &str) -> Self {
        let mut lower = [0; LONGEST_KEYWORD];
        let Some(lower) = lower.get_mut(..word.len()) else {
            return Self::of_name(word);
        };
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        match &*lower {
            b"and" | b"or" | b"unless" => Self::SetOperator,
            b"atan2" => Self::Atan2,
            b"sum" | b"avg" | b"count" | b"min" | b"max" | b"group" | b"stddev" | b"stdvar"
            | b"topk" | b"bottomk" | b"count_values" | b"quantile" | b"limitk" | b"limit_ratio" => {
                Self::Aggregator
            }
            b"offset" => Self::Offset,
            b"anchored" | b"smoothed" => Self::Extension,
            b"by" => Self::By,
            b"without" => Self::Without,
            b"on" | b"ignoring" => Self::Matching,
            b"group_left" | b"group_right" => Self::Grouping,
            b"fill" => Self::Fill,
            b"fill_left" => Self::FillLeft,
            b"fill_right" => Self::FillRight,
            b"bool" => Self::Bool,
            b"start" | b"end" => Self::Boundary,
            b"step" | b"range" => Self::Step,
            b"max_of" | b"min_of" => Self::Extremum,
            b"inf" | b"nan" => Self::Number,
            _ => Self::of_name(word),
        }
    }

    fn of_name(word: &str) -> Self {
        if word.contains(':') {
            Self::MetricIdentifier
        } else {
            Self::Identifier
        }
    }

    /// Whether the word is the name of a metric where an operand stands (`metric_identifier` of the grammar).
    pub(super) fn can_be_metric(self) -> bool {
        matches!(
            self,
            Self::Identifier
                | Self::MetricIdentifier
                | Self::Aggregator
                | Self::SetOperator
                | Self::By
                | Self::Without
                | Self::Offset
                | Self::Extension
                | Self::Boundary
                | Self::Step
                | Self::Extremum
        )
    }

    /// Whether the word is the name of a label in `by ()` and its kin (`maybe_label` of the grammar, in which
    /// `without` is missing).
    pub(super) fn can_be_label(self) -> bool {
        self != Self::Without && self.can_be_metric()
            || matches!(
                self,
                Self::Atan2
                    | Self::Matching
                    | Self::Grouping
                    | Self::Bool
                    | Self::Fill
                    | Self::FillLeft
                    | Self::FillRight
            )
    }

    /// Whether a space is written between this token and the `next`. Where there is none, the two cannot be read as
    /// anything else.
    pub(super) fn is_apart_from(self, next: Self) -> bool {
        match (self, next) {
            (
                Self::LeftParen
                | Self::LeftBrace
                | Self::LeftBracket
                | Self::Colon
                | Self::Unary
                | Self::Match(_),
                _,
            )
            | (
                _,
                Self::RightParen
                | Self::RightBrace
                | Self::LeftBracket
                | Self::RightBracket
                | Self::Comma
                | Self::Colon
                | Self::Match(_),
            )
            | (Self::Name, Self::LeftBrace) => false,
            (before, Self::LeftParen) => !matches!(
                before,
                Self::Name
                    | Self::Step
                    | Self::Extremum
                    | Self::Boundary
                    | Self::Fill
                    | Self::FillLeft
                    | Self::FillRight
            ),
            _ => true,
        }
    }
}

const LONGEST_KEYWORD: usize = "count_values".len();
