//! A request as the bytes that are sent.

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Method};

/// Room for the head of most requests, in bytes.
const ROOM: usize = 1024;

/// A request: its head as it is written, and a form.
#[derive(Debug)]
pub struct Request {
    pub(super) head: Vec<u8>,
    pub(super) form: Bytes,
    /// Whether its answer has no body whatever its head says.
    pub(super) bodiless: bool,
}

impl Request {
    /// Begins a request for `path`, which is written in two parts.
    ///
    /// # Panics
    /// If the path has characters that stand in no path. Both parts are ours, and encoded.
    pub fn new(method: &Method, path: [&str; 2], scheme: &Scheme, authority: &Authority) -> Self {
        let mut head = Vec::with_capacity(ROOM);
        head.extend_from_slice(method.as_str().as_bytes());
        head.push(b' ');
        for part in path {
            // Looks at all of them, many at a time.
            let encoded = (part.bytes()).fold(true, |all, byte| all & byte.is_ascii_graphic());
            assert!(encoded, "a path of ours is encoded");
            head.extend_from_slice(part.as_bytes());
        }
        head.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        head.extend_from_slice(host(scheme, authority).as_bytes());
        head.extend_from_slice(b"\r\n");
        Self {
            head,
            form: Bytes::new(),
            bodiless: method == Method::HEAD,
        }
    }

    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.head.extend_from_slice(name.as_str().as_bytes());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value.as_bytes());
        self.head.extend_from_slice(b"\r\n");
    }

    /// Ends the head. An empty form counts as none.
    pub fn finish(mut self, form: Bytes) -> Self {
        if !form.is_empty() {
            let length = format!("content-length: {}\r\n", form.len());
            self.head.extend_from_slice(length.as_bytes());
        }
        self.head.extend_from_slice(b"\r\n");
        self.form = form;
        self
    }
}

/// The `Host` header: without user information, and without the scheme's default port.
fn host<'a>(scheme: &Scheme, authority: &'a Authority) -> &'a str {
    let text = authority.as_str();
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let port = if *scheme == Scheme::HTTPS {
        ":443"
    } else {
        ":80"
    };
    host.strip_suffix(port).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_its_bytes() {
        let authority = Authority::from_static("prometheus:9090");
        let mut request = Request::new(
            &Method::POST,
            ["/base", "/api/v1/query"],
            &Scheme::HTTP,
            &authority,
        );
        request.header(
            &http::header::ACCEPT,
            &HeaderValue::from_static("application/json"),
        );
        let request = request.finish(Bytes::from_static(b"query=up"));
        assert_eq!(
            String::from_utf8_lossy(&request.head),
            "POST /base/api/v1/query HTTP/1.1\r\nhost: prometheus:9090\r\naccept: application/json\r\n\
             content-length: 8\r\n\r\n"
        );
        let request = Request::new(&Method::HEAD, ["", "/"], &Scheme::HTTP, &authority);
        let request = request.finish(Bytes::new());
        assert_eq!(
            request.head,
            b"HEAD / HTTP/1.1\r\nhost: prometheus:9090\r\n\r\n"
        );
        assert!(request.bodiless);
    }

    #[test]
    fn the_host_has_neither_user_nor_a_port_that_goes_without_saying() {
        let (http, https) = (&Scheme::HTTP, &Scheme::HTTPS);
        for (scheme, authority, expected) in [
            (http, "a:80", "a"),
            (http, "a:8080", "a:8080"),
            (http, "a:443", "a:443"),
            (https, "a:443", "a"),
            (https, "u:p@a:9443", "a:9443"),
            (http, "[::80]", "[::80]"),
            (http, "[::80]:80", "[::80]"),
        ] {
            assert_eq!(host(scheme, &Authority::from_static(authority)), expected);
        }
    }

    #[test]
    #[should_panic(expected = "a path of ours is encoded")]
    fn a_path_that_would_end_its_line_is_never_written() {
        let authority = Authority::from_static("a");
        Request::new(&Method::GET, ["/", "a b\r\n"], &Scheme::HTTP, &authority);
    }
}
