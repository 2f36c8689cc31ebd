use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use support::cluster::{STRANGER, TEAM_A};
use support::{run, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{PATH, grant, revoke, told};
use crate::cluster::Cluster;

/// Asks for a WebSocket as Headlamp's backend does, and reads the head of the answer.
async fn open(cluster: &Cluster, token: &str, query: &str) -> (String, TlsStream<TcpStream>) {
    let mut stream = cluster.connect("http/1.1").await;
    let head = format!(
        "GET {PATH}?watch=1{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: base64.binary.k8s.io\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon(stream.read_u8()).await.expect("a head"));
    }
    (String::from_utf8(answer).expect("text"), stream)
}

#[test]
fn headlamps_websocket_watches_them() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let list = cluster.http2().await.get(TEAM_A, PATH).await.json();
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version");
        let query = format!("&resourceVersion={version}");
        let (head, stream) = open(&cluster, TEAM_A, &query).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let lower = head.to_ascii_lowercase();
        // RFC 6455, 1.3.
        assert!(lower.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(
            lower.contains("sec-websocket-protocol: base64.binary.k8s.io"),
            "{head}"
        );
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let next = async |socket: &mut WebSocketStream<_>| {
            let message = soon(socket.next())
                .await
                .expect("no end")
                .expect("a message");
            let Message::Text(text) = message else {
                panic!("no text: {message:?}")
            };
            let event: Value = serde_json::from_str(&text).expect("JSON");
            told(&event)
        };
        socket.send(Message::Ping("x".into())).await.expect("sent");
        let pong = soon(socket.next())
            .await
            .expect("no end")
            .expect("a message");
        assert!(matches!(pong, Message::Pong(_)), "{pong:?}");
        grant(&cluster, "team-b");
        let (kind, name, first) = next(&mut socket).await;
        assert_eq!((&*kind, &*name), ("ADDED", "team-b"));
        assert!(first > version.parse().expect("a number"));
        revoke(&cluster, "team-b");
        assert_eq!(next(&mut socket).await.0, "DELETED");
        let gauge = "prom_rbac_proxy_gateway_namespace_watches";
        assert_eq!(cluster.proxy.metric(gauge).await, 1.0);
        socket.close(None).await.expect("closed");
        soon(async {
            while cluster.proxy.metric(gauge).await > 0.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;

        let (head, _) = open(&cluster, STRANGER, "").await;
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
        let (head, mut stream) = open(&cluster, TEAM_A, "&timeoutSeconds=x").await;
        assert!(head.starts_with("HTTP/1.1 400"), "{head}");
        drop(stream.shutdown().await);
    });
}
