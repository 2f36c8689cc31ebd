//! Where the body of an answer ends (RFC 9112, 6 and 7.1).

use bytes::{Buf, Bytes, BytesMut};

use super::Error;

/// The longest line of a chunk's size with its extensions, in bytes. Nobody uses extensions.
const MAX_SIZE_LINE: usize = 256;

/// All trailers, in bytes. They are read and dropped.
const MAX_TRAILERS: usize = 8 * 1024;

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Framing {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
}

/// What comes next in a body of chunks.
#[derive(Debug)]
pub(super) enum Chunks {
    /// The line with a chunk's size.
    Size,
    /// So many bytes of a chunk, and the end of its line.
    Data(u64),
    /// The end of a chunk's line.
    DataEnd,
    /// Trailers, so many bytes of which have arrived, and an empty line.
    Trailers(usize),
    Ended,
}

/// The result of looking at the bytes that have arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next piece, never empty.
    Data(Bytes),
    /// The body has ended.
    End,
    /// More bytes are needed.
    More,
}

impl Framing {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunks::Size)
    }

    /// Takes what comes next from `buffer`, without a copy. Where the end has come along with the last piece, that is
    /// known right after it.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Next, Error> {
        match self {
            Self::Length(0) => Ok(Next::End),
            Self::Length(rest) => Ok(take(rest, buffer)),
            Self::Chunked(chunks) => {
                let next = chunks.next(buffer)?;
                chunks.advance(buffer)?;
                Ok(next)
            }
            Self::UntilClose if buffer.is_empty() => Ok(Next::More),
            Self::UntilClose => Ok(Next::Data(buffer.split().freeze())),
        }
    }

    /// Whether nothing is to come.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Ended))
    }

    /// Whether the end of the connection is the end of the body.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    /// How many bytes are to come, where that is known.
    pub(super) fn rest(&self) -> Option<u64> {
        match self {
            Self::Length(rest) => Some(*rest),
            Self::Chunked(Chunks::Ended) => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }
}

impl Chunks {
    fn next(&mut self, buffer: &mut BytesMut) -> Result<Next, Error> {
        self.advance(buffer)?;
        Ok(match self {
            Self::Data(rest) => take(rest, buffer),
            Self::Ended => Next::End,
            Self::Size | Self::DataEnd | Self::Trailers(_) => Next::More,
        })
    }

    /// Goes on to the next byte of data, or to the end, as far as that is there.
    fn advance(&mut self, buffer: &mut BytesMut) -> Result<(), Error> {
        loop {
            *self = match self {
                Self::Size => match line(buffer, MAX_SIZE_LINE)? {
                    None => return Ok(()),
                    Some(line) => match size(&line)? {
                        0 => Self::Trailers(0),
                        size => Self::Data(size),
                    },
                },
                Self::Data(0) => Self::DataEnd,
                Self::DataEnd => match **buffer {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        Self::Size
                    }
                    [] | [b'\r'] => return Ok(()),
                    _ => return Err(Error::Malformed("a chunk longer than its size")),
                },
                Self::Trailers(read) => match line(buffer, MAX_TRAILERS - *read)? {
                    None => return Ok(()),
                    Some(line) if line.is_empty() => Self::Ended,
                    Some(line) => Self::Trailers((*read + line.len() + 2).min(MAX_TRAILERS)),
                },
                Self::Data(_) | Self::Ended => return Ok(()),
            };
        }
    }
}

/// The part of the `rest` that has arrived.
fn take(rest: &mut u64, buffer: &mut BytesMut) -> Next {
    if buffer.is_empty() {
        return Next::More;
    }
    let length = usize::try_from(*rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
    *rest -= length as u64;
    Next::Data(buffer.split_to(length).freeze())
}

/// A whole line, without its end.
fn line(buffer: &mut BytesMut, longest: usize) -> Result<Option<BytesMut>, Error> {
    let too_long = Error::Malformed("a line between chunks that is too long");
    let Some(end) = buffer.iter().position(|&byte| byte == b'\n') else {
        return if buffer.len() > longest {
            Err(too_long)
        } else {
            Ok(None)
        };
    };
    if end > longest {
        return Err(too_long);
    }
    let mut line = buffer.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(Error::Malformed("a bare line feed between chunks"));
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// A chunk's size: hexadecimal digits, before an extension if there is one.
fn size(line: &[u8]) -> Result<u64, Error> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii_end();
    let wrong = Error::Malformed("a chunk without a size");
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(wrong);
    }
    let digits = std::str::from_utf8(digits).ok();
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or(wrong)
}
