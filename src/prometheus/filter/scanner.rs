//! A strict, incremental JSON scanner (RFC 8259).
//!
//! It cuts a document that arrives in chunks into pieces whose bytes, joined, are the input. The caller says
//! before each value whether to look into it; a value that is not looked into is checked just as strictly
//! but comes as raw fragments, which is what makes large answers cheap. It decodes nothing and holds no
//! byte of the input.

use super::FilterError;
use super::lexeme::{Continuation, Number, is_blank, plain_length, sequence};

/// How deep containers may be nested. Prometheus' deepest answer needs ten levels. The kinds of the open
/// containers are the bits of one word, hence the number.
pub const MAX_DEPTH: u32 = u64::BITS;

/// A run of bytes of the input and what it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) part: Part,
    pub(super) bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Blank,
    Colon,
    Comma,
    /// The opening bracket of a container that is looked into.
    Open(Container),
    /// The closing bracket of a container that is looked into.
    Close,
    /// A fragment of a key, quotes included. The last fragment is `complete`.
    Key {
        complete: bool,
    },
    /// A fragment of a value that is not looked into. The last one is `complete`, and empty when just the
    /// byte after it tells that it has ended (a number).
    Value {
        complete: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Object,
    Array,
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    FirstElement,
    FirstKey,
    Key,
    Colon,
    /// After a value: a comma, a closing bracket, or the end of the document.
    After,
    Text,
    Escape,
    /// So many hexadecimal digits of `\uXXXX`.
    Hex(u8),
    Sequence(Continuation),
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Literal(&'static [u8]),
}

/// What is given in fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Key,
    Value,
}

