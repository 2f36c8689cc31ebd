//! Tokens and matchers to text.

use super::selector::{Form, METRIC_NAME};
use super::token::Kind;
use super::{MatchOperator, MetricNames, Query, QueryError, Selector, literal, number, pattern};
use crate::namespace::NamespaceSet;

/// What a selector is confined to.
#[derive(Clone, Copy, Debug)]
pub enum Constraint<'a> {
    /// Nothing is added: the caller may see all that the selector selects.
    Open,
    /// Series whose label has one of these values.
    Namespaces {
        /// The label that carries the namespace.
        label: &'a str,
        /// The values that it may have.
        set: &'a NamespaceSet,
    },
    /// Series whose labels have all of these values, as pairs of name and value; no value is empty.
    Values(&'a [(String, String)]),
    /// Series of metrics of these names.
    Metrics {
        names: &'a MetricNames,
        /// Their label that carries the namespace, and the values that it may have. `None`: any.
        within: Option<(&'a str, &'a NamespaceSet)>,
    },
}

impl<'t> Query<'t> {
    /// Writes the query with each selector confined to the constraint that `constrain` gives for it, called once for
    /// each in order. The tokens and their order stay; matchers are added after the caller's own, or before them where
    /// that matters.
    ///
    /// No matcher is added where one of the caller's own on that label is `=` or `=~` and allows members of the set
    /// only. So restricting the result with the same constraints leaves it as it is.
    ///
    /// `absent()` and `absent_over_time()` make a label of the first `=` matcher on a name, and any other after it
    /// takes the label away. In their arguments an added matcher is a `=~` and comes first, so that it does neither.
    ///
    /// # Errors
    ///
    /// [`QueryError::OutputTooLong`], or [`QueryError::InfoLabels`] where a matcher would change what `info()` adds.
    pub fn restrict<'a>(
        &self,
        mut constrain: impl FnMut(usize, &Selector<'t>) -> Constraint<'a>,
    ) -> Result<String, QueryError> {
        let mut writer = Writer {
            out: String::with_capacity(self.text.len() + 40 * self.selectors.len()),
            before: None,
            limit: self.max_output_bytes,
        };
        let mut selectors = self.selectors.iter().enumerate().peekable();
        for (at, token) in self.tokens.iter().enumerate() {
            writer.token(token.kind, token.text(self.text))?;
            let Some((index, selector)) =
                selectors.next_if(|(_, selector)| selector.insertion.token == at)
            else {
                continue;
            };
            match constrain(index, selector) {
                Constraint::Namespaces { label, set } => {
                    writer.add(selector, [Added::Set { label, set }])?;
                }
                Constraint::Values(values) => {
                    let values = values.iter();
                    let added = values.map(|(label, value)| Added::Value { label, value });
                    writer.add(selector, added)?;
                }
                Constraint::Metrics { names, within } => {
                    let names = names.matchers();
                    let names = names.map(|(operator, pattern)| Added::Name { operator, pattern });
                    let set = within.map(|(label, set)| Added::Set { label, set });
                    writer.add(selector, names.chain(set))?;
                }
                Constraint::Open => {}
            }
        }
        Ok(writer.out)
    }
}

/// A matcher that a constraint asks for.
#[derive(Clone, Copy)]
enum Added<'a> {
    /// That a label has one of these values.
    Set {
        label: &'a str,
        set: &'a NamespaceSet,
    },
    /// That a label has this value.
    Value { label: &'a str, value: &'a str },
    /// That the metric's name fits a pattern, or does not.
    Name {
        operator: MatchOperator,
        pattern: &'a str,
    },
}

impl Added<'_> {
    fn label(&self) -> &str {
        match self {
            Self::Set { label, .. } | Self::Value { label, .. } => label,
            Self::Name { .. } => METRIC_NAME,
        }
    }

    /// Whether the caller's own matchers leave nothing for this one to do.
    fn is_in(&self, selector: &Selector<'_>) -> bool {
        match *self {
            Self::Set { label, set } => selector.is_within(label, set),
            Self::Value { label, value } => selector.has(label, MatchOperator::Equal, value),
            Self::Name { operator, pattern } => selector.has(METRIC_NAME, operator, pattern),
        }
    }
}

