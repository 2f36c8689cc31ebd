//! Where a number or a duration ends.
//!
//! The rules are those of Prometheus' lexer, which is neither the syntax of Go nor of anything else: `0x1e+5`, `1.e5`
//! and `1h30m` are one token each, whether or not they have a value. Their value is Prometheus' business.

use super::token::Kind;

/// Reads the number or duration that `bytes` start with, and returns its kind and length.
///
/// `None` when it is neither, as `5x` or `1e` at the end of the text.
pub(super) fn scan(bytes: &[u8]) -> Option<(Kind, usize)> {
    let mut scanner = Scanner { bytes, at: 0 };
    if scanner.number() {
        return Some((Kind::Number, scanner.at));
    }
    // A duration goes on where the number failed, so that `5` of `5m` counts for both.
    scanner.units().then_some((Kind::Duration, scanner.at))
}

struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn accept(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let accepted = self.peek().is_some_and(wanted);
        self.at += usize::from(accepted);
        accepted
    }

    /// Whether no letter, digit or underscore follows.
    fn ends(&self) -> bool {
        !self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn number(&mut self) -> bool {
        let mut hexadecimal = false;
        if self.accept(|byte| byte == b'0') && self.accept(|byte| matches!(byte, b'x' | b'X')) {
            hexadecimal = true;
            self.accept(|byte| byte == b'_');
        }
        let is_digit =
            move |byte: u8| byte.is_ascii_digit() || hexadecimal && byte.is_ascii_hexdigit();
        // `e` is an exponent even among hexadecimal digits, unless other digits of a run come first.
        let is_exponent = |byte: u8| matches!(byte, b'e' | b'E');
        let follows_no_sign = |byte: u8| matches!(byte, b'.' | b'_' | b'e' | b'E');

        self.accept(|byte| byte == b'.');
        self.accept(is_digit);
        let (mut dotted, mut scaled) = (false, false);
        loop {
            match self.peek() {
                Some(b'.') => {
                    self.at += 1;
                    if dotted || self.accept(|byte| matches!(byte, b'_' | b'.')) || hexadecimal {
                        return false;
                    }
                    dotted = true;
                }
                Some(byte) if is_exponent(byte) => {
                    self.at += 1;
                    if scaled {
                        return false;
                    }
                    scaled = true;
                    self.accept(|byte| matches!(byte, b'+' | b'-'));
                    if self.accept(follows_no_sign) || self.peek().is_none() {
                        return false;
                    }
                }
                Some(b'_') => {
                    self.at += 1;
                    if self.accept(follows_no_sign) || self.peek().is_none() {
                        return false;
                    }
                }
                Some(byte) if is_digit(byte) => while self.accept(is_digit) {},
                _ => return self.ends(),
            }
        }
    }

    fn units(&mut self) -> bool {
        if !self.accept(|byte| b"smhdwy".contains(&byte)) {
            return false;
        }
        self.accept(|byte| byte == b's');
        while self.accept(|byte| byte.is_ascii_digit()) {
            while self.accept(|byte| byte.is_ascii_digit()) {}
            if !self.accept(|byte| b"smhdw".contains(&byte)) {
                return false;
            }
            self.accept(|byte| byte == b's');
        }
        self.ends()
    }
}
