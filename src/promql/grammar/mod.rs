//! Where the selectors of a query stand.
//!
//! An operand and what follows it take turns; brackets are kept on a stack of our own, so that depth costs no stack of
//! the thread. Precedence, types and the arguments of functions do not matter here. Where two rules of Prometheus'
//! grammar compete, as for the `+` in `x offset (5m) + 3m`, both take the same tokens, and Prometheus decides.

mod cursor;
mod duration;
mod matchers;

use super::lexer::NameSyntax;
use super::limits::Gauge;
use super::selector::Shape;
use super::token::{Kind, Token};
use super::{Limits, Query, QueryError, Selector, functions, lexer, literal};

/// What the next token has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Operand,
    Follower,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bracket {
    Parenthesis,
    Call {
        copies_matchers: bool,
    },
    Aggregation {
        grouped: bool,
    },
    /// Of `info()`, whose second argument, if it is read already, are matchers and no expression.
    Info {
        position: usize,
        labels: bool,
    },
    Range,
    /// Of a duration expression: a parenthesis, or the arguments of `max_of` and `min_of`.
    Duration {
        arguments_left: u8,
    },
}

pub(super) struct Parser<'t, 'l> {
    text: &'t str,
    limits: &'l Limits,
    tokens: Vec<Token>,
    at: usize,
    gauge: Gauge,
    brackets: Vec<Bracket>,
    /// How many calls are open whose result takes its labels from matchers.
    copying: usize,
    selectors: Vec<Selector<'t>>,
}

impl<'t, 'l> Parser<'t, 'l> {
    pub(super) fn new(
        text: &'t str,
        limits: &'l Limits,
        names: NameSyntax,
    ) -> Result<Self, QueryError> {
        Ok(Self {
            text,
            limits,
            tokens: lexer::tokens(text, names)?,
            at: 0,
            gauge: Gauge::new(limits),
            brackets: Vec::new(),
            copying: 0,
            selectors: Vec::new(),
        })
    }

