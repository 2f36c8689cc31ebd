//! Vector selectors: the name of a metric and what stands in braces.

use std::borrow::Cow;

use super::{Kind, Parser, QueryError, Selector};
use crate::promql::selector::{Form, Insertion, METRIC_NAME, Shape};
use crate::promql::{MatchOperator, Matcher, literal};

/// Where `info()` takes labels from if its second argument names no metric.
const TARGET_INFO: &str = "target_info";

impl<'t> Parser<'t, '_> {
    /// Reads a vector selector.
    pub(super) fn selector(&mut self, shape: Shape) -> Result<(), QueryError> {
        let position = self.position();
        if self.selectors.len() == self.limits.max_selectors {
            return Err(QueryError::TooManySelectors {
                limit: self.limits.max_selectors,
                position,
            });
        }
        let mut metric = None;
        let mut matchers = Vec::new();
        let mut insertion = Insertion {
            token: self.at,
            form: Form::Bare,
        };
        if shape == Shape::Named {
            metric = Some(Cow::Borrowed(self.word()));
            self.retype(Kind::Name);
        }
        // Braces do not nest, and do not count as a level: a text at the limit must stay within it when they are added.
        if self.accept(Kind::LeftBrace) {
            insertion = self.matchers(&mut matchers)?;
        }
        let names_metric = |matcher: &Matcher<'_>| *matcher.label == *METRIC_NAME.as_bytes();
        if shape == Shape::InfoLabels && !matchers.iter().any(names_metric) {
            metric = Some(Cow::Borrowed(TARGET_INFO));
        }
        let selector = Selector {
            shape,
            metric: metric.or_else(|| name_in(&matchers)),
            matchers,
            position,
            insertion,
            copied: self.copying > 0,
        };
        // Those of `info()` may be empty: they are joined with what its first argument selects.
        if shape == Shape::Braces && selector.selects_everything() {
            return Err(QueryError::EmptySelector { position });
        }
        self.selectors.push(selector);
        Ok(())
    }

    /// Reads the matchers of a selector and the closing brace.
    fn matchers(&mut self, matchers: &mut Vec<Matcher<'t>>) -> Result<Insertion, QueryError> {
        let opening = self.at - 1;
        let mut form = Form::Empty;
        while self.peek() != Kind::RightBrace {
            matchers.push(self.matcher()?);
            form = Form::Matcher;
            match self.peek() {
                Kind::RightBrace => {}
                Kind::Comma => {
                    self.advance();
                    form = Form::Comma;
                }
                // VictoriaMetrics has it, Prometheus has not.
                Kind::Label if self.word().eq_ignore_ascii_case("or") => {
                    return Err(self.refused(
                        "`or` cannot stand in braces: write two selectors with `or` between them, or `=~`",
                    ));
                }
                _ => return Err(self.refused("expected `,` or `}`")),
            }
        }
        let token = self.at - 1;
        self.advance();
        if self.copying > 0 && form != Form::Empty {
            return Ok(Insertion {
                token: opening,
                form: Form::First,
            });
        }
        Ok(Insertion { token, form })
    }

    fn matcher(&mut self) -> Result<Matcher<'t>, QueryError> {
        let label = match self.peek() {
            Kind::Label => Cow::Borrowed(self.word().as_bytes()),
            Kind::String => literal::value(self.word()),
            _ => return Err(self.refused("expected a label, a quoted metric name or `}`")),
        };
        let is_name = self.peek() == Kind::String;
        self.advance();
        let Kind::Match(operator) = self.peek() else {
            if is_name {
                return Ok(Matcher {
                    label: Cow::Borrowed(METRIC_NAME.as_bytes()),
                    operator: MatchOperator::Equal,
                    value: label,
                });
            }
            return Err(self.refused("expected `=`, `!=`, `=~` or `!~`"));
        };
        self.advance();
        if self.peek() != Kind::String {
            return Err(self.refused("expected a value in quotes"));
        }
        let value = literal::value(self.word());
        if matches!(operator, MatchOperator::Regex | MatchOperator::NotRegex) {
            self.gauge.pattern(&value, self.position())?;
        }
        self.advance();
        Ok(Matcher {
            label,
            operator,
            value,
        })
    }
}

/// The name that every series has which these matchers select.
fn name_in<'t>(matchers: &[Matcher<'t>]) -> Option<Cow<'t, str>> {
    let matcher = matchers.iter().find(|matcher| {
        *matcher.label == *METRIC_NAME.as_bytes()
            && matcher.operator == MatchOperator::Equal
            && !matcher.value.is_empty()
    })?;
    match &matcher.value {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes.clone()).ok().map(Cow::Owned),
    }
}
