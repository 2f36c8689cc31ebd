use http::Method;
use standins::kubernetes::Subject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

use support::cluster::STRANGER;
use support::{run, soon};

use crate::cluster::Cluster;

const WEBSOCKET: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: v4.channel.k8s.io, v3.channel.k8s.io, base64.binary.k8s.io\r\n";
const SPDY: &str = "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n\
    Content-Length: 0\r\n";

/// Sends a request for an upgrade, and reads the head of the answer.
async fn upgrade(
    stream: &mut TlsStream<TcpStream>,
    (method, token, path): (Method, &str, &str),
    headers: &str,
) -> String {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Cookie: headlamp-auth-main.0=x\r\nConnection: keep-alive, Upgrade\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    read_head(stream).await
}

async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn upgrades_carry_every_byte_both_ways_to_the_end_of_each() {
    run(async {
        let cluster = Cluster::start().await;
        let token = cluster.api.admin_token();
        let address = ([127, 0, 0, 1], 80).into();
        cluster.api.create_pod_at("team-a", "web", &[], address);
        let pod = "/api/v1/namespaces/team-a/pods/web";
        let exec = format!("{pod}/exec?command=sh&command=-c&stdin=true");
        let forward = format!("{pod}/portforward");
        let mut numbers = Numbers(7);
        for round in 0..30 {
            let (call, headers) = if round % 2 == 0 {
                ((Method::GET, token, &*exec), WEBSOCKET)
            } else {
                ((Method::POST, token, &*forward), SPDY)
            };
            let mut stream = cluster.connect("http/1.1").await;
            let head = upgrade(&mut stream, call, headers).await;
            let lower = head.to_ascii_lowercase();
            assert!(
                head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
                "{head}"
            );
            assert!(lower.contains("\r\nconnection: upgrade\r\n"), "{head}");
            let length = numbers.below(300_000);
            let sent: Vec<u8> = (0..length).map(|_| numbers.below(256) as u8).collect();
            let (mut reader, mut writer) = tokio::io::split(stream);
            let write = async {
                let mut rest = &sent[..];
                while !rest.is_empty() {
                    let (piece, later) = rest.split_at(1 + numbers.below(rest.len()));
                    writer.write_all(piece).await.expect("written");
                    writer.flush().await.expect("flushed");
                    rest = later;
                }
                writer.shutdown().await.expect("our end");
            };
            let mut echoed = Vec::new();
            let (_, end) = soon(futures_util::future::join(
                write,
                reader.read_to_end(&mut echoed),
            ))
            .await;
            end.expect("their end");
            assert!(sent == echoed, "{} sent, {} back", sent.len(), echoed.len());
        }
        let seen = cluster.api.requests_for("pods/exec").remove(0);
        assert_eq!(seen.uri, exec);
        let protocols = "v4.channel.k8s.io, v3.channel.k8s.io, base64.binary.k8s.io";
        assert_eq!(seen.headers["sec-websocket-protocol"], protocols);
        assert!(!seen.headers.contains_key("cookie"));
        soon(async {
            while cluster
                .proxy
                .metric("prom_rbac_proxy_gateway_tunnels")
                .await
                > 0.0
            {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    });
}

#[test]
fn the_other_side_may_end_first_and_still_hear_what_comes() {
    run(async {
        let cluster = Cluster::start().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        cluster
            .api
            .create_service_at("team-a", "talker", &[], 80, address);
        cluster
            .api
            .bind_cluster_role("edit", "edit", Subject::User("mallory"));
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let head = read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\nbye")
                .await
                .expect("written");
            stream.shutdown().await.expect("its end");
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.expect("heard");
            (head, heard)
        });
        let path = "/api/v1/namespaces/team-a/services/talker:80/proxy/";
        let mut stream = cluster.connect("http/1.1").await;
        let call = (Method::GET, STRANGER, path);
        let head = upgrade(&mut stream, call, "Upgrade: talk\r\n").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let mut said = String::new();
        soon(stream.read_to_string(&mut said))
            .await
            .expect("its end");
        assert_eq!(said, "bye");
        stream.write_all(b"still here").await.expect("written");
        stream.shutdown().await.expect("our end");
        let (head, heard) = soon(server).await.expect("no panic");
        assert_eq!(heard, "still here");
        assert!(!head.to_ascii_lowercase().contains("cookie"), "{head}");
    });
}

#[test]
fn an_upgrade_that_is_refused_is_an_answer_like_any_other() {
    run(async {
        let cluster = Cluster::start().await;
        let mut stream = cluster.connect("http/1.1").await;
        let path = "/api/v1/namespaces/team-a/pods/web/exec?command=sh";
        // The connection goes on: twice on the same one.
        for _ in 0..2 {
            let head = upgrade(&mut stream, (Method::GET, STRANGER, path), WEBSOCKET).await;
            assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
            let length = head.to_ascii_lowercase();
            let length = length
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.expect("a length").parse().expect("a number");
            let mut body = vec![0; length];
            soon(stream.read_exact(&mut body)).await.expect("a body");
            let status: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(status["kind"], "Status");
        }
    });
}

#[test]
fn an_upgrade_to_http2_without_tls_is_not_made() {
    run(async {
        let cluster = Cluster::start().await;
        let mut stream = cluster.connect("http/1.1").await;
        let h2c = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
        let head = upgrade(&mut stream, (Method::GET, STRANGER, "/version"), h2c).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let seen = cluster.api.requests_for("/version").remove(0);
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(!seen.headers.contains_key(name), "{name}");
        }
    });
}

#[test]
fn h23_the_service_listener_makes_no_upgrade() {
    run(async {
        let cluster = Cluster::start().await;
        let service = cluster.proxy.service();
        let mut stream = TcpStream::connect(service).await.expect("connected");
        let request = format!(
            "GET /api/v1/query?query=up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n{WEBSOCKET}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    });
}

#[test]
fn a_tunnel_is_waited_for_at_the_end() {
    run(async {
        let cluster = Cluster::start().await;
        let token = cluster.api.admin_token();
        let address = ([127, 0, 0, 1], 80).into();
        cluster.api.create_pod_at("team-a", "web", &[], address);
        let path = "/api/v1/namespaces/team-a/pods/web/attach";
        let mut stream = cluster.connect("http/1.1").await;
        let head = upgrade(&mut stream, (Method::GET, token, path), WEBSOCKET).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        cluster.proxy.signal("TERM");
        let refused = async {
            while TcpStream::connect(cluster.gateway).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        soon(refused).await;
        stream.write_all(b"still here").await.expect("written");
        let mut echo = [0; 10];
        soon(stream.read_exact(&mut echo)).await.expect("an echo");
        assert_eq!(&echo, b"still here");
        assert!(cluster.proxy.exited().is_none());
        drop(stream);
        let ended = async {
            loop {
                if let Some(status) = cluster.proxy.exited() {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        assert!(soon(ended).await.success());
    });
}
