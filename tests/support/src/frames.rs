//! HTTP/2, frame by frame: what no client library sends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame as it came.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub payload: Vec<u8>,
}

/// A connection on which any frame can be sent.
pub struct Frames {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
}

impl Frames {
    /// Connects and sends preface and settings: `window` is the initial window of each stream.
    pub async fn connect(address: SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        let (read, mut write) = stream.into_split();
        let mut settings = vec![0, 4];
        settings.extend(window.to_be_bytes());
        let start = [PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat();
        write.write_all(&start).await.expect("written");
        Self { read, write }
    }

    /// Sends bytes. `false` once the other side has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.write.write_all(bytes).await.is_ok()
    }

    /// The next frame within `limit`; `None` when nothing comes or the other side has closed.
    pub async fn next(&mut self, limit: Duration) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.read.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.read.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind: head[3],
                flags: head[4],
                payload,
            })
        };
        tokio::time::timeout(limit, read).await.ok().flatten()
    }

    /// Reads until a frame of that kind comes, or none for `limit`.
    pub async fn until(&mut self, kind: u8, limit: Duration) -> Option<Frame> {
        while let Some(frame) = self.next(limit).await {
            if frame.kind == kind {
                return Some(frame);
            }
        }
        None
    }
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A GET with a token, and nothing after it.
pub fn get(stream: u32, path: &str, token: &str) -> Vec<u8> {
    let block = block(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "proxy"),
        (":path", path),
        ("authorization", &format!("Bearer {token}")),
    ]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// Headers, each written out, without Huffman's code.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn length(length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(u8::try_from(length).expect("small"));
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("small") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("small"));
}
