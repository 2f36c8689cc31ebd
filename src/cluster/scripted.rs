//! A server for unit tests that speaks HTTP/2 frame by frame, and ends requests, connections or itself as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use standins::tls::CertificateAuthority;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// GOAWAY, and no request counts.
    Unprocessed,
    /// Its stream is refused (RFC 9113, section 8.7).
    Refused,
    /// GOAWAY, and it counts; then the connection closes.
    Processed,
    /// GOAWAY with an error.
    Blamed,
    /// From now on the connection takes in everything and says nothing, as when its node is lost.
    Swallowed,
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
struct Script {
    answer: &'static [u8],
    fates: Vec<Fate>,
    bodies: Vec<usize>,
    connections: usize,
}

/// A server over HTTP/2 and TLS, on a port of its own, for as long as the test's runtime.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

impl Scripted {
    /// The last of `fates` is that of the first request. Past them, all are answered with `answer`.
    pub(crate) async fn start(
        authority: &CertificateAuthority,
        answer: &'static [u8],
        fates: &[Fate],
    ) -> Self {
        let tls = authority.issue(&["kubernetes.test"]).server_config();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let script = Arc::new(Mutex::new(Script {
            answer,
            fates: fates.to_vec(),
            bodies: Vec::new(),
            connections: 0,
        }));
        let serving = script.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let (tls, script) = (tls.clone(), serving.clone());
                script.lock().expect("not poisoned").connections += 1;
                tokio::spawn(async move {
                    let stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await;
                    let _ = serve(stream.expect("TLS"), &script).await;
                });
            }
        });
        Self { address, script }
    }

    /// How long the bodies of the requests were that have been read, and forgets them.
    pub(crate) fn bodies(&self) -> Vec<usize> {
        std::mem::take(&mut self.script.lock().expect("not poisoned").bodies)
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.script.lock().expect("not poisoned").connections
    }
}

/// Serves one connection until one of the sides closes it.
async fn serve<S>(mut stream: S, script: &Mutex<Script>) -> std::io::Result<()>
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
        if kind == PING && flags & ACK == 0 {
            stream.write_all(&frame(PING, ACK, 0, &payload)).await?;
        }
        if kind == SETTINGS && flags & ACK == 0 {
            stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
        }
        if kind == DATA {
            body += payload.len();
        }
        if !matches!(kind, DATA | HEADERS) || flags & END_STREAM == 0 {
            continue;
        }
        let (fate, content) = {
            let mut script = script.lock().expect("not poisoned");
            script.bodies.push(std::mem::take(&mut body));
            (script.fates.pop(), script.answer)
        };
        let answer = match fate {
            // `:status: 200` of the static table.
            None if content.is_empty() => frame(HEADERS, END_STREAM | END_HEADERS, id, &[0x88]),
            None => [
                frame(HEADERS, END_HEADERS, id, &[0x88]),
                frame(DATA, END_STREAM, id, content),
            ]
            .concat(),
            Some(Fate::Unprocessed) => go_away(0, 0),
            Some(Fate::Refused) => frame(RST_STREAM, 0, id, &7_u32.to_be_bytes()),
            Some(Fate::Processed) => go_away(id, 0),
            Some(Fate::Blamed) => go_away(0, 1),
            Some(Fate::Swallowed) => {
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
                return Ok(());
            }
        };
        stream.write_all(&answer).await?;
        if matches!(fate, Some(Fate::Processed)) {
            return Ok(());
        }
    }
}