    fn finish(self) -> Query<'t> {
        Query {
            text: self.text,
            tokens: self.tokens,
            selectors: self.selectors,
            max_output_bytes: self.limits.max_output_bytes,
        }
    }

    /// Reads a vector selector with nothing after it.
    pub(super) fn series_selector(mut self) -> Result<Query<'t>, QueryError> {
        let refused = |position| Err(QueryError::NotASelector { position });
        match self.peek() {
            Kind::LeftBrace => self.selector(Shape::Braces)?,
            kind if kind.can_be_metric() => self.selector(Shape::Named)?,
            _ => return refused(self.position()),
        }
        if self.peek() != Kind::End {
            return refused(self.position());
        }
        Ok(self.finish())
    }

    /// Reads the whole text as an expression.
    pub(super) fn expression(mut self) -> Result<Query<'t>, QueryError> {
        let mut next = Next::Operand;
        while next != Next::End {
            next = match next {
                Next::Operand => self.operand()?,
                Next::Follower | Next::End => self.follower()?,
            };
        }
        Ok(self.finish())
    }

    /// Reads one operand, or what stands before it.
    fn operand(&mut self) -> Result<Next, QueryError> {
        match self.peek() {
            Kind::Sign => {
                self.gauge.sign(self.position())?;
                self.retype(Kind::Unary);
                Ok(Next::Operand)
            }
            Kind::String => {
                // It may be one for `label_replace()`.
                let value = literal::value(self.word());
                self.gauge.pattern(&value, self.position())?;
                self.advance();
                Ok(Next::Follower)
            }
            Kind::Number | Kind::Duration => {
                self.advance();
                Ok(Next::Follower)
            }
            Kind::LeftParen => {
                self.open(Bracket::Parenthesis)?;
                Ok(Next::Operand)
            }
            Kind::LeftBrace => {
                self.selector(Shape::Braces)?;
                Ok(Next::Follower)
            }
            Kind::Aggregator
                if matches!(
                    self.peek_second(),
                    Kind::LeftParen | Kind::By | Kind::Without
                ) =>
            {
                self.aggregation()
            }
            Kind::Identifier | Kind::Boundary | Kind::Step | Kind::Extremum
                if self.peek_second() == Kind::LeftParen =>
            {
                self.call()
            }
            kind if kind.can_be_metric() => {
                self.selector(Shape::Named)?;
                Ok(Next::Follower)
            }
            Kind::End => Err(self.refused("the query ends where an expression was expected")),
            _ => Err(self.refused("expected a metric name, a function, a number, a string or `(`")),
        }
    }

    /// Reads one of the things that stand after an operand.
    fn follower(&mut self) -> Result<Next, QueryError> {
        match self.peek() {
            Kind::RightParen => self.close()?,
            Kind::LeftBracket => self.range()?,
            Kind::Offset => self.offset()?,
            Kind::At => self.at_modifier()?,
            Kind::Extension => self.advance(),
            Kind::Comma => match self.brackets.last() {
                Some(Bracket::Info { .. }) => self.info_labels()?,
                Some(Bracket::Call { .. } | Bracket::Aggregation { .. }) => {
                    self.gauge.settle();
                    self.advance();
                    return Ok(Next::Operand);
                }
                _ => return Err(self.refused("a comma stands between arguments only")),
            },
            Kind::Sign | Kind::Arithmetic | Kind::Comparison | Kind::SetOperator | Kind::Atan2 => {
                self.operator()?;
                return Ok(Next::Operand);
            }
            Kind::End if self.brackets.is_empty() => return Ok(Next::End),
            Kind::End => return Err(self.refused("a closing `)` is missing")),
            _ => return Err(self.refused("expected an operator, `)` or the end of the query")),
        }
        Ok(Next::Follower)
    }

    fn aggregation(&mut self) -> Result<Next, QueryError> {
        self.retype(Kind::Name);
        let grouped = self.grouping()?;
        self.arguments(Bracket::Aggregation { grouped })
    }

    /// `by (...)` or `without (...)`, if there is one.
    fn grouping(&mut self) -> Result<bool, QueryError> {
        let grouped = matches!(self.peek(), Kind::By | Kind::Without);
        if grouped {
            self.advance();
            self.labels()?;
        }
        Ok(grouped)
    }

    fn call(&mut self) -> Result<Next, QueryError> {
        let name = self.word();
        let position = self.position();
        let copies_matchers = match self.peek() {
            // In a duration expression, which this may turn out to be, their case does not matter.
            Kind::Step | Kind::Extremum => false,
            _ if name == "info" => {
                self.retype(Kind::Name);
                let labels = false;
                return self.arguments(Bracket::Info { position, labels });
            }
            _ if functions::is_known(name) => functions::copies_matchers(name),
            _ => return Err(QueryError::unknown_function(name, position)),
        };
        self.retype(Kind::Name);
        self.arguments(Bracket::Call { copies_matchers })
    }

    /// The second argument of `info()`: nothing but matchers, which choose series to take labels from.
    fn info_labels(&mut self) -> Result<(), QueryError> {
        self.gauge.settle();
        self.advance();
        if self.peek() != Kind::LeftBrace {
            return Err(self.refused("expected matchers in braces, the second argument of info()"));
        }
        self.selector(Shape::InfoLabels)?;
        if self.peek() != Kind::RightParen {
            return Err(self.refused("expected `)` after the second argument of info()"));
        }
        if let Some(Bracket::Info { labels, .. }) = self.brackets.last_mut() {
            *labels = true;
        }
        Ok(())
    }

    /// Opens the parenthesis of arguments, of which there may be none.
    fn arguments(&mut self, bracket: Bracket) -> Result<Next, QueryError> {
        if self.peek() != Kind::LeftParen {
            return Err(self.refused("expected `(`"));
        }
        self.open(bracket)?;
        Ok(match self.peek() {
            Kind::RightParen => Next::Follower,
            _ => Next::Operand,
        })
    }

    fn open(&mut self, bracket: Bracket) -> Result<(), QueryError> {
        self.gauge.open(self.position())?;
        self.brackets.push(bracket);
        self.copying += usize::from(bracket.copies_matchers());
        self.advance();
        Ok(())
    }

    /// Closes a parenthesis of an expression.
    fn close(&mut self) -> Result<(), QueryError> {
        let Some(bracket) = self.brackets.pop() else {
            return Err(self.refused("there is no `(` for this"));
        };
        if let Bracket::Info {
            position,
            labels: false,
        } = bracket
        {
            return Err(QueryError::InfoFunction { position });
        }
        self.gauge.close();
        self.copying -= usize::from(bracket.copies_matchers());
        self.advance();
        if bracket == (Bracket::Aggregation { grouped: false }) {
            self.grouping()?;
        }
        Ok(())
    }

    fn operator(&mut self) -> Result<(), QueryError> {
        self.gauge.operator(self.position())?;
        self.gauge.settle();
        // Refused after any other operator, so that with unquoted names `bool.5` can be one there.
        let compares = self.peek() == Kind::Comparison;
        self.advance();
        if compares {
            self.accept(Kind::Bool);
        }
        if self.accept(Kind::Matching) {
            self.labels()?;
            // A parenthesis after `group_left` is always its list of labels, never the operand.
            if self.accept(Kind::Grouping) && self.peek() == Kind::LeftParen {
                self.labels()?;
            }
        }
        let other = match self.peek() {
            Kind::Fill => None,
            Kind::FillLeft => Some(Kind::FillRight),
            Kind::FillRight => Some(Kind::FillLeft),
            _ => return Ok(()),
        };
        self.advance();
        self.fill_value()?;
        if other.is_some_and(|other| self.accept(other)) {
            self.fill_value()?;
        }
        Ok(())
    }

    fn fill_value(&mut self) -> Result<(), QueryError> {
        self.expect(Kind::LeftParen, "expected `(` and a number")?;
        self.signed_number("expected a number")?;
        self.expect(Kind::RightParen, "expected `)`")
    }

    /// A list of labels in parentheses.
    fn labels(&mut self) -> Result<(), QueryError> {
        self.expect(Kind::LeftParen, "expected `(` and a list of labels")?;
        while !self.accept(Kind::RightParen) {
            match self.peek() {
                Kind::String => self.advance(),
                kind if kind.can_be_label() => self.advance(),
                _ => {
                    return Err(
                        self.refused("expected a label; quote it if it is not a plain name")
                    );
                }
            }
            if self.peek() != Kind::RightParen {
                self.expect(Kind::Comma, "expected `,` or `)`")?;
            }
        }
        Ok(())
    }
}

impl Bracket {
    fn copies_matchers(self) -> bool {
        matches!(
            self,
            Self::Call {
                copies_matchers: true
            }
        )
    }
}