struct Writer {
    out: String,
    /// What was written last.
    before: Option<Kind>,
    limit: usize,
}

impl Writer {
    fn token(&mut self, kind: Kind, text: &str) -> Result<(), QueryError> {
        if kind == Kind::End {
            return Ok(());
        }
        if self.before.is_some_and(|before| before.is_apart_from(kind)) {
            self.out.push(' ');
        }
        match kind {
            Kind::String => literal::rewrite(&mut self.out, text),
            Kind::Number => number::rewrite(&mut self.out, text),
            _ => self.out.push_str(text),
        }
        self.before = Some(kind);
        self.check(0)
    }

    /// Writes those of the matchers that the selector does not have.
    fn add<'a>(
        &mut self,
        selector: &Selector<'_>,
        added: impl IntoIterator<Item = Added<'a>>,
    ) -> Result<(), QueryError> {
        let missing = added.into_iter().filter(|added| !added.is_in(selector));
        let mut first = true;
        for added in missing {
            let label = added.label();
            if !selector.takes_matcher_on(label) {
                return Err(QueryError::info_labels(label, selector.position));
            }
            if std::mem::take(&mut first) {
                self.open(selector);
            } else {
                self.out.push_str(", ");
            }
            match added {
                Added::Set { label, set } => {
                    // Before the set is written, as it may be large and this one of many selectors.
                    let names = set.iter().map(|name| name.as_str());
                    let length = names.map(|name| name.len() + 1).sum::<usize>();
                    self.check(label.len() + length)?;
                    self.label(label);
                    self.set(set, selector.copied || set.len() > 1);
                }
                Added::Value { label, value } if selector.copied => {
                    self.label(label);
                    self.out.push_str("=~");
                    literal::write(&mut self.out, pattern::exactly(value).as_bytes());
                }
                Added::Value { label, value } => {
                    self.label(label);
                    self.out.push('=');
                    literal::write(&mut self.out, value.as_bytes());
                }
                Added::Name { operator, pattern } => {
                    self.out.push_str(METRIC_NAME);
                    self.out.push_str(operator.as_str());
                    literal::write(&mut self.out, pattern.as_bytes());
                }
            }
        }
        if !first {
            self.close(selector);
        }
        self.check(0)
    }

    /// After a label: that it is one of these.
    fn set(&mut self, set: &NamespaceSet, is_pattern: bool) {
        self.out.push_str(if is_pattern { "=~\"" } else { "=\"" });
        for (index, name) in set.iter().enumerate() {
            if index > 0 {
                self.out.push('|');
            }
            self.out.push_str(name.as_str());
        }
        self.out.push('"');
    }

    /// What stands between the selector and a matcher that is added.
    fn open(&mut self, selector: &Selector<'_>) {
        self.out.push_str(match selector.insertion.form {
            Form::Bare => "{",
            Form::Empty | Form::First => "",
            Form::Matcher => ", ",
            Form::Comma => " ",
        });
    }

    fn close(&mut self, selector: &Selector<'_>) {
        match selector.insertion.form {
            Form::Bare => {
                self.out.push('}');
                self.before = Some(Kind::RightBrace);
            }
            // As the brace before it, it needs no blank after it.
            Form::First => self.out.push_str(", "),
            Form::Empty | Form::Matcher | Form::Comma => {}
        }
    }

    fn label(&mut self, label: &str) {
        if is_plain(label) {
            self.out.push_str(label);
        } else {
            literal::write(&mut self.out, label.as_bytes());
        }
    }

    fn check(&self, more: usize) -> Result<(), QueryError> {
        if self.out.len() + more > self.limit {
            return Err(QueryError::OutputTooLong { limit: self.limit });
        }
        Ok(())
    }
}

/// A selector of all series of some namespaces.
pub fn all_of(label: &str, set: &NamespaceSet) -> String {
    let mut writer = Writer {
        out: String::from("{"),
        before: None,
        limit: usize::MAX,
    };
    writer.label(label);
    writer.set(set, set.len() > 1);
    writer.out.push('}');
    writer.out
}

/// Whether the label needs no quotes in braces, for any version of Prometheus. Before 3.0 none has them.
fn is_plain(label: &str) -> bool {
    label.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
