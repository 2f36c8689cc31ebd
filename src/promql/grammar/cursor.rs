//! Steps over the tokens.

use super::{Kind, Parser, QueryError};

impl<'t> Parser<'t, '_> {
    pub(super) fn peek(&self) -> Kind {
        self.kind_at(self.at)
    }

    pub(super) fn peek_second(&self) -> Kind {
        self.kind_at(self.at + 1)
    }

    pub(super) fn kind_at(&self, at: usize) -> Kind {
        self.tokens.get(at).map_or(Kind::End, |token| token.kind)
    }

    /// The text of the next token.
    pub(super) fn word(&self) -> &'t str {
        self.tokens
            .get(self.at)
            .map_or("", |token| token.text(self.text))
    }

    pub(super) fn position(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.text.len(), |token| token.position())
    }

    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// Takes the next token as a `kind`, now that its meaning is known.
    pub(super) fn retype(&mut self, kind: Kind) {
        self.tokens[self.at].kind = kind;
        self.advance();
    }

    pub(super) fn accept(&mut self, kind: Kind) -> bool {
        let accepted = self.peek() == kind;
        self.at += usize::from(accepted);
        accepted
    }

    pub(super) fn expect(&mut self, kind: Kind, reason: &'static str) -> Result<(), QueryError> {
        if self.accept(kind) {
            Ok(())
        } else {
            Err(self.refused(reason))
        }
    }

    pub(super) fn refused(&self, reason: &'static str) -> QueryError {
        QueryError::syntax(self.position(), reason)
    }
}
