//! Ranges, offsets and `@`: the places where numbers and durations stand and selectors do not.

use super::{Bracket, Kind, Parser, QueryError, Token};

impl Parser<'_, '_> {
    pub(super) fn range(&mut self) -> Result<(), QueryError> {
        self.gauge.operator(self.position())?;
        self.open(Bracket::Range)?;
        self.duration(true)?;
        if self.accept(Kind::Colon) && self.peek() != Kind::RightBracket {
            self.duration(true)?;
        }
        self.expect(Kind::RightBracket, "expected `]`")?;
        self.brackets.pop();
        self.gauge.close();
        Ok(())
    }

    pub(super) fn offset(&mut self) -> Result<(), QueryError> {
        self.advance();
        let start = self.at;
        // Keeps the signs of the offset apart from those before the operand.
        self.gauge.open(self.position())?;
        self.duration(false)?;
        self.gauge.close();

        // From Prometheus 3.4 to 3.12, the parser panics over a number alone in parentheses with a sign before them.
        // It recovers, and writes a stack trace into its log each time.
        let value = &self.tokens[start..self.at];
        let is_computed = |token: &Token| {
            matches!(
                token.kind,
                Kind::Sign | Kind::Arithmetic | Kind::Step | Kind::Extremum
            )
        };
        if matches!(value, [sign, bracket, ..] if sign.kind == Kind::Unary && bracket.kind == Kind::LeftParen)
            && !value.iter().any(is_computed)
        {
            return Err(QueryError::syntax(
                value[0].position(),
                "write the offset without parentheses, as in `offset -5m`",
            ));
        }
        Ok(())
    }

    /// Reads a duration expression. A `whole` one has operators outside of its parentheses, too; an offset's has not,
    /// and what follows it is read as operators and operands of the query, which allows for more.
    fn duration(&mut self, whole: bool) -> Result<(), QueryError> {
        const EXPECTED: &str = "expected a number, a duration such as `5m`, `step()`, `range()`, `min_of()`, \
                                `max_of()` or `(`";
        let outside = self.brackets.len();
        let mut operand = true;
        loop {
            let kind = self.peek();
            match kind {
                Kind::Sign if operand => {
                    self.gauge.sign(self.position())?;
                    self.retype(Kind::Unary);
                }
                Kind::Number | Kind::Duration if operand => {
                    self.advance();
                    operand = false;
                }
                Kind::Step if operand => {
                    self.advance();
                    self.expect(Kind::LeftParen, "expected `()`")?;
                    self.expect(Kind::RightParen, "expected `)`")?;
                    operand = false;
                }
                Kind::Extremum if operand => {
                    self.advance();
                    if self.peek() != Kind::LeftParen {
                        return Err(self.refused("expected `(`"));
                    }
                    self.open(Bracket::Duration { arguments_left: 1 })?;
                }
                Kind::LeftParen if operand => {
                    self.open(Bracket::Duration { arguments_left: 0 })?;
                }
                _ if operand => return Err(self.refused(EXPECTED)),

                Kind::Sign | Kind::Arithmetic if whole || self.brackets.len() > outside => {
                    self.gauge.operator(self.position())?;
                    self.gauge.settle();
                    self.advance();
                    operand = true;
                }
                _ if self.brackets.len() == outside => return Ok(()),
                Kind::RightParen
                    if self.brackets.last() == Some(&Bracket::Duration { arguments_left: 0 }) =>
                {
                    self.brackets.pop();
                    self.gauge.close();
                    self.advance();
                }
                Kind::Comma => {
                    let Some(Bracket::Duration { arguments_left }) = self.brackets.last_mut()
                    else {
                        return Err(self.refused("expected `)`"));
                    };
                    let Some(left) = arguments_left.checked_sub(1) else {
                        return Err(self.refused("expected `)`"));
                    };
                    *arguments_left = left;
                    self.gauge.settle();
                    self.advance();
                    operand = true;
                }
                _ => return Err(self.refused("expected an operator, `,` or `)`")),
            }
        }
    }

    pub(super) fn at_modifier(&mut self) -> Result<(), QueryError> {
        self.advance();
        if self.accept(Kind::Boundary) {
            self.expect(Kind::LeftParen, "expected `()`")?;
            return self.expect(Kind::RightParen, "expected `)`");
        }
        self.signed_number("expected a time in seconds, `start()` or `end()`")
    }

    pub(super) fn signed_number(&mut self, expected: &'static str) -> Result<(), QueryError> {
        if self.peek() == Kind::Sign {
            self.gauge.operator(self.position())?;
            self.retype(Kind::Unary);
        }
        match self.peek() {
            Kind::Number | Kind::Duration => {
                self.advance();
                Ok(())
            }
            _ => Err(self.refused(expected)),
        }
    }
}
