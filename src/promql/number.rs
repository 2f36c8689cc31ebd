//! Numbers and durations: where they end, what they are worth, and how they are written.
//!
//! Releases of Prometheus do not agree where a number ends: `0x1e+decade` is one invalid number since 2.54, and a sum
//! with the series `decade` before. So what has no value is refused here, and what has one is written in a spelling
//! that ends in the same place for all of them.

use super::token::Kind;

const NEITHER: &str = "this is neither a number nor a duration such as `1h30m`";
const SIGNED: &str = "write a space after a hexadecimal number";
const TOO_LARGE: &str = "this number or duration is too large";

/// Reads the number or duration that `text` starts with, and returns its kind and length. It has a value. The error
/// is a reason for the caller.
///
/// Where it ends is decided as by the newest lexer, which takes the longest piece of text for one number.
pub(super) fn scan(text: &str) -> Result<(Kind, usize), &'static str> {
    let mut scanner = Scanner {
        bytes: text.as_bytes(),
        at: 0,
    };
    if scanner.number() {
        value(&text[..scanner.at])?;
        return Ok((Kind::Number, scanner.at));
    }
    // A duration goes on where the number failed, so that `5` of `5m` counts for both.
    if !scanner.units() {
        return Err(NEITHER);
    }
    check_duration(&text[..scanner.at])?;
    Ok((Kind::Duration, scanner.at))
}

/// Appends the number `text`, which was scanned before or is the word `inf` or `nan`.
pub(super) fn rewrite(out: &mut String, text: &str) {
    if is_plain(text) {
        return out.push_str(text);
    }
    match value(text) {
        Ok(value) => write(out, value),
        // A word, which is one token everywhere.
        Err(_) => out.push_str(text),
    }
}

/// Appends a number that is read as `value` again, to the bit.
fn write(out: &mut String, value: f64) {
    use std::fmt::Write as _;

    let written = if value == 0.0 || (1e-6..1e15).contains(&value) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
    // A string takes all.
    debug_assert!(written.is_ok());
}

/// Whether this is a decimal number as anybody would write it: `12`, `0.5`, `1.5e-3`. All lexers agree about these.
fn is_plain(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent.strip_prefix(['+', '-']).unwrap_or(exponent),
        ),
        None => (text, "0"),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    // `010` is octal, and eight.
    let has_prefix = whole.len() > 1 && whole.starts_with('0');
    is_digits(whole) && is_digits(fraction) && is_digits(exponent) && !has_prefix
}

/// What Go's `strconv.ParseInt(text, 0, 64)` makes of it, and `strconv.ParseFloat` where that fails.
fn value(text: &str) -> Result<f64, &'static str> {
    if is_plain(text) {
        return decimal(text);
    }
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let is_digit =
        |byte: u8| byte.is_ascii_digit() || hexadecimal.is_some() && byte.is_ascii_hexdigit();
    let digits = hexadecimal.unwrap_or(text);
    let bytes = digits.as_bytes();
    for (at, &byte) in bytes.iter().enumerate() {
        // Between two digits, or between the prefix and a digit.
        let before = at
            .checked_sub(1)
            .map_or(hexadecimal.is_some(), |at| is_digit(bytes[at]));
        if byte == b'_' && !(before && bytes.get(at + 1).copied().is_some_and(is_digit)) {
            return Err(NEITHER);
        }
    }
    let digits = digits.replace('_', "");
    let integer = |radix: u32| i64::from_str_radix(&digits, radix).map(|value| value as f64);
    if hexadecimal.is_some() {
        if digits.is_empty() || !digits.bytes().all(is_digit) {
            let is_signed = digits.contains(['+', '-']);
            return Err(if is_signed { SIGNED } else { NEITHER });
        }
        return integer(16).map_err(|_| TOO_LARGE);
    }
    if digits.starts_with('0')
        && let Ok(octal) = integer(8)
    {
        return Ok(octal);
    }
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Err(NEITHER);
    }
    decimal(&digits)
}

fn decimal(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(TOO_LARGE),
        Err(_) => Err(NEITHER),
    }
}

/// Whether the units of a duration are in their order, each once, and its nanoseconds fit into 63 bits. What passes
/// has one spelling for all lexers.
fn check_duration(text: &str) -> Result<(), &'static str> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    const MOST: u64 = i64::MAX as u64 / 1_000_000;
    let mut units = UNITS.iter();
    let mut milliseconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let split = |text: &'_ str, is_end: fn(&u8) -> bool| {
            text.bytes()
                .position(|byte| is_end(&byte))
                .unwrap_or(text.len())
        };
        let (number, tail) = rest.split_at(split(rest, |byte| !byte.is_ascii_digit()));
        let (unit, tail) = tail.split_at(split(tail, u8::is_ascii_digit));
        let &(_, factor) = units.find(|(name, _)| *name == unit).ok_or(NEITHER)?;
        if number.is_empty() {
            return Err(NEITHER);
        }
        milliseconds = (number.parse::<u64>().ok())
            .and_then(|number| number.checked_mul(factor)?.checked_add(milliseconds))
            .filter(|sum| *sum <= MOST)
            .ok_or(TOO_LARGE)?;
        rest = tail;
    }
    Ok(())
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
