//! Questions about a regular expression, answered without compiling it.
//!
//! Prometheus anchors a pattern at both ends, has `.` match newlines, and reads it as RE2 with Perl's classes.

mod reader;
mod size;

use std::borrow::Cow;

use reader::Reader;
pub(super) use size::size;

/// The literals of a plain alternation: `a|b`, `(a|b)`, `(?:a|b)`, with or without `^` and `$` around the whole or a
/// part. `None` for any other pattern.
pub(super) fn alternatives(pattern: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let mut body = without_anchors(pattern);
    if let Some(group) = body.strip_suffix(b")") {
        body = group
            .strip_prefix(b"(?:")
            .or_else(|| group.strip_prefix(b"("))?;
    }
    body.split(|&byte| byte == b'|')
        .map(|part| literal(without_anchors(part)))
        .collect()
}

/// The whole is anchored, so that `^` at its start and `$` at its end say nothing.
fn without_anchors(mut pattern: &[u8]) -> &[u8] {
    while let Some(rest) = pattern.strip_prefix(b"^") {
        pattern = rest;
    }
    while let Some(rest) = pattern.strip_suffix(b"$")
        && !rest.ends_with(b"\\")
    {
        pattern = rest;
    }
    pattern
}

/// The literal text of `part`, if it is one. Only escapes of punctuation are understood.
fn literal(part: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !part.iter().any(is_special) {
        return Some(Cow::Borrowed(part));
    }
    let mut literal = Vec::with_capacity(part.len());
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        let meant = match byte {
            b'\\' => bytes.next().filter(|byte| byte.is_ascii_punctuation())?,
            byte if is_special(byte) => return None,
            byte => byte,
        };
        literal.push(*meant);
    }
    Some(Cow::Owned(literal))
}

/// A pattern that matches `text` only.
pub(super) fn exactly(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if u8::try_from(character).is_ok_and(|byte| is_special(&byte)) {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

fn is_special(byte: &u8) -> bool {
    b"\\.+*?()|[]{}^$".contains(byte)
}

/// Whether `pattern` matches the empty string. `None` when it is not a pattern, or one that is not understood.
///
/// Reads the pattern once from left to right. What matters of each part is only whether it can be empty.
pub(super) fn matches_empty(pattern: &[u8]) -> Option<bool> {
    if str::from_utf8(pattern).is_err() {
        // Such bytes are not a pattern, but Prometheus compares an alternation of literals without asking for one.
        let mut parts = pattern.split(|&byte| byte == b'|');
        let is_literal = !pattern.iter().any(|byte| *byte != b'|' && is_special(byte));
        return is_literal.then(|| parts.any(<[u8]>::is_empty));
    }
    let mut reader = Reader::new(pattern);
    let mut outer = Vec::new();
    let mut group = Group::default();
    while let Some(byte) = reader.next() {
        group.atom = match byte {
            b'(' => {
                if reader.group_opens()? {
                    outer.push(group.settled());
                    group = Group::default();
                }
                continue;
            }
            b')' => {
                let inner = group.settled();
                group = outer.pop()?;
                Some(inner.any || inner.all)
            }
            b'|' => {
                let done = group.settled();
                group = Group {
                    any: done.any || done.all,
                    ..Group::default()
                };
                continue;
            }
            b'*' | b'?' | b'+' => {
                let atom = group.atom?;
                reader.lazy();
                Some(atom || byte != b'+')
            }
            b'{' => match reader.repetition() {
                Some((minimum, _)) => {
                    let atom = group.atom?;
                    reader.lazy();
                    Some(atom || minimum == 0)
                }
                None => group.follow(false),
            },
            b'^' | b'$' => group.follow(true),
            b'[' => {
                reader.class()?;
                group.follow(false)
            }
            b'\\' => match reader.next()? {
                // Between \Q and \E all is literal. A repetition after that applies to the last character.
                b'Q' => match reader.quoted() {
                    0 => continue,
                    1 => group.follow(false),
                    _ => {
                        group.follow(false);
                        group.follow(false)
                    }
                },
                escape => {
                    let empty = reader.escape(escape)?;
                    group.follow(empty)
                }
            },
            byte if byte.is_ascii() => group.follow(false),
            _ => {
                reader.character();
                group.follow(false)
            }
        };
    }
    let whole = group.settled();
    outer.is_empty().then_some(whole.any || whole.all)
}

/// What is known of an open group.
#[derive(Clone, Copy)]
struct Group {
    /// One of the alternatives before this one can be empty.
    any: bool,
    /// All parts of this alternative but the last can be empty.
    all: bool,
    /// Whether the last part, to which a repetition would apply, can be empty.
    atom: Option<bool>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            any: false,
            all: true,
            atom: None,
        }
    }
}

impl Group {
    /// The last part is complete.
    fn settled(mut self) -> Self {
        self.all &= self.atom.take().unwrap_or(true);
        self
    }

    /// The last part is complete and another one follows.
    fn follow(&mut self, empty: bool) -> Option<bool> {
        *self = self.settled();
        self.atom = Some(empty);
        self.atom
    }
}
