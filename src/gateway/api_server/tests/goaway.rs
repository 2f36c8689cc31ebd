//! An API server that ends connections while requests are on them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use standins::tls::CertificateAuthority;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{configured, front};
use crate::cluster::goaway;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// GOAWAY, and no request counts.
    Unprocessed,
    /// Its stream is refused (RFC 9113, section 8.7).
    Refused,
    /// GOAWAY, and it counts; then the connection closes.
    Processed,
    /// GOAWAY with an error.
    Blamed,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn go_away(last: u32, code: u32) -> Vec<u8> {
    let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
    frame(GOAWAY, 0, 0, &payload)
}

/// What becomes of the next requests, of which those after that are answered, and the bodies of all that were read.
#[derive(Default)]
struct Server {
    fates: Vec<Fate>,
    bodies: Vec<usize>,
}

/// Serves one connection until one of the sides closes it.
async fn serve<S>(mut stream: S, server: &Mutex<Server>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.read_exact(&mut [0; 24]).await?;
    // Streams and the connection may send a mebibyte.
    let window = frame(SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0]);
    stream.write_all(&window).await?;
    let window = frame(WINDOW_UPDATE, 0, 0, &[0, 16, 0, 0]);
    stream.write_all(&window).await?;
    let mut body = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if kind == SETTINGS && flags & ACK == 0 {
            stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
        }
        if kind == DATA {
            body += payload.len();
        }
        if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
            continue;
        }
        let fate = {
            let mut server = server.lock().expect("not poisoned");
            server.bodies.push(std::mem::take(&mut body));
            server.fates.pop()
        };
        let answer = match fate {
            // `:status: 200` of the static table.
            None => frame(HEADERS, END_STREAM | END_HEADERS, id, &[0x88]),
            Some(Fate::Unprocessed) => go_away(0, 0),
            Some(Fate::Refused) => frame(RST_STREAM, 0, id, &7_u32.to_be_bytes()),
            Some(Fate::Processed) => go_away(id, 0),
            Some(Fate::Blamed) => go_away(0, 1),
        };
        stream.write_all(&answer).await?;
        if matches!(fate, Some(Fate::Processed)) {
            return Ok(());
        }
    }
}

/// Sends one request through the gateway, with a body of that many bytes. Returns the status and how often the API
/// server has read it.
async fn send(method: Method, length: usize, fates: &[Fate]) -> (StatusCode, usize) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = CertificateAuthority::new("test");
    let tls = authority.issue(&["kubernetes.test"]).server_config();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let server = Arc::new(Mutex::new(Server {
        fates: fates.to_vec(),
        bodies: Vec::new(),
    }));
    let serving = server.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            let (tls, server) = (tls.clone(), serving.clone());
            tokio::spawn(async move {
                let stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await;
                let _ = serve(stream.expect("TLS"), &server).await;
            });
        }
    });
    let (url, client) = front(configured(&authority, address)).await;
    let body = vec![b'x'; length];
    let request = Request::builder().method(method).uri(url);
    let request = request.body(Full::from(body)).expect("a request");
    let answer = tokio::time::timeout(Duration::from_secs(20), client.request(request)).await;
    let status = answer.expect("in time").expect("an answer").status();
    let bodies = std::mem::take(&mut server.lock().expect("not poisoned").bodies);
    assert!(bodies.iter().all(|body| *body == length), "{bodies:?}");
    (status, bodies.len())
}

#[tokio::test]
async fn a_request_that_the_api_server_says_it_has_not_processed_is_sent_again_whatever_it_is() {
    for fate in [Fate::Unprocessed, Fate::Refused] {
        for (method, length) in [
            (Method::GET, 0),
            (Method::DELETE, 0),
            (Method::POST, 1),
            (Method::PATCH, 60_000),
        ] {
            for times in [1, 3] {
                let sent = send(method.clone(), length, &vec![fate; times]).await;
                assert_eq!(sent, (StatusCode::OK, 1 + times), "{fate:?} {method}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_sent_again_unless_it_only_reads() {
    for fate in [Fate::Processed, Fate::Blamed] {
        for (method, length) in [(Method::DELETE, 0), (Method::POST, 1)] {
            let sent = send(method.clone(), length, &[fate]).await;
            assert_eq!(sent, (StatusCode::BAD_GATEWAY, 1), "{fate:?} {method}");
        }
        let sent = send(Method::GET, 0, &[fate]).await;
        assert_eq!(sent, (StatusCode::OK, 2), "{fate:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_to_keep_is_not_sent_again() {
    let sent = send(Method::POST, 200_000, &[Fate::Unprocessed]).await;
    assert_eq!(sent, (StatusCode::BAD_GATEWAY, 1));
}

#[tokio::test]
async fn an_api_server_that_ends_every_connection_is_given_up() {
    let sent = send(Method::POST, 1, &[Fate::Unprocessed; 100]).await;
    assert_eq!(sent, (StatusCode::BAD_GATEWAY, goaway::ATTEMPTS));
}
