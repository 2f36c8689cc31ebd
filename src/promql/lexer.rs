//! Text to tokens, as Prometheus' lexer does it.

use super::token::{Kind, Token};
use super::{MatchOperator, QueryError, literal, number};

/// What a name without quotes may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameSyntax {
    /// ASCII letters, digits, underscores and colons.
    Ascii,
    /// Letters of every script, and dots after the first letter, too. This is Prometheus' feature flag
    /// `promql-unquoted-utf8-names`, and its only effect.
    Unicode,
}

/// Reads all tokens of `text`. The last one is [`Kind::End`].
pub(super) fn tokens(text: &str, names: NameSyntax) -> Result<Vec<Token>, QueryError> {
    let mut lexer = Lexer {
        text,
        names,
        bytes: text.as_bytes(),
        at: 0,
        place: Context::Expression,
    };
    // Dashboards have about one token for four bytes.
    let mut tokens = Vec::with_capacity(text.len() / 4 + 4);
    loop {
        let token = lexer.next()?;
        tokens.push(token);
        if token.kind == Kind::End {
            return Ok(tokens);
        }
    }
}

/// What the next token stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Expression,
    Braces,
    /// Brackets, before their first number. No comment may stand there.
    Range,
    /// Brackets, after their first number.
    RangeTail,
}

