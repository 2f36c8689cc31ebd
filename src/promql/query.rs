//! A query that was read.

use super::grammar::Parser;
use super::lexer::NameSyntax;
use super::token::Token;
use super::{Limits, QueryError, Selector};

/// A query that was read: its tokens and its selectors.
#[derive(Clone, Debug)]
pub struct Query<'t> {
    pub(super) text: &'t str,
    pub(super) tokens: Vec<Token>,
    pub(super) selectors: Vec<Selector<'t>>,
    pub(super) max_output_bytes: usize,
}

impl<'t> Query<'t> {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// Any [`QueryError`] but [`QueryError::OutputTooLong`], [`QueryError::InfoLabels`] and
    /// [`QueryError::NotASelector`].
    pub fn parse(text: &'t str, limits: &Limits) -> Result<Self, QueryError> {
        read(text, limits, Parser::expression)
    }

    /// Reads a series selector, as in a `match[]` parameter: a single one, with nothing before or after it.
    ///
    /// # Errors
    ///
    /// [`QueryError::NotASelector`] for any other expression, and those of [`Query::parse`].
    pub fn parse_selector(text: &'t str, limits: &Limits) -> Result<Self, QueryError> {
        read(text, limits, Parser::series_selector)
    }

    /// The vector selectors in the order in which they appear, those in parameters of aggregations included.
    pub fn selectors(&self) -> &[Selector<'t>] {
        &self.selectors
    }
}

/// Reads `text` as a Prometheus with default flags does. If that fails, as one with `promql-unquoted-utf8-names` does.
///
/// `up offset.5` is a query in the first way only, and `offset.5` in the second. Text of the first way has spaces where
/// the second would join tokens, so that both read it alike. Text of the second way is refused by a Prometheus of the
/// first, as the original was.
fn read<'t, 'l>(
    text: &'t str,
    limits: &'l Limits,
    grammar: impl Fn(Parser<'t, 'l>) -> Result<Query<'t>, QueryError>,
) -> Result<Query<'t>, QueryError> {
    QueryError::check_length(text, limits)?;
    let query = Parser::new(text, limits, NameSyntax::Ascii).and_then(&grammar);
    let differs = |byte: u8| byte == b'.' || !byte.is_ascii();
    if query.is_err() && text.bytes().any(differs) {
        return Parser::new(text, limits, NameSyntax::Unicode).and_then(grammar);
    }
    query
}