#[derive(Debug)]
pub(super) struct Scanner {
    state: State,
    /// How many containers are open.
    depth: u32,
    /// One bit for each open container, the innermost lowest; set for an object.
    objects: u64,
    /// What has begun and is given in fragments, and the depth at which it began.
    inside: Option<Inside>,
    base: u32,
    /// Whether the string that is being read is a key.
    key: bool,
    offset: u64,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Value,
            depth: 0,
            objects: 0,
            inside: None,
            base: 0,
            key: false,
            offset: 0,
        }
    }

    /// Whether the innermost open container is an array.
    pub(super) fn in_array(&self) -> bool {
        self.depth > 0 && !self.in_object()
    }

    /// How many containers are open, those inside of a value that is not looked into included.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether exactly one whole document has been read.
    pub(super) fn is_complete(&self) -> bool {
        self.depth == 0 && self.state == State::After
    }

    /// Takes the next piece off `input`; `None` when `input` is empty. With `descend`, the next value is
    /// looked into if it is a container.
    pub(super) fn piece<'a>(
        &mut self,
        input: &mut &'a [u8],
        descend: bool,
    ) -> Result<Option<Piece<'a>>, FilterError> {
        let Some(&byte) = input.first() else {
            return Ok(None);
        };
        if let Some(inside) = self.inside {
            return self.fragment(inside, input).map(Some);
        }
        let mut length = 1;
        let part = match (self.state, byte) {
            (_, b' ' | b'\t' | b'\n' | b'\r') => {
                length = input.iter().take_while(|byte| is_blank(**byte)).count();
                Part::Blank
            }
            (State::Value | State::FirstElement, b'{') if descend => {
                self.open(Container::Object)?;
                Part::Open(Container::Object)
            }
            (State::Value | State::FirstElement, b'[') if descend => {
                self.open(Container::Array)?;
                Part::Open(Container::Array)
            }
            (State::FirstElement, b']') | (State::FirstKey, b'}') | (State::After, b']' | b'}') => {
                self.close(byte, 0)?;
                Part::Close
            }
            (State::Value | State::FirstElement, _) => {
                self.base = self.depth;
                return self.fragment(Inside::Value, input).map(Some);
            }
            (State::Key | State::FirstKey, b'"') => {
                self.base = self.depth;
                return self.fragment(Inside::Key, input).map(Some);
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                Part::Colon
            }
            (State::After, b',') if self.depth > 0 => {
                self.next_member();
                Part::Comma
            }
            _ => return Err(self.syntax(0)),
        };
        let (bytes, rest) = input.split_at(length);
        *input = rest;
        self.offset += length as u64;
        Ok(Some(Piece { part, bytes }))
    }

    fn fragment<'a>(
        &mut self,
        inside: Inside,
        input: &mut &'a [u8],
    ) -> Result<Piece<'a>, FilterError> {
        let length = self.run(input)?;
        let (bytes, rest) = input.split_at(length);
        *input = rest;
        self.offset += length as u64;
        let complete = self.depth == self.base && matches!(self.state, State::After | State::Colon);
        self.inside = (!complete).then_some(inside);
        let part = match inside {
            Inside::Key => Part::Key { complete },
            Inside::Value => Part::Value { complete },
        };
        Ok(Piece { part, bytes })
    }

    /// Reads up to the end of the key or value that began at `base`, or of `input`. Answers how many bytes
    /// it took.
    fn run(&mut self, input: &[u8]) -> Result<usize, FilterError> {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            match self.state {
                State::Text => {
                    at += plain_length(&input[at..]);
                    let Some(&byte) = input.get(at) else { break };
                    self.state = match byte {
                        b'"' if self.key => State::Colon,
                        b'"' => State::After,
                        b'\\' => State::Escape,
                        _ => State::Sequence(sequence(byte).ok_or_else(|| self.syntax(at))?),
                    };
                    at += 1;
                    if byte == b'"' && self.depth == self.base {
                        return Ok(at);
                    }
                    continue;
                }
                State::Number(number) => {
                    let (next, length) = number.extend(&input[at..]);
                    at += length;
                    self.state = State::Number(next);
                    if at == input.len() {
                        break;
                    }
                    if !next.may_end() {
                        return Err(self.syntax(at));
                    }
                    self.state = State::After;
                    if self.depth == self.base {
                        return Ok(at);
                    }
                    continue;
                }
                State::After => match byte {
                    b',' if self.depth > self.base => self.next_member(),
                    b']' | b'}' if self.depth > self.base => {
                        self.close(byte, at)?;
                        if self.depth == self.base {
                            return Ok(at + 1);
                        }
                    }
                    _ if is_blank(byte) => {}
                    _ => return Err(self.syntax(at)),
                },
                State::FirstElement if byte == b']' => {
                    self.close(byte, at)?;
                    if self.depth == self.base {
                        return Ok(at + 1);
                    }
                }
                State::Value | State::FirstElement => match byte {
                    b'"' => {
                        self.key = false;
                        self.state = State::Text;
                    }
                    b'-' => self.state = State::Number(Number::Minus),
                    b'0' => self.state = State::Number(Number::Zero),
                    b'1'..=b'9' => self.state = State::Number(Number::Integer),
                    b'{' => self.open(Container::Object)?,
                    b'[' => self.open(Container::Array)?,
                    b't' => self.state = State::Literal(b"rue"),
                    b'f' => self.state = State::Literal(b"alse"),
                    b'n' => self.state = State::Literal(b"ull"),
                    _ if is_blank(byte) => {}
                    _ => return Err(self.syntax(at)),
                },
                State::FirstKey if byte == b'}' => {
                    self.close(byte, at)?;
                    if self.depth == self.base {
                        return Ok(at + 1);
                    }
                }
                State::Key | State::FirstKey => match byte {
                    b'"' => {
                        self.key = true;
                        self.state = State::Text;
                    }
                    _ if is_blank(byte) => {}
                    _ => return Err(self.syntax(at)),
                },
                State::Colon => match byte {
                    b':' => self.state = State::Value,
                    _ if is_blank(byte) => {}
                    _ => return Err(self.syntax(at)),
                },
                State::Escape => {
                    self.state = match byte {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text,
                        b'u' => State::Hex(4),
                        _ => return Err(self.syntax(at)),
                    }
                }
                State::Hex(remaining) => {
                    if !byte.is_ascii_hexdigit() {
                        return Err(self.syntax(at));
                    }
                    self.state = match remaining {
                        1 => State::Text,
                        _ => State::Hex(remaining - 1),
                    }
                }
                State::Sequence(continuation) => {
                    self.state = match continuation.next(byte) {
                        Ok(Some(rest)) => State::Sequence(rest),
                        Ok(None) => State::Text,
                        Err(()) => return Err(self.syntax(at)),
                    }
                }
                State::Literal(rest) => match rest.split_first() {
                    Some((&expected, rest)) if byte == expected => {
                        self.state = State::Literal(rest);
                        if rest.is_empty() {
                            self.state = State::After;
                            if self.depth == self.base {
                                return Ok(at + 1);
                            }
                        }
                    }
                    _ => return Err(self.syntax(at)),
                },
            }
            at += 1;
        }
        Ok(input.len())
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn next_member(&mut self) {
        self.state = if self.in_object() {
            State::Key
        } else {
            State::Value
        };
    }

    fn open(&mut self, container: Container) -> Result<(), FilterError> {
        if self.depth == MAX_DEPTH {
            return Err(FilterError::TooDeep);
        }
        self.depth += 1;
        (self.objects, self.state) = match container {
            Container::Object => (self.objects << 1 | 1, State::FirstKey),
            Container::Array => (self.objects << 1, State::FirstElement),
        };
        Ok(())
    }

    fn close(&mut self, bracket: u8, at: usize) -> Result<(), FilterError> {
        let expected = if self.in_object() { b'}' } else { b']' };
        if self.depth == 0 || bracket != expected {
            return Err(self.syntax(at));
        }
        self.depth -= 1;
        self.objects >>= 1;
        self.state = State::After;
        Ok(())
    }

    fn syntax(&self, at: usize) -> FilterError {
        FilterError::Syntax {
            offset: self.offset + at as u64,
        }
    }
}
