//! String literals: where they end, what they say, and how they are written.

use std::borrow::Cow;

use super::QueryError;

/// Length of the literal whose opening quote is at `start`. Every escape of it is valid.
pub(super) fn scan(text: &str, start: usize) -> Result<usize, QueryError> {
    let bytes = text.as_bytes();
    let quote = bytes[start];
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None => return Err(QueryError::syntax(start, "the closing quote is missing")),
            Some(&byte) if byte == quote => return Ok(at + 1 - start),
            Some(b'\n') if quote != b'`' => {
                return Err(QueryError::syntax(
                    at,
                    "a string ends on its line; write `\\n`",
                ));
            }
            Some(b'\\') if quote != b'`' => {
                let (_, length) = escape(&bytes[at + 1..], quote).ok_or_else(|| {
                    QueryError::syntax(at, "unknown escape; write `\\\\` for a backslash")
                })?;
                at += 1 + length;
            }
            // Prometheus takes this character for a byte that is not UTF-8.
            Some(0xef) if text[at..].starts_with(char::REPLACEMENT_CHARACTER) => {
                return Err(QueryError::syntax(at, "write `\\ufffd` for this character"));
            }
            Some(_) => at += 1,
        }
    }
}

/// The value of a whole `literal`, which was scanned before.
pub(super) fn value(literal: &str) -> Cow<'_, [u8]> {
    let bytes = literal.as_bytes();
    let (quote, body) = (bytes[0], &bytes[1..bytes.len() - 1]);
    if quote == b'`' || !body.contains(&b'\\') {
        return Cow::Borrowed(body);
    }
    let mut value = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            value.push(byte);
        } else if let Some((escaped, length)) = escape(tail, quote) {
            match escaped {
                Escaped::Byte(byte) => value.push(byte),
                Escaped::Character(character) => {
                    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            rest = &tail[length..];
        }
    }
    Cow::Owned(value)
}

enum Escaped {
    Byte(u8),
    Character(char),
}

/// Reads the escape after a backslash, and returns what it means and its length. `None` for an invalid one.
fn escape(bytes: &[u8], quote: u8) -> Option<(Escaped, usize)> {
    let digits = |start: usize, count: usize, radix: u32| {
        bytes
            .get(start..start + count)?
            .iter()
            .try_fold(0_u32, |value, &byte| {
                Some(value * radix + char::from(byte).to_digit(radix)?)
            })
    };
    let byte = match *bytes.first()? {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' => b'\\',
        byte if byte == quote => quote,
        b'0'..=b'7' => {
            return Some((Escaped::Byte(u8::try_from(digits(0, 3, 8)?).ok()?), 3));
        }
        b'x' => return Some((Escaped::Byte(u8::try_from(digits(1, 2, 16)?).ok()?), 3)),
        b'u' => {
            return Some((Escaped::Character(char::from_u32(digits(1, 4, 16)?)?), 5));
        }
        b'U' => {
            return Some((Escaped::Character(char::from_u32(digits(1, 8, 16)?)?), 9));
        }
        _ => return None,
    };
    Some((Escaped::Byte(byte), 1))
}

/// Appends a literal with the value of `literal`, which was scanned before.
pub(super) fn rewrite(out: &mut String, literal: &str) {
    let body = &literal[1..literal.len() - 1];
    // Nearly all literals are like this.
    if body
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
    {
        out.push('"');
        out.push_str(body);
        out.push('"');
    } else {
        write(out, &value(literal));
    }
}

/// Appends a literal for `value`, in double quotes.
pub(super) fn write(out: &mut String, value: &[u8]) {
    out.push('"');
    for chunk in value.utf8_chunks() {
        let valid = chunk.valid();
        let mut written = 0;
        for (at, byte) in valid.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0x00..=0x1f | 0x7f => {
                    out.push_str(&valid[written..at]);
                    written = at + 1;
                    write_byte(out, byte);
                    continue;
                }
                0xef if valid[at..].starts_with(char::REPLACEMENT_CHARACTER) => {
                    out.push_str(&valid[written..at]);
                    written = at + char::REPLACEMENT_CHARACTER.len_utf8();
                    out.push_str("\\ufffd");
                    continue;
                }
                _ => continue,
            };
            out.push_str(&valid[written..at]);
            written = at + 1;
            out.push_str(escape);
        }
        out.push_str(&valid[written..]);
        for &byte in chunk.invalid() {
            write_byte(out, byte);
        }
    }
    out.push('"');
}

fn write_byte(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push_str("\\x");
    out.push(DIGITS[usize::from(byte >> 4)].into());
    out.push(DIGITS[usize::from(byte & 0xf)].into());
}