struct Lexer<'t> {
    text: &'t str,
    names: NameSyntax,
    bytes: &'t [u8],
    at: usize,
    place: Context,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Token, QueryError> {
        self.skip_blanks();
        let start = self.at;
        let Some(&byte) = self.bytes.get(start) else {
            return match self.place {
                Context::Expression => Ok(Token::new(Kind::End, start, start)),
                Context::Braces => Err(QueryError::syntax(start, "a closing `}` is missing")),
                Context::Range | Context::RangeTail => {
                    Err(QueryError::syntax(start, "a closing `]` is missing"))
                }
            };
        };
        let (kind, length) = match self.place {
            Context::Expression => self.in_expression(byte),
            Context::Braces => self.in_braces(byte),
            Context::Range | Context::RangeTail => self.in_range(byte),
        }?;
        self.at = start + length;
        self.place = match (kind, self.place) {
            (Kind::LeftBrace, _) => Context::Braces,
            (Kind::LeftBracket, _) => Context::Range,
            (Kind::RightBrace | Kind::RightBracket, _) => Context::Expression,
            (Kind::Number | Kind::Duration, Context::Range) => Context::RangeTail,
            (_, place) => place,
        };
        Ok(Token::new(kind, start, self.at))
    }

    fn skip_blanks(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                b'#' if self.place != Context::Range => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest
                        .iter()
                        .position(|byte| matches!(byte, b'\n' | b'\r'))
                        .unwrap_or(rest.len());
                }
                _ => return,
            }
        }
    }

    fn following(&self) -> Option<u8> {
        self.bytes.get(self.at + 1).copied()
    }

    fn in_expression(&self, byte: u8) -> Result<(Kind, usize), QueryError> {
        Ok(match (byte, self.following()) {
            (b'(', _) => (Kind::LeftParen, 1),
            (b')', _) => (Kind::RightParen, 1),
            (b'{', _) => (Kind::LeftBrace, 1),
            (b'[', _) => (Kind::LeftBracket, 1),
            (b',', _) => (Kind::Comma, 1),
            (b'@', _) => (Kind::At, 1),
            (b'+' | b'-', _) => (Kind::Sign, 1),
            (b'*' | b'/' | b'%' | b'^', _) => (Kind::Arithmetic, 1),
            (b'=' | b'!', Some(b'=')) | (b'<' | b'>', Some(b'=' | b'/')) => (Kind::Comparison, 2),
            (b'<' | b'>', _) => (Kind::Comparison, 1),
            (b'"' | b'\'' | b'`', _) => (Kind::String, literal::scan(self.text, self.at)?),
            (b'0'..=b'9', _) | (b'.', Some(b'0'..=b'9')) => self.number()?,
            (b'=', _) => return Err(self.refused("write `==` to compare")),
            (b'!', _) => return Err(self.refused("write `!=` to compare")),
            (b':', _) => self.word(),
            _ if self.name_starts(self.at) => self.word(),
            _ => return Err(self.refused("this character has no meaning here")),
        })
    }

    fn in_braces(&self, byte: u8) -> Result<(Kind, usize), QueryError> {
        Ok(match (byte, self.following()) {
            (b'}', _) => (Kind::RightBrace, 1),
            (b',', _) => (Kind::Comma, 1),
            (b'=', Some(b'~')) => (Kind::Match(MatchOperator::Regex), 2),
            (b'=', _) => (Kind::Match(MatchOperator::Equal), 1),
            (b'!', Some(b'=')) => (Kind::Match(MatchOperator::NotEqual), 2),
            (b'!', Some(b'~')) => (Kind::Match(MatchOperator::NotRegex), 2),
            (b'"' | b'\'' | b'`', _) => (Kind::String, literal::scan(self.text, self.at)?),
            _ if self.name_starts(self.at) => (Kind::Label, self.name_length(false)),
            _ => return Err(self.refused("expected a label, a matcher or `}`")),
        })
    }

    fn in_range(&self, byte: u8) -> Result<(Kind, usize), QueryError> {
        Ok(match (byte, self.following()) {
            (b']', _) => (Kind::RightBracket, 1),
            (b':', _) => (Kind::Colon, 1),
            (b',', _) => (Kind::Comma, 1),
            (b'(', _) => (Kind::LeftParen, 1),
            (b')', _) => (Kind::RightParen, 1),
            (b'+' | b'-', _) => (Kind::Sign, 1),
            (b'*' | b'/' | b'%' | b'^', _) => (Kind::Arithmetic, 1),
            (b'0'..=b'9', _) | (b'.', Some(b'0'..=b'9')) => self.number()?,
            _ => {
                let rest = &self.bytes[self.at..];
                let length = rest
                    .iter()
                    .position(|&byte| !byte.is_ascii_alphabetic() && byte != b'_')
                    .unwrap_or(rest.len());
                match Kind::of_word(&self.text[self.at..self.at + length]) {
                    kind @ (Kind::Step | Kind::Extremum) => (kind, length),
                    _ => return Err(self.refused("expected a duration, such as `5m`, or `]`")),
                }
            }
        })
    }

    fn number(&self) -> Result<(Kind, usize), QueryError> {
        number::scan(&self.text[self.at..]).map_err(|reason| self.refused(reason))
    }

    fn word(&self) -> (Kind, usize) {
        let length = self.name_length(true);
        let end = self.at + length;
        let kind = match Kind::of_word(&self.text[self.at..end]) {
            // A comment between the two makes it an identifier, too: Prometheus looks past blanks only.
            Kind::Fill | Kind::FillLeft | Kind::FillRight if !self.parenthesis_follows(end) => {
                Kind::Identifier
            }
            kind => kind,
        };
        (kind, length)
    }

    fn parenthesis_follows(&self, end: usize) -> bool {
        self.bytes[end..]
            .iter()
            .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            == Some(&b'(')
    }

    fn name_starts(&self, at: usize) -> bool {
        match self.bytes[at] {
            byte if byte.is_ascii() => byte.is_ascii_alphabetic() || byte == b'_',
            // Wider than Go's notion of a letter. Prometheus refuses what is not a letter to it.
            _ => {
                self.names == NameSyntax::Unicode
                    && (self.text[at..].chars().next()).is_some_and(char::is_alphabetic)
            }
        }
    }

    /// Length of the name that starts here.
    fn name_length(&self, colons: bool) -> usize {
        let mut end = self.at;
        loop {
            match self.bytes.get(end) {
                Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_') => end += 1,
                Some(b':') if colons => end += 1,
                Some(b'.') if self.names == NameSyntax::Unicode && end > self.at => end += 1,
                Some(byte) if !byte.is_ascii() && self.name_starts(end) => {
                    end += self.text[end..].chars().next().map_or(0, char::len_utf8);
                }
                _ => return end - self.at,
            }
        }
    }

    fn refused(&self, reason: &'static str) -> QueryError {
        QueryError::syntax(self.at, reason)
    }
}
