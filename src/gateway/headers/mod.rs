//! Headers of traffic that passes. Unlike those to Prometheus, they are dropped by name: only what belongs to one
//! connection, or claims to know who the caller is. Everything else is Kubernetes' and passes.

use http::header::{
    CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{Request, Version};

use crate::server::Peer;

const KUBECONFIG: HeaderName = HeaderName::from_static("kubeconfig");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers of one connection (RFC 9110, 7.6.1), besides those that `Connection` names. `Trailer` is not: trailers pass.
const OF_CONNECTION: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("http2-settings"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Never for the API server: each says who the caller is in a way that only somebody in front of it may, or
/// holds the same token again, where every workload behind the API server's proxy would read it.
const OF_IDENTITY: [HeaderName; 6] = [
    COOKIE,
    KUBECONFIG,
    HeaderName::from_static("x-forwarded-user"),
    HeaderName::from_static("x-forwarded-group"),
    HeaderName::from_static("x-forwarded-groups"),
    HeaderName::from_static("x-forwarded-email"),
];
const OF_IDENTITY_PREFIXES: [&str; 2] = ["x-remote-", "x-headlamp"];

/// Whether a request asks to switch to another protocol, and may.
pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let asked = request.version() == Version::HTTP_11
        && headers.contains_key(UPGRADE)
        && names(headers, "upgrade");
    // HTTP/2 is a matter of one connection: a request within a tunnel would pass unseen.
    let to_http2 = headers
        .get_all(UPGRADE)
        .iter()
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case("h2c"));
    asked && !to_http2
}

/// Whether a request asks to impersonate somebody.
pub(super) fn impersonates(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| name.as_str().starts_with("impersonate-"))
}

/// The headers of a request from `peer` that go on to the API server.
pub(super) fn to_api_server(headers: &mut HeaderMap, peer: Option<Peer>, upgrade: bool) {
    let trailers = headers
        .get_all(TE)
        .iter()
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case("trailers"));
    remove_of_connection(headers, upgrade);
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // Answered on this connection, as soon as the body is asked for.
    if headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        headers.remove(EXPECT);
    }
    // The API server has a name of its own.
    headers.remove(HOST);
    for name in OF_IDENTITY {
        headers.remove(name);
    }
    let of_identity: Vec<_> = headers
        .keys()
        .filter(|name| {
            OF_IDENTITY_PREFIXES
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
        })
        .cloned()
        .collect();
    for name in of_identity {
        headers.remove(name);
    }
    if let Some(Peer(address)) = peer {
        append_forwarded_for(headers, &address.ip().to_canonical().to_string());
    }
}

/// The headers of the API server's answer that go on to the caller. `upgrade` is whether it accepts one.
pub(super) fn to_caller(headers: &mut HeaderMap, upgrade: bool) {
    remove_of_connection(headers, upgrade);
}

fn append_forwarded_for(headers: &mut HeaderMap, address: &str) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(&X_FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(address.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

fn remove_of_connection(headers: &mut HeaderMap, upgrade: bool) {
    let protocols: Vec<_> = headers.get_all(UPGRADE).iter().cloned().collect();
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| token.parse().ok())
        .collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
    if upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        for protocol in protocols {
            headers.append(UPGRADE, protocol);
        }
    }
}

fn names(headers: &HeaderMap, option: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case(option))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim)
}

#[cfg(test)]
mod tests;
