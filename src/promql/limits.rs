//! How long, how nested and how chained a query may be.
//!
//! [`measure`] applies the limits without the grammar, for text that goes on unchanged.

use super::{QueryError, literal, pattern};

/// Bounds of a query. A text past one of them is refused, before or while it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the query's text. Default 131072.
    pub max_bytes: usize,
    /// Open parentheses and brackets, together with the signs that wait for their operand (`-(-(-x))` is five deep).
    /// Default 200.
    pub max_depth: usize,
    /// Binary operators, signs and ranges of the whole query. Each may be one more level of Prometheus' tree, and its
    /// type check takes time quadratic in the height of that tree. Default 1000.
    pub max_operators: usize,
    /// Vector selectors of the whole query. Default 500.
    pub max_selectors: usize,
    /// Size of all regular expressions of the query, in characters, counting what is repeated (`[a-z]{9}`) as often as
    /// it is. Prometheus compiles them while it parses: unlimited, 30 KB of the worst take 20 s. Default 131072, which
    /// is no limit without repetitions, and which the worst reach in 2 s.
    pub max_pattern_size: usize,
    /// Bytes of the restricted text. The default, 3 MiB, is below the 10 MiB at which Prometheus ignores a form, even
    /// if each byte is encoded as three.
    pub max_output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 128 * 1024,
            max_depth: 200,
            max_operators: 1000,
            max_selectors: 500,
            max_pattern_size: 128 * 1024,
            max_output_bytes: 3 * 1024 * 1024,
        }
    }
}

/// Applies the limits on bytes, nesting, operators and patterns to a text that is forwarded as it is.
///
/// Nothing else is checked: a text that is not PromQL passes, and Prometheus refuses it. What is counted is never less
/// than what Prometheus' parser would see, as strings and comments are told apart in its way, and reading goes on
/// after what its lexer would stop at.
///
/// # Errors
///
/// [`QueryError::TooLong`], [`QueryError::TooDeep`], [`QueryError::TooManyOperators`] or
/// [`QueryError::PatternsTooLarge`].
pub fn measure(text: &str, limits: &Limits) -> Result<(), QueryError> {
    QueryError::check_length(text, limits)?;
    let bytes = text.as_bytes();
    let mut gauge = Gauge::new(limits);
    let mut in_braces = false;
    let mut after_operand = false;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {}
            b'#' => at += length_until(&bytes[at..], |byte| matches!(byte, b'\n' | b'\r')),
            b'"' | b'\'' | b'`' => {
                // Whether it is a regular expression is unknown here. An invalid string is none.
                match literal::scan(text, start) {
                    Ok(length) => {
                        at = start + length;
                        gauge.pattern(&literal::value(&text[start..at]), start)?;
                    }
                    Err(_) => at += string_length(&bytes[at..], byte),
                }
                after_operand = true;
            }
            b'(' | b'[' => {
                if byte == b'[' {
                    gauge.operator(start)?;
                }
                gauge.open(start)?;
                after_operand = false;
            }
            b')' | b']' => {
                gauge.close();
                after_operand = true;
            }
            // They do not nest.
            b'{' | b'}' => {
                in_braces = byte == b'{';
                after_operand = !in_braces;
            }
            b',' => {
                gauge.settle();
                after_operand = false;
            }
            b'+' | b'-' if !after_operand => gauge.sign(start)?,
            b'=' | b'!' | b'<' | b'>' if in_braces => {}
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'=' | b'!' | b'<' | b'>' => {
                if matches!(byte, b'=' | b'!' | b'<' | b'>')
                    && matches!(bytes.get(at), Some(b'=' | b'/' | b'~'))
                {
                    at += 1;
                }
                gauge.operator(start)?;
                gauge.settle();
                after_operand = false;
            }
            _ if is_word(byte) => {
                at += length_until(&bytes[at..], |byte| !is_word(byte));
                after_operand = !is_operator(&bytes[start..at]);
                if !after_operand {
                    gauge.operator(start)?;
                    gauge.settle();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_operator(word: &[u8]) -> bool {
    let is = |operator: &[u8]| word.eq_ignore_ascii_case(operator);
    match word.len() {
        2 => is(b"or"),
        3 => is(b"and"),
        5 => is(b"atan2"),
        6 => is(b"unless"),
        _ => false,
    }
}

fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

static WORD: [bool; 256] = {
    let mut word = [false; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        word[index] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':') || !byte.is_ascii();
        index += 1;
    }
    word
};

fn length_until(bytes: &[u8], ends: impl Fn(u8) -> bool) -> usize {
    bytes
        .iter()
        .position(|&byte| ends(byte))
        .unwrap_or(bytes.len())
}

/// Length of a string after its opening `quote`, with the closing one. An unclosed string takes the rest.
fn string_length(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if byte == quote {
            break;
        }
        if byte == b'\\' && quote != b'`' {
            at += 1;
        }
    }
    at.min(bytes.len())
}

/// Counts the height that a query's tree can have.
#[derive(Debug)]
pub(super) struct Gauge {
    max_depth: usize,
    max_operators: usize,
    max_pattern_size: usize,
    operators: usize,
    pattern_size: usize,
    depth: usize,
    /// Signs of the innermost open bracket that wait for their operand to end.
    signs: usize,
    /// The same of the brackets around it.
    outer: Vec<usize>,
}

impl Gauge {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_depth: limits.max_depth,
            max_operators: limits.max_operators,
            max_pattern_size: limits.max_pattern_size,
            operators: 0,
            pattern_size: 0,
            depth: 0,
            signs: 0,
            outer: Vec::new(),
        }
    }

    pub(super) fn open(&mut self, position: usize) -> Result<(), QueryError> {
        self.descend(position)?;
        self.outer.push(std::mem::take(&mut self.signs));
        Ok(())
    }

    /// Closes the innermost bracket. Without an open one, nothing happens.
    pub(super) fn close(&mut self) {
        if let Some(signs) = self.outer.pop() {
            self.settle();
            self.depth -= 1;
            self.signs = signs;
        }
    }

    pub(super) fn sign(&mut self, position: usize) -> Result<(), QueryError> {
        self.operator(position)?;
        self.descend(position)?;
        self.signs += 1;
        Ok(())
    }

    /// The operand that the signs of this bracket stand before has ended.
    pub(super) fn settle(&mut self) {
        self.depth -= std::mem::take(&mut self.signs);
    }

    pub(super) fn operator(&mut self, position: usize) -> Result<(), QueryError> {
        if self.operators == self.max_operators {
            return Err(QueryError::TooManyOperators {
                limit: self.max_operators,
                position,
            });
        }
        self.operators += 1;
        Ok(())
    }

    /// A regular expression, or what may be one.
    pub(super) fn pattern(&mut self, value: &[u8], position: usize) -> Result<(), QueryError> {
        self.pattern_size = self.pattern_size.saturating_add(pattern::size(value));
        if self.pattern_size > self.max_pattern_size {
            return Err(QueryError::PatternsTooLarge {
                limit: self.max_pattern_size,
                position,
            });
        }
        Ok(())
    }

    fn descend(&mut self, position: usize) -> Result<(), QueryError> {
        if self.depth == self.max_depth {
            return Err(QueryError::TooDeep {
                limit: self.max_depth,
                position,
            });
        }
        self.depth += 1;
        Ok(())
    }
}
