//! Tokens and matchers to text.

use super::selector::Form;
use super::token::Kind;
use super::{Query, QueryError, Selector, literal, number, pattern};
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
}

impl<'t> Query<'t> {
    /// Writes the query with each selector confined to the constraint that `constrain` gives for it, called once for
    /// each in order. The tokens and their order stay; matchers are added behind the caller's own, or before them where
    /// that matters.
    ///
    /// No matcher is added where one of the caller's own on that label is `=` or `=~` and allows members of the set
    /// only. So restricting the result with the same constraints leaves it as it is.
    ///
    /// `absent()` and `absent_over_time()` make a label of the first `=` matcher on a name, and any other behind it takes
    /// the label away. In their arguments an added matcher is a `=~` and comes first, so that it does neither.
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
                Constraint::Namespaces { label, set } if !selector.is_within(label, set) => {
                    take(selector, label)?;
                    writer.matcher(selector, label, set)?;
                }
                Constraint::Values(values) => {
                    let missing = |(label, value): &&(String, String)| {
                        !selector.names_value(label, value.as_bytes())
                    };
                    let missing: Vec<_> = values.iter().filter(missing).collect();
                    for (label, _) in &missing {
                        take(selector, label)?;
                    }
                    if !missing.is_empty() {
                        writer.values(selector, &missing)?;
                    }
                }
                Constraint::Namespaces { .. } | Constraint::Open => {}
            }
        }
        Ok(writer.out)
    }
}

fn take(selector: &Selector<'_>, label: &str) -> Result<(), QueryError> {
    if selector.takes_matcher_on(label) {
        return Ok(());
    }
    Err(QueryError::info_labels(label, selector.position))
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

    fn matcher(
        &mut self,
        selector: &Selector<'_>,
        label: &str,
        set: &NamespaceSet,
    ) -> Result<(), QueryError> {
        // Before the set is written, as it may be large and this one of many selectors.
        let names = set.iter().map(|name| name.as_str());
        let length = names.map(|name| name.len() + 1).sum::<usize>();
        self.check(label.len() + length)?;

        self.open(selector);
        self.label(label);
        self.set(set, selector.copied || set.len() > 1);
        self.close(selector);
        self.check(0)
    }

    fn values(
        &mut self,
        selector: &Selector<'_>,
        values: &[&(String, String)],
    ) -> Result<(), QueryError> {
        self.open(selector);
        for (index, (label, value)) in values.iter().enumerate() {
            if index > 0 {
                self.out.push_str(", ");
            }
            self.label(label);
            if selector.copied {
                self.out.push_str("=~");
                literal::write(&mut self.out, pattern::exactly(value).as_bytes());
            } else {
                self.out.push('=');
                literal::write(&mut self.out, value.as_bytes());
            }
        }
        self.close(selector);
        self.check(0)
    }

    /// Behind a label: that it is one of these.
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
            // As the brace before it, it needs no blank behind it.
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
