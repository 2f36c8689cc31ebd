//! Reads the path of a request: bare, as the API server's proxy path, or as Headlamp's path to that. One decoder for
//! all of them; whatever a server behind us might read differently is refused.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Longest name of a label that is accepted, decoded, in bytes.
const MAX_LABEL_BYTES: usize = 256;

/// A path whose every byte has one meaning, and which form it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// The form it came in.
    pub form: Form,
    /// What is left after the proxy prefix: begins with `/`.
    pub rest: &'a str,
}

/// In which form a path came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/api/v1/query`
    Bare,
    /// `/api/v1/namespaces/NS/services/NAME:PORT/proxy/api/v1/query`, with or without `/clusters/C` in front.
    Proxy,
}

/// A path that is refused. Answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `.` or `..`, in whatever encoding.
    #[error("the path has a \".\" or \"..\" segment: write it out")]
    DotSegment,
    #[error("the path has an empty segment (\"//\"): write it once")]
    EmptySegment,
    /// `%2f` or `%5c`.
    #[error("the path has an encoded slash, which servers read in different ways")]
    EncodedSlash,
    /// A control character, `;`, `\`, or another that has no place in a path.
    #[error("the path has a character that is not allowed there")]
    Character,
    /// `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the path has a percent sign that does not begin an encoded UTF-8 character")]
    Encoding,
    /// The target is not a path.
    #[error("the request's target is not a path")]
    NotAPath,
}

/// The result of reading a [`Path`], without the text: for use with the request that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRead {
    /// The form it came in.
    pub form: Form,
    /// Where what is left after the proxy prefix begins.
    start: usize,
}

impl PathRead {
    /// As [`Path::parse`].
    ///
    /// # Errors
    /// When a byte of it has more than one meaning.
    pub fn of(path: &str) -> Result<Self, PathError> {
        Path::parse(path).map(|read| Self {
            form: read.form,
            start: path.len() - read.rest.len(),
        })
    }

    /// What is left of `path`, which it was read from.
    pub fn rest(self, path: &str) -> &str {
        &path[self.start..]
    }
}

impl<'a> Path<'a> {
    /// Reads the path of a request's target.
    ///
    /// # Errors
    /// When a byte of it has more than one meaning.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        check(path)?;
        Ok(match proxy_rest(path) {
            Some(rest) => Self {
                form: Form::Proxy,
                rest,
            },
            None => Self {
                form: Form::Bare,
                rest: path,
            },
        })
    }
}

/// Refuses whatever two servers might read in two ways.
fn check(path: &str) -> Result<(), PathError> {
    let segments = path.strip_prefix('/').ok_or(PathError::NotAPath)?;
    if !path.bytes().all(|byte| ALLOWED[usize::from(byte)]) {
        return Err(PathError::Character);
    }
    let mut segments = segments.as_bytes().split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        // The last one may be empty: that is a slash at the end.
        if segment.is_empty() && segments.peek().is_some() {
            return Err(PathError::EmptySegment);
        }
        if segment.contains(&b'%') {
            decode(std::str::from_utf8(segment).map_err(|_| PathError::Encoding)?)?;
        } else if matches!(segment, b"." | b"..") {
            return Err(PathError::DotSegment);
        }
    }
    Ok(())
}

/// The bytes that may stand in a path.
static ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = (byte as u8).is_ascii_graphic();
        byte += 1;
    }
    let mut without: &[u8] = b";\\\"<>^`{|}#?";
    while let [byte, rest @ ..] = without {
        allowed[*byte as usize] = false;
        without = rest;
    }
    allowed
};

/// Decodes a segment, once.
fn decode(segment: &str) -> Result<Cow<'_, str>, PathError> {
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%'
            && !(0..2).all(|_| rest.next().is_some_and(|digit| digit.is_ascii_hexdigit()))
        {
            return Err(PathError::Encoding);
        }
    }
    let text = percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| PathError::Encoding)?;
    match &*text {
        "." | ".." => Err(PathError::DotSegment),
        text if text.contains(['/', '\\']) => Err(PathError::EncodedSlash),
        text if text.contains(|c: char| c.is_control() || c == ';') => Err(PathError::Character),
        _ => Ok(text),
    }
}

/// What follows `[/clusters/C]/api/v1/namespaces/NS/{services|pods}/NAME/proxy`.
fn proxy_rest(path: &str) -> Option<&str> {
    let path = match path.strip_prefix("/clusters/") {
        Some(rest) => &rest[rest.find('/')?..],
        None => path,
    };
    let rest = path.strip_prefix("/api/v1/namespaces/")?;
    let (_namespace, rest) = rest.split_once('/')?;
    let rest = rest
        .strip_prefix("services/")
        .or_else(|| rest.strip_prefix("pods/"))?;
    let rest = &rest[rest.find('/')?..];
    let rest = rest.strip_prefix("/proxy")?;
    rest.starts_with('/').then_some(rest)
}

