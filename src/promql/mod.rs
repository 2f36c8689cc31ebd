//! PromQL, read into tokens and written again with matchers added to its selectors.
//!
//! This is the boundary between callers: what leaves [`Query::restrict`] selects no series outside of the namespaces
//! that it was given. The module is pure: it does no I/O, knows no caller and no permission, compiles no regular
//! expression, evaluates nothing, and does not check types or argument counts. What it lets pass of these, Prometheus
//! refuses, because the tokens that are written are the tokens that were read, to every release that reads them.
//!
//! The grammar is the one of Prometheus 3.16 (`promql/parser/lex.go` and `generated_parser.y`), all experimental parts
//! included. A text goes through `lexer`, `grammar` and `restriction` in this order:
//!
//! - Nothing of the caller's text is copied but names, plain decimal numbers and durations, on which all lexers agree.
//!   Other numbers and strings are written anew from their value, comments vanish, and spaces are ours.
//! - An operand and what may follow it take turns, and in each of the two places every word has one meaning. So the
//!   grammar needs no precedence to know where a selector stands.
//! - What is not known is refused, functions included.
//!
//! Nesting and the number of operators are limited, because Prometheus' own parser works in time quadratic in both, and
//! goes on after the client has left.

mod error;
mod functions;
mod grammar;
mod lexer;
mod limits;
mod literal;
mod names;
mod number;
mod pattern;
mod query;
mod restriction;
mod selector;
mod token;

#[cfg(test)]
mod tests;

pub use error::QueryError;
pub use limits::{Limits, measure};
pub use names::{MetricNames, Name};
pub use query::Query;
pub use restriction::{Constraint, all_of};
pub use selector::{MatchOperator, Matcher, Selector};
