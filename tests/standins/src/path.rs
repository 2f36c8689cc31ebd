//! URL paths as Go's `net/url` and `path` packages decode, clean and write them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What Go leaves as it is in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// The decoded path; bytes that are no UTF-8 become U+FFFD.
pub(crate) fn decode(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// The path as it stands in a request line.
pub(crate) fn encode(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// Resolves `.`, `..` and empty segments; never leaves the root; a trailing slash stays.
pub(crate) fn clean(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut cleaned = format!("/{}", segments.join("/"));
    if path.ends_with('/') && cleaned.len() > 1 {
        cleaned.push('/');
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::{clean, decode, encode};

    #[test]
    fn dots_and_double_slashes_are_resolved() {
        assert_eq!(clean("/a//b/./c/../d"), "/a/b/d");
        assert_eq!(clean("/../../x/"), "/x/");
        assert_eq!(clean(""), "/");
        assert_eq!(clean("/a/b/.."), "/a");
    }

    #[test]
    fn encoding_follows_go() {
        assert_eq!(encode(&decode("/a%2fb%20c:9090")), "/a/b%20c:9090");
        assert_eq!(encode("/a\"b?c"), "/a%22b%3Fc");
    }
}