/// The name of a label, decoded from its segment of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelName(String);

impl LabelName {
    /// Decodes a segment.
    ///
    /// # Errors
    /// When it is not encoded UTF-8, or longer than 256 bytes.
    pub fn parse(segment: &str) -> Result<Self, PathError> {
        let name = decode(segment)?;
        if name.is_empty() || name.len() > MAX_LABEL_BYTES {
            return Err(PathError::Character);
        }
        Ok(Self(name.into_owned()))
    }

    /// The label that holds the name of a metric.
    pub fn metric_name() -> Self {
        Self("__name__".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a segment of a path.
    pub fn encoded(&self) -> String {
        percent_encoding::utf8_percent_encode(&self.0, SEGMENT).to_string()
    }
}

/// Everything except RFC 3986's unreserved characters.
const SEGMENT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_a_path_come_to_the_same() {
        for (path, form) in [
            ("/api/v1/query", Form::Bare),
            (
                "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy/api/v1/query",
                Form::Proxy,
            ),
            (
                "/api/v1/namespaces/m/services/https:p:http/proxy/api/v1/query",
                Form::Proxy,
            ),
            (
                "/api/v1/namespaces/m/pods/p/proxy/api/v1/query",
                Form::Proxy,
            ),
            (
                "/clusters/main/api/v1/namespaces/m/services/p:9090/proxy/api/v1/query",
                Form::Proxy,
            ),
        ] {
            assert_eq!(
                Path::parse(path),
                Ok(Path {
                    form,
                    rest: "/api/v1/query"
                }),
                "{path}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_proxy_path_stays_as_it_is() {
        for path in [
            "/api/v1/namespaces/m/services/p:9090/proxy",
            "/api/v1/namespaces/m/nodes/n/proxy/api/v1/query",
            "/api/v1/namespaces/m/services/p/proxyx/api/v1/query",
            "/clusters/main/api/v1/query",
            "/clusters/main",
            "/api/v1/namespaces/m/services/p/portforward/proxy/",
            "/apis/v1/namespaces/m/services/p/proxy/x",
        ] {
            assert_eq!(
                Path::parse(path),
                Ok(Path {
                    form: Form::Bare,
                    rest: path
                }),
                "{path}"
            );
        }
    }

    #[test]
    fn e09_whatever_has_two_meanings_is_refused() {
        for (path, error) in [
            ("/api/v1/x/../query", PathError::DotSegment),
            ("/api/v1/./query", PathError::DotSegment),
            ("/api/v1/..", PathError::DotSegment),
            ("/api/v1/%2e%2e/%2e%2e/federate", PathError::DotSegment),
            ("/api/v1/%2E./query", PathError::DotSegment),
            ("//api/v1/query", PathError::EmptySegment),
            ("/api//v1/query", PathError::EmptySegment),
            ("/api/v1/query//", PathError::EmptySegment),
            ("/api/v1/query%2F", PathError::EncodedSlash),
            (
                "/api/v1/label/x%2f..%2Fstatus/values",
                PathError::EncodedSlash,
            ),
            ("/api/v1/label/x%5cy/values", PathError::EncodedSlash),
            ("/api/v1/query%00", PathError::Character),
            ("/api/v1/query;x", PathError::Character),
            ("/api/v1/query%3bx", PathError::Character),
            ("/api/v1\\query", PathError::Character),
            ("/api/v1/query%0a", PathError::Character),
            ("/api/v1/label/%ff/values", PathError::Encoding),
            ("/api/v1/label/%zz/values", PathError::Encoding),
            ("/api/v1/label/%a/values", PathError::Encoding),
            ("*", PathError::NotAPath),
            ("", PathError::NotAPath),
        ] {
            assert_eq!(Path::parse(path), Err(error), "{path}");
        }
    }

    #[test]
    fn e10_names_of_labels_are_decoded_once_and_encoded_again() {
        for (segment, name, encoded) in [
            ("pod", "pod", "pod"),
            ("%c3%a9", "é", "%C3%A9"),
            ("a%2eb", "a.b", "a.b"),
            ("a%252fb", "a%2fb", "a%252fb"),
            ("U__namespace", "U__namespace", "U__namespace"),
        ] {
            let label = LabelName::parse(segment).expect(segment);
            assert_eq!((label.as_str(), &*label.encoded()), (name, encoded));
        }
        for segment in ["", "%2e%2e", "a%00", "%ff", &"x".repeat(257)] {
            assert!(LabelName::parse(segment).is_err(), "{segment}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,80}", path in "(/(clusters|api|v1|namespaces|services|proxy|%2e|\\.\\.|x)?){0,12}") {
            for path in [&*text, &path] {
                if let Ok(path) = Path::parse(path) {
                    proptest::prop_assert!(path.rest.starts_with('/'));
                    proptest::prop_assert!(!path.rest.contains("//"));
                }
            }
            let _ = LabelName::parse(&text);
        }
    }
}
