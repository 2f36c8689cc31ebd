use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use standins::body;
use standins::kubernetes::Behaviour;
use standins::tls::CertificateAuthority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::client::Call;
use support::cluster::TEAM_A;
use support::{run, soon};

use crate::cluster::{Cluster, RESERVED, request, try_connect, with_headers};

fn respond(
    response: impl Fn() -> Response<standins::body::Body> + Send + Sync + 'static,
) -> Behaviour {
    Behaviour::Respond(Arc::new(move |_| response()))
}

#[test]
fn a_request_and_its_answer_pass_byte_for_byte() {
    run(async {
        let cluster = Cluster::start().await;
        cluster.api.behave(
            "/apis/example.com",
            respond(|| {
                Response::builder()
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header("content-type", "application/vnd.kubernetes.protobuf")
                    .header("content-encoding", "gzip")
                    .header("etag", "\"x\"")
                    .header("vary", "Accept-Encoding")
                    .header("warning", "299 - \"one\"")
                    .header("warning", "299 - \"two\"")
                    .header("retry-after", "7")
                    .header("set-cookie", "a=b")
                    .body(body::full(Bytes::from_static(
                        b"\x1f\x8b\x00\xff not really",
                    )))
                    .expect("a response")
            }),
        );
        let path = "/apis/example.com/v1//x/%2e%2E/%41b%2f;a=b/?command=a&command=b&x=%20+%zz&&q";
        let accept = "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList";
        let mut sent = with_headers(
            Method::PATCH,
            cluster.api.admin_token(),
            path,
            &[
                ("accept", accept),
                ("accept", "application/cbor"),
                ("accept-encoding", "br, zstd"),
                ("content-type", "application/merge-patch+json"),
                ("user-agent", "Headlamp unknown (linux/amd64)"),
                ("origin", "https://headlamp"),
                ("x-forwarded-proto", "https"),
                ("impersonate-user", "alice"),
            ],
        );
        *sent.body_mut() = Full::from(r#"{"a":1}"#);
        let answer = cluster.http2().await.send(sent).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(&answer.body[..], b"\x1f\x8b\x00\xff not really");
        for (name, values) in [
            ("content-type", &["application/vnd.kubernetes.protobuf"][..]),
            ("content-encoding", &["gzip"]),
            ("etag", &["\"x\""]),
            ("vary", &["Accept-Encoding"]),
            ("warning", &["299 - \"one\"", "299 - \"two\""]),
            ("retry-after", &["7"]),
            ("set-cookie", &["a=b"]),
        ] {
            assert_eq!(
                answer.headers.get_all(name).iter().collect::<Vec<_>>(),
                values
            );
        }
        let seen = cluster.api.requests_for("/apis/example.com").remove(0);
        assert_eq!((seen.method, &*seen.uri), (Method::PATCH, path));
        assert_eq!(seen.body, serde_json::json!({"a": 1}));
        assert_eq!(seen.headers.get_all("accept").iter().count(), 2);
        assert_eq!(seen.headers["accept"], accept);
        for (name, value) in [
            ("accept-encoding", "br, zstd"),
            ("content-type", "application/merge-patch+json"),
            ("user-agent", "Headlamp unknown (linux/amd64)"),
            ("origin", "https://headlamp"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "127.0.0.1"),
            ("impersonate-user", "alice"),
        ] {
            assert_eq!(seen.headers[name], value);
        }
        assert_eq!(seen.user, "alice");
    });
}

#[test]
fn what_claims_to_know_the_caller_is_dropped_and_nothing_of_ours_is_added() {
    run(async {
        let cluster = Cluster::start().await;
        let mut connection = cluster.http2().await;
        let dropped = [
            ("cookie", "headlamp-auth-main.0=secret"),
            ("kubeconfig", "x"),
            ("x-headlamp-user-id", "x"),
            ("x-headlamp_backend-token", "x"),
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-a", "x"),
            ("x-forwarded-user", "admin"),
            ("x-forwarded-group", "admins"),
            ("x-forwarded-email", "a@b"),
        ];
        let mut headers = dropped.to_vec();
        headers.push(("x-forwarded-for", "10.0.0.9"));
        let path = "/api/v1/namespaces/team-a/pods";
        let sent = with_headers(Method::GET, TEAM_A, path, &headers);
        assert_eq!(connection.send(sent).await.status, StatusCode::OK);
        let seen = cluster.api.requests_for("list pods").remove(0);
        for (name, _) in dropped {
            assert!(!seen.headers.contains_key(name), "{name}");
        }
        assert!(!seen.headers.contains_key("user-agent"));
        assert_eq!(seen.headers["x-forwarded-for"], "10.0.0.9, 127.0.0.1");
        assert_eq!(seen.headers["authorization"], format!("Bearer {TEAM_A}"));

        let mut nameless = request(Method::GET, TEAM_A, path);
        nameless.headers_mut().remove("authorization");
        let nameless = connection.send(nameless).await;
        let wrong = connection.get("nobody's", path).await;
        let forbidden = connection.get(TEAM_A, "/api/v1/pods").await;
        for (answer, status) in [
            (&wrong, StatusCode::UNAUTHORIZED),
            (&forbidden, StatusCode::FORBIDDEN),
        ] {
            assert_eq!(answer.status, status);
            assert_eq!(answer.json()["kind"], "Status");
        }
        // A real one says 401 or, where anonymous requests are on, 403 to "system:anonymous".
        assert!(nameless.status.is_client_error(), "{}", nameless.status);
        let seen = cluster.api.requests_for("list pods");
        assert!(!seen[1].headers.contains_key("authorization"));
    });
}

#[test]
fn redirects_and_trailers_pass_and_an_upgrade_in_http2_is_none() {
    run(async {
        let cluster = Cluster::start().await;
        cluster.api.behave(
            "/moved",
            respond(|| {
                let response = Response::builder().status(StatusCode::TEMPORARY_REDIRECT);
                let response = response.header("location", "/elsewhere?x#y");
                response.body(body::empty()).expect("a response")
            }),
        );
        cluster.api.behave(
            "/trailers",
            respond(|| {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-checksum", HeaderValue::from_static("1"));
                let frames = [
                    Frame::data(Bytes::from_static(b"data")),
                    Frame::trailers(trailers),
                ];
                let frames = futures_util::stream::iter(frames.map(Ok::<_, body::BodyError>));
                Response::builder()
                    .header("trailer", "x-checksum")
                    .body(StreamBody::new(frames).boxed_unsync())
                    .expect("a response")
            }),
        );
        let token = cluster.api.admin_token();
        let mut connection = cluster.http2().await;
        let moved = connection.get(token, "/moved").await;
        assert_eq!(moved.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(moved.headers["location"], "/elsewhere?x#y");
        assert_eq!(cluster.api.count("/elsewhere"), 0);
        let trailers = connection.get(token, "/trailers").await;
        assert_eq!(trailers.text(), "data");
        assert_eq!(trailers.trailers.expect("trailers")["x-checksum"], "1");

        let mut plain = cluster.connect("http/1.1").await;
        let head = format!(
            "GET /trailers HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             te: trailers\r\nconnection: close\r\n\r\n"
        );
        plain.write_all(head.as_bytes()).await.expect("written");
        let mut answer = String::new();
        let _ = soon(plain.read_to_string(&mut answer)).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.ends_with("\r\n4\r\ndata\r\n0\r\nx-checksum: 1\r\n\r\n"),
            "{answer}"
        );
    });
}

#[test]
fn a_body_that_is_announced_with_expect_is_asked_for() {
    run(async {
        let cluster = Cluster::start().await;
        let mut stream = cluster.connect("http/1.1").await;
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#;
        let head = format!(
            "POST /api/v1/namespaces/team-a/configmaps HTTP/1.1\r\nhost: x\r\n\
             authorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
            cluster.api.admin_token(),
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut interim = [0; 25];
        soon(stream.read_exact(&mut interim))
            .await
            .expect("an interim answer");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(body.as_bytes()).await.expect("written");
        let mut answer = String::new();
        let _ = soon(stream.read_to_string(&mut answer)).await;
        assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    });
}

#[test]
fn large_headers_and_head_requests_pass() {
    run(async {
        let cluster = Cluster::start().await;
        let token = cluster.api.admin_token();
        let path = "/api/v1/namespaces/team-a/configmaps";
        let large = "x".repeat(10_000);
        let names = ["x-a", "x-b", "x-c", "x-d", "x-e", "x-f", "x-g"];
        let headers = names.map(|name| (name, large.as_str()));
        let mut connection = cluster.http2().await;
        let sent = with_headers(Method::GET, token, path, &headers);
        assert_eq!(connection.send(sent).await.status, StatusCode::OK);

        cluster.api.behave(
            "/healthz",
            respond(|| {
                let response = Response::builder().header("content-length", "12345");
                response.body(body::empty()).expect("a response")
            }),
        );
        let head = request(Method::HEAD, token, "/healthz");
        let head = connection.send(head).await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.headers["content-length"], "12345");
        let mut plain = cluster.connect("http/1.1").await;
        let head = format!(
            "HEAD /healthz HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        plain.write_all(head.as_bytes()).await.expect("written");
        let mut answer = String::new();
        let _ = soon(plain.read_to_string(&mut answer)).await;
        assert!(answer.contains("\r\ncontent-length: 12345\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    });
}

#[test]
fn a_list_of_100_megabytes_streams_in_little_memory() {
    const LENGTH: u64 = 100 * 1000 * 1000;
    run(async {
        let cluster = Cluster::start().await;
        let path = "/api/v1/namespaces/team-a/configmaps";
        let mut connection = cluster.http2().await;
        let warm = connection.get(cluster.api.admin_token(), path).await;
        assert_eq!(warm.status, StatusCode::OK);
        let before = cluster.proxy.memory_kib("VmHWM");
        cluster
            .api
            .behave("list configmaps", Behaviour::Huge(LENGTH));
        let sent = request(Method::GET, cluster.api.admin_token(), path);
        let mut body = connection.begin(sent).await.into_body();
        let mut length = 0;
        while let Some(frame) = soon(body.frame()).await {
            length += frame
                .expect("a frame")
                .into_data()
                .map_or(0, |data| data.len()) as u64;
        }
        assert!(length >= LENGTH, "{length}");
        let grown = cluster.proxy.memory_kib("VmHWM") - before;
        println!("100 MB: {} KiB more than before", grown);
        assert!(grown < 8 * 1024, "{grown} KiB");
    });
}

#[test]
fn a_caller_who_leaves_in_the_middle_is_noticed_by_the_api_server() {
    run(async {
        let cluster = Cluster::start().await;
        let senders = Arc::new(Mutex::new(Vec::new()));
        let kept = senders.clone();
        cluster.api.behave(
            "/stream",
            respond(move || {
                let (sender, body) = body::channel(1);
                kept.lock().expect("not poisoned").push(sender);
                Response::new(body)
            }),
        );
        let mut connection = cluster.http2().await;
        let sent = request(Method::GET, cluster.api.admin_token(), "/stream");
        let mut body = connection.begin(sent).await.into_body();
        let mut sender = senders.lock().expect("not poisoned").remove(0);
        for event in ["one\n", "two\n"] {
            sender.send_data(event.into()).await.expect("sent");
            let frame = soon(body.frame()).await.expect("a frame").expect("sound");
            assert_eq!(frame.into_data().expect("data"), event);
        }
        drop(body);
        soon(async {
            while sender.send_data("more\n".into()).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    });
}

#[test]
fn an_answer_that_is_cut_is_cut_for_the_caller_and_a_restart_is_survived() {
    run(async {
        let cluster = Cluster::start().await;
        let token = cluster.api.admin_token();
        let path = "/api/v1/namespaces/team-a/configmaps";
        let mut connection = cluster.http2().await;
        let watch = format!("{path}?watch=1&resourceVersion=0");
        let watched = connection.begin(request(Method::GET, token, &watch)).await;
        let mut watched = watched.into_body();
        cluster.api.stop().await;
        let end = soon(async {
            loop {
                match watched.frame().await {
                    Some(Ok(_)) => {}
                    end => break end,
                }
            }
        });
        assert!(
            end.await.is_some_and(|end| end.is_err()),
            "an end that looks complete"
        );
        let away = connection.get(token, path).await;
        assert_eq!(away.status, StatusCode::BAD_GATEWAY);
        let status = away.json();
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&"Status".into(), &502.into())
        );
        cluster.api.start_again().await.expect("the same port");
        let back = connection.get(token, path).await;
        assert_eq!(back.status, StatusCode::OK, "{}", back.text());
    });
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    run(async {
        let cluster = Cluster::start().await;
        let authority = CertificateAuthority::new("new");
        let mut old = cluster.http2().await;
        let renewed = authority.issue(&["127.0.0.1"]);
        for (file, content) in cluster
            .files
            .iter()
            .zip([renewed.certificate_pem, renewed.key_pem])
        {
            std::fs::write(file, content).expect("written");
        }
        soon(async {
            while try_connect(cluster.gateway, authority.pem(), "h2")
                .await
                .is_err()
            {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        let path = "/api/v1/namespaces/team-a/pods";
        assert_eq!(old.get(TEAM_A, path).await.status, StatusCode::OK);
    });
}

#[test]
fn a_gateway_is_ready_without_a_prometheus() {
    run(async {
        let cluster = Cluster::start().await;
        let ready = Call::get(cluster.proxy.admin("/readyz")).send().await;
        assert_eq!(ready.status, StatusCode::OK, "{}", ready.text());
        let query = format!("{RESERVED}/api/v1/query?query=up");
        let answer = cluster.http2().await.get(TEAM_A, &query).await;
        assert!(answer.status.is_server_error(), "{}", answer.status);
        assert!(answer.message().contains("Prometheus"), "{}", answer.text());
    });
}
