//! `services/proxy` and `pods/proxy`.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Fixture, LIMIT, fixture};
use crate::body;
use crate::connect;
use crate::kubernetes::{Options, Subject};
use crate::prometheus::{Recorder, Scripted};

const BASE: &str = "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\naccess-control-allow-origin: *\r\n\r\nok";

async fn fixture_at(address: SocketAddr) -> Fixture {
    let fixture = fixture(Options::default()).await;
    let server = &fixture.server;
    server.create_service_at("monitoring", "prom-rbac-proxy", &[], 9090, address);
    server.bind_role(
        "monitoring",
        "editor",
        "ClusterRole/edit",
        Subject::User("editor"),
    );
    fixture
}

#[tokio::test]
async fn a_proxied_request_loses_its_token_and_keeps_its_cookies_and_query() {
    let upstream = Scripted::answering(OK).await.expect("it starts");
    let recorder = Recorder::start(&upstream.url()).await.expect("it starts");
    let fixture = fixture_at(recorder.address()).await;
    let request = Request::get(format!(
        "{}{BASE}/a%2f..//b%20c/?q=%7b+x&q=%20",
        fixture.server.url()
    ))
    .header("authorization", "Bearer viewer-token")
    .header("cookie", "headlamp-auth-main.0=x")
    .header("x-remote-user", "admin")
    .header("x-forwarded-for", "10.0.0.9")
    .body(body::empty())
    .expect("valid");
    let response = fixture.client.request(request).await.expect("it answers");
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let seen = recorder.requests().remove(0);
    assert_eq!(seen.uri, "/b%20c/?q=%7b+x&q=%20");
    assert_eq!(seen.headers["cookie"], "headlamp-auth-main.0=x");
    assert_eq!(seen.headers["x-forwarded-for"], "10.0.0.9, 127.0.0.1");
    assert_eq!(
        seen.headers["x-forwarded-uri"],
        format!("{BASE}/b%20c/").as_str()
    );
    assert_eq!(seen.headers["accept-encoding"], "gzip");
    for gone in ["authorization", "x-remote-user"] {
        assert!(!seen.headers.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn names_ports_and_methods_are_authorized_as_recorded() {
    let upstream = Scripted::answering(OK).await.expect("it starts");
    let fixture = fixture_at(upstream.address()).await;
    let (status, _) = fixture.get(&format!("{BASE}/x"), "viewer-token").await;
    assert_eq!(status, StatusCode::OK);
    let base = "/api/v1/namespaces/monitoring";
    for (path, resource, name) in [
        (
            "services/prom-rbac-proxy:9999",
            "services",
            "prom-rbac-proxy:9999",
        ),
        (
            "services/http:prom-rbac-proxy:9090",
            "services",
            "http:prom-rbac-proxy:9090",
        ),
        ("services/prometheus:9090", "services", "prometheus:9090"),
        (
            "pods/prom-rbac-proxy-0:9090",
            "pods",
            "prom-rbac-proxy-0:9090",
        ),
    ] {
        let (status, answer) = fixture
            .get(&format!("{base}/{path}/proxy/x"), "viewer-token")
            .await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(
            answer["message"],
            format!(
                "{resource} \"{name}\" is forbidden: User \"viewer\" cannot get resource \
                 \"{resource}/proxy\" in API group \"\" in the namespace \"monitoring\""
            )
        );
        assert_eq!(answer["details"], json!({"name": name, "kind": resource}));
    }
    let (status, answer) = fixture
        .call(
            Method::POST,
            &format!("{BASE}/x"),
            "viewer-token",
            Some(json!({})),
        )
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        answer["message"]
            .as_str()
            .expect("text")
            .contains("cannot create resource")
    );
    let response = fixture
        .send(Method::GET, &format!("{BASE}?a=b"), "viewer-token", None)
        .await;
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(
        response.headers()["location"],
        format!("{BASE}/?a=b").as_str()
    );
}

#[tokio::test]
async fn what_is_not_there_is_named_as_recorded() {
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = closed.local_addr().expect("bound");
    drop(closed);
    let fixture = fixture_at(address).await;
    let admin = fixture.server.admin_token().to_owned();
    let message = async |path: &str| {
        let (status, answer) = fixture.get(path, &admin).await;
        let message = answer["message"].as_str().unwrap_or_default().to_owned();
        (status.as_u16(), message)
    };
    let refused =
        format!("error trying to reach service: dial tcp {address}: connect: connection refused");
    assert_eq!(message(&format!("{BASE}/x")).await, (503, refused));
    let services = "/api/v1/namespaces/monitoring/services";
    assert_eq!(
        message(&format!("{services}/prom-rbac-proxy:1/proxy/")).await,
        (
            503,
            "no service port 1 found for service \"prom-rbac-proxy\"".to_owned()
        )
    );
    assert_eq!(
        message(&format!("{services}/none:1/proxy/")).await,
        (404, "services \"none\" not found".to_owned())
    );
    let slices = "endpointslices.discovery.k8s.io";
    assert!(
        fixture
            .server
            .delete(slices, "monitoring", "prom-rbac-proxy-9090")
    );
    assert_eq!(
        message(&format!("{BASE}/x")).await,
        (
            503,
            "no endpoints available for service \"prom-rbac-proxy\"".to_owned()
        )
    );
}

#[tokio::test]
async fn pods_and_named_ports_are_reached_too() {
    let upstream = Scripted::answering(OK).await.expect("it starts");
    let fixture = fixture_at(upstream.address()).await;
    let port = upstream.address().port();
    fixture
        .server
        .create_pod_at("monitoring", "p-0", &[], upstream.address());
    let admin = fixture.server.admin_token().to_owned();
    let base = "/api/v1/namespaces/monitoring";
    for path in [
        format!("{base}/pods/p-0:{port}/proxy/"),
        format!("{base}/pods/p-0/proxy/"),
        format!("{base}/services/prom-rbac-proxy:http/proxy/"),
        format!("{base}/services/http:prom-rbac-proxy:/proxy/"),
    ] {
        assert_eq!(fixture.get(&path, &admin).await.0, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn compression_that_the_caller_did_not_ask_for_is_undone() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(&b"answer ".repeat(10_000))
        .expect("in memory");
    let packed = encoder.finish().expect("in memory");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    );
    let script = vec![
        crate::prometheus::Step::ReadRequest,
        crate::prometheus::Step::write(&head),
        crate::prometheus::Step::Write(packed.into()),
        crate::prometheus::Step::Again,
    ];
    let upstream = Scripted::start(script).await.expect("it starts");
    let fixture = fixture_at(upstream.address()).await;
    let path = format!("{BASE}/x");
    let plain = fixture.send(Method::GET, &path, "viewer-token", None).await;
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = body::read(plain.into_body(), 1 << 20)
        .await
        .expect("a body");
    assert_eq!(plain.len(), 70_000);
    let request = Request::get(format!("{}{path}", fixture.server.url()))
        .header("authorization", "Bearer viewer-token")
        .header("accept-encoding", "gzip")
        .body(body::empty())
        .expect("valid");
    let response = fixture.client.request(request).await.expect("it answers");
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let bytes = body::read(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    let mut text = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&bytes[..]);
    decoder.read_to_string(&mut text).expect("gzip");
    assert_eq!(text.len(), 70_000);
}

/// An upstream that switches protocols and sends back every byte, then `end` after the peer's end.
async fn echo(listener: TcpListener) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let head = read_head(&mut stream).await;
    assert!(!head.contains("authorization"), "{head}");
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: test\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.expect("open");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.expect("an end");
    all.extend(b" end");
    stream.write_all(&all).await.expect("still open");
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("ASCII").to_ascii_lowercase()
}

#[tokio::test]
async fn upgrades_are_tunnelled_and_one_side_may_end_first() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let fixture = fixture_at(listener.local_addr().expect("bound")).await;
    let upstream = tokio::spawn(echo(listener));
    let exchange = async |path: &str, token: &str, protocol: &str| {
        let request = Request::get(format!("{}{path}", fixture.server.url()))
            .header("authorization", format!("Bearer {token}"))
            .header("connection", "Upgrade")
            .header("upgrade", protocol)
            .body(body::empty())
            .expect("valid");
        let client = connect::trusting(fixture.server.ca_pem(), false);
        let mut response = client.request(request).await.expect("it answers");
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(&mut response).await.expect("upgraded");
        let mut stream = TokioIo::new(upgraded);
        stream.write_all(b"hello").await.expect("open");
        stream.shutdown().await.expect("open");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(LIMIT, read)
            .await
            .expect("in time")
            .expect("an end");
        answer
    };
    assert_eq!(
        exchange(&format!("{BASE}/ws"), "viewer-token", "test").await,
        "hello end"
    );
    upstream.await.expect("no panic");
    let path = "/api/v1/namespaces/team-a/pods/p/exec?command=sh";
    let admin = fixture.server.admin_token().to_owned();
    assert_eq!(exchange(path, &admin, "SPDY/3.1").await, "hello");
}
