//! The head of an answer: the parts that are used, and the length of the body (RFC 9112, 6.3).

use std::mem::MaybeUninit;

use http::{HeaderValue, StatusCode};

use super::Error;
use super::framing::Framing;

/// More headers than any answer of Prometheus has.
const MAX_HEADERS: usize = 100;

const JSON: &[u8] = b"application/json";

/// The parts of an answer's head that are used. Of a repeated header the first counts, except for the encoding.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    pub encoding: Encoding,
    pub retry_after: Option<HeaderValue>,
}

/// How an answer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    /// In a way, or several, that nobody asked for.
    Unknown,
}

/// A head that was read.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Another one follows: a 1xx.
    Interim,
    Final {
        head: Head,
        framing: Framing,
        /// Whether the server would take another request on the connection.
        lasting: bool,
    },
}

/// Reads the head at the beginning of `text`, and its length in bytes; `None` if it is not complete. The answer to a
/// HEAD request is `bodiless`.
pub(super) fn parse(text: &[u8], bodiless: bool) -> Result<Option<(usize, Parsed)>, Error> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, text, &mut room)
        .map_err(|_| Error::Malformed("a head that cannot be read"))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Error::Malformed("an invalid status"))?;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Some((length, Parsed::Interim)));
    }
    let mut found = FoundHeaders::default();
    for header in &*response.headers {
        found.header(header.name, header.value)?;
    }
    let latest = response.version == Some(1);
    let parsed = Parsed::Final {
        framing: found.framing(status, latest, bodiless)?,
        lasting: latest && !found.close && status != StatusCode::SWITCHING_PROTOCOLS,
        head: Head {
            status,
            content_type: found.content_type,
            encoding: found.encoding.unwrap_or(Encoding::Identity),
            retry_after: found.retry_after,
        },
    };
    Ok(Some((length, parsed)))
}

#[derive(Default)]
struct FoundHeaders {
    content_type: Option<HeaderValue>,
    encoding: Option<Encoding>,
    retry_after: Option<HeaderValue>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
}

impl FoundHeaders {
    fn header(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected);
        // The length of a name tells almost all of them apart.
        match name.len() {
            10 if is("connection") => {
                let mut options = value.split(|&byte| byte == b',');
                self.close |=
                    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
            11 if is("retry-after") && self.retry_after.is_none() => {
                self.retry_after = HeaderValue::from_bytes(value).ok();
            }
            12 if is("content-type") && self.content_type.is_none() => {
                self.content_type = if value == JSON {
                    Some(HeaderValue::from_static("application/json"))
                } else {
                    HeaderValue::from_bytes(value).ok()
                };
            }
            14 if is("content-length") => {
                let length = length(value).ok_or(Error::Malformed("a length that is none"))?;
                if self.length.replace(length).is_some() {
                    return Err(Error::Malformed("two lengths"));
                }
            }
            16 if is("content-encoding") => {
                self.encoding = Some(match (self.encoding, value) {
                    (None, b"" | b"identity") => Encoding::Identity,
                    (None, b"gzip") => Encoding::Gzip,
                    _ => Encoding::Unknown,
                });
            }
            17 if is("transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Error::Malformed("an unknown transfer coding"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, status: StatusCode, latest: bool, bodiless: bool) -> Result<Framing, Error> {
        let none = [
            StatusCode::SWITCHING_PROTOCOLS,
            StatusCode::NO_CONTENT,
            StatusCode::NOT_MODIFIED,
        ];
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Error::Malformed("a length beside chunks")),
            (true, None) if !latest => Err(Error::Malformed("chunks in HTTP/1.0")),
            _ if bodiless || none.contains(&status) => Ok(Framing::Length(0)),
            (true, None) => Ok(Framing::chunked()),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::UntilClose),
        }
    }
}

/// Digits alone: no sign, no list.
fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}
