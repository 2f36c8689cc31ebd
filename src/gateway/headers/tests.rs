use http::header::AUTHORIZATION;

use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

const PEER: Option<Peer> = Some(Peer(std::net::SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3)),
    4,
)));

#[test]
fn what_is_of_one_connection_ends_with_it() {
    let mut sent = headers(&[
        ("connection", "close, X-Hop"),
        ("connection", "te"),
        ("x-hop", "1"),
        ("keep-alive", "5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic x"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip, trailers"),
        ("upgrade", "websocket"),
        ("expect", "100-continue"),
        ("host", "localhost:6443"),
        ("trailer", "x-checksum"),
        ("content-length", "3"),
        ("authorization", "Bearer x"),
        ("x-forwarded-host", "kubernetes"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-for", "192.0.2.2, 192.0.2.3"),
    ]);
    to_api_server(&mut sent, PEER, false);
    let expected = headers(&[
        ("te", "trailers"),
        ("trailer", "x-checksum"),
        ("content-length", "3"),
        ("authorization", "Bearer x"),
        ("x-forwarded-host", "kubernetes"),
        (
            "x-forwarded-for",
            "192.0.2.1, 192.0.2.2, 192.0.2.3, 10.1.2.3",
        ),
    ]);
    assert_eq!(sent, expected);

    let mut received = headers(&[
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x-checksum"),
        ("set-cookie", "a=b"),
        ("audit-id", "1"),
    ]);
    to_caller(&mut received, false);
    let expected = headers(&[
        ("trailer", "x-checksum"),
        ("set-cookie", "a=b"),
        ("audit-id", "1"),
    ]);
    assert_eq!(received, expected);
}

#[test]
fn an_upgrade_keeps_the_headers_that_make_one() {
    let mut sent = headers(&[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "x"),
        ("sec-websocket-protocol", "v4.channel.k8s.io"),
        ("cookie", "a=b"),
    ]);
    to_api_server(&mut sent, None, true);
    let expected = headers(&[
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "x"),
        ("sec-websocket-protocol", "v4.channel.k8s.io"),
    ]);
    assert_eq!(sent, expected);
}

#[test]
fn an_upgrade_is_one_by_both_headers_in_http_1_1() {
    let asked = |version, pairs: &[(&'static str, &'static str)]| {
        let mut request = Request::new(());
        *request.version_mut() = version;
        *request.headers_mut() = headers(pairs);
        is_upgrade(&request)
    };
    let (old, new) = (Version::HTTP_11, Version::HTTP_2);
    for (version, pairs, expected) in [
        (
            old,
            &[("connection", "upgrade"), ("upgrade", "SPDY/3.1")][..],
            true,
        ),
        (
            old,
            &[
                ("connection", "x"),
                ("connection", "UPGRADE"),
                ("upgrade", "a"),
            ],
            true,
        ),
        (old, &[("upgrade", "websocket")], false),
        (old, &[("connection", "upgrade")], false),
        (
            new,
            &[("connection", "upgrade"), ("upgrade", "websocket")],
            false,
        ),
        (
            Version::HTTP_10,
            &[("connection", "upgrade"), ("upgrade", "a")],
            false,
        ),
        (old, &[("connection", "upgrade"), ("upgrade", "H2C")], false),
        (
            old,
            &[("connection", "upgrade"), ("upgrade", "a, h2c")],
            false,
        ),
    ] {
        assert_eq!(asked(version, pairs), expected, "{version:?} {pairs:?}");
    }
}

#[test]
fn an_address_of_ipv4_is_written_as_one() {
    let mut sent = HeaderMap::new();
    let mapped = "[::ffff:10.1.2.3]:4".parse().expect("an address");
    to_api_server(&mut sent, Some(Peer(mapped)), false);
    assert_eq!(sent[X_FORWARDED_FOR], "10.1.2.3");
    assert!(!sent.contains_key(AUTHORIZATION));
}
