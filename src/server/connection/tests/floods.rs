//! Floods of HTTP/2 frames, frame by frame: each kind ends the connection, on either kind of listener.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::DuplexStream;

use super::*;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PROTOCOLS: [Protocol; 2] = [Protocol::REQUESTS, Protocol::KUBERNETES];

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const REFUSED_STREAM: u8 = 7;
const ENHANCE_YOUR_CALM: u8 = 11;

/// A frame; the last number is its stream.
pub(super) fn frame(kind: u8, flags: u8, content: &[u8], stream: u32) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short").to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head, &stream.to_be_bytes()[..], content].concat()
}

/// Names and values as they are, all short.
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    block
}

fn get(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let block = block(&[&head[..], &[(":authority", "x")], more].concat());
    frame(HEADERS, END_STREAM | END_HEADERS, &block, stream)
}

/// A connection that has begun, to a service that never answers, and how often that was called.
fn begun(protocol: Protocol) -> (DuplexStream, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let service = {
        let calls = calls.clone();
        service_fn(move |_: Request<Incoming>| {
            calls.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<Response<body::Body>, Infallible>>()
        })
    };
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let connection = connection(protocol);
        connection
            .serve_http(far, KnownProtocol::Either, service)
            .await;
    });
    (near, calls)
}

/// The next frame: kind, content, stream. `None` at the end.
pub(super) async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut content = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut content).await.ok()?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], content, id))
}

/// Sends all of it, and gives what comes until the connection is closed.
async fn flooded(protocol: Protocol, flood: Vec<u8>) -> (Vec<(u8, Vec<u8>, u32)>, usize) {
    let (near, calls) = begun(protocol);
    let (mut read, mut write) = tokio::io::split(near);
    let sending = tokio::spawn(async move {
        let begin = [PREFACE, &frame(SETTINGS, 0, &[], 0)].concat();
        let _ = write.write_all(&begin).await;
        let _ = write.write_all(&flood).await;
        write
    });
    let mut frames = Vec::new();
    let reading = async {
        while let Some(frame) = next(&mut read).await {
            frames.push(frame);
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), reading).await;
    ended.expect("the connection is ended");
    sending.abort();
    (frames, calls.load(Ordering::SeqCst))
}

fn reason(frames: &[(u8, Vec<u8>, u32)]) -> Option<u8> {
    let goaway = frames.iter().find(|(kind, ..)| *kind == GOAWAY);
    goaway.map(|(_, content, _)| content[7])
}

#[tokio::test]
async fn h35_what_is_offered_is_set_by_us() {
    for protocol in PROTOCOLS {
        let (mut near, _calls) = begun(protocol);
        let begin = [PREFACE, &frame(SETTINGS, 0, &[], 0)].concat();
        near.write_all(&begin).await.expect("written");
        let (kind, content, _) = next(&mut near).await.expect("settings");
        assert_eq!(kind, SETTINGS);
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        };
        let settings: Vec<_> = (content.chunks(6))
            .map(|setting| (number(&setting[..2]), number(&setting[2..])))
            .collect();
        // RFC 9113, 6.5.2: streams, window of a stream, longest frame, list of headers.
        for expected in [
            (3, protocol.max_streams),
            (4, protocol.stream_window),
            (5, MAX_FRAME_BYTES),
            (6, protocol.max_header_bytes),
        ] {
            assert!(settings.contains(&expected), "{expected:?} in {settings:?}");
        }
    }
}

#[tokio::test]
async fn h35_streams_that_are_reset_at_once_end_the_connection() {
    let reset = |stream| frame(RST_STREAM, 0, &8_u32.to_be_bytes(), stream);
    let flood = (0..2000).flat_map(|index| [get(2 * index + 1, &[]), reset(2 * index + 1)]);
    let flood: Vec<u8> = flood.flatten().collect();
    for protocol in PROTOCOLS {
        let (frames, calls) = flooded(protocol, flood.clone()).await;
        assert_eq!(reason(&frames), Some(ENHANCE_YOUR_CALM));
        assert!(calls <= MAX_PENDING_RESETS, "{calls}");
    }
}

#[tokio::test]
async fn h35_streams_that_must_be_reset_for_their_errors_end_the_connection() {
    let flood = (0..2000).flat_map(|index| get(2 * index + 1, &[("connection", "close")]));
    let flood: Vec<u8> = flood.collect();
    for protocol in PROTOCOLS {
        let (frames, calls) = flooded(protocol, flood.clone()).await;
        assert_eq!(reason(&frames), Some(ENHANCE_YOUR_CALM));
        let resets = frames.iter().filter(|(kind, ..)| *kind == RST_STREAM);
        assert!(resets.count() <= MAX_ERROR_RESETS);
        assert_eq!(calls, 0);
    }
}

#[tokio::test]
async fn h35_frames_that_carry_nothing_end_the_connection() {
    for (kind, flags, content) in [
        (PING, 0, &[0; 8][..]),
        (PING, 1, &[0; 8]),
        (SETTINGS, 0, &[]),
        (SETTINGS, 0, &[0, 3, 0, 0, 0, 1]),
        (2, 0, &[0, 0, 0, 0, 1]),
        (8, 0, &[0, 0, 0, 1]),
        (99, 0, &[1; 20]),
    ] {
        let stream = if kind == 2 { 1 } else { 0 };
        let flood = frame(kind, flags, content, stream).repeat(10_000);
        for protocol in PROTOCOLS {
            let (frames, _) = flooded(protocol, flood.clone()).await;
            let answered = frames.iter().filter(|(answer, ..)| *answer == kind);
            assert!(answered.count() <= 2_100, "{kind}");
        }
    }
}

#[tokio::test]
async fn h35_a_head_without_end_ends_the_connection() {
    let head = frame(HEADERS, END_STREAM, &block(&[(":method", "GET")]), 1);
    let more = "a".repeat(100);
    let more = block(&[("x-a", &more)]).repeat(50);
    let long = frame(CONTINUATION, 0, &more, 1).repeat(200);
    let empty = frame(CONTINUATION, 0, &[], 1).repeat(100_000);
    for flood in [long, empty] {
        for protocol in PROTOCOLS {
            let flood = [&head[..], &flood].concat();
            let (frames, calls) = flooded(protocol, flood).await;
            assert!(reason(&frames).is_some());
            assert_eq!(calls, 0);
        }
    }
}

#[tokio::test]
async fn h35_past_the_bound_streams_are_refused() {
    for protocol in PROTOCOLS {
        let (mut near, calls) = begun(protocol);
        let begin = [PREFACE, &frame(SETTINGS, 0, &[], 0)].concat();
        near.write_all(&begin).await.expect("written");
        // What is offered is in force once it is acknowledged.
        next(&mut near).await.expect("settings");
        let acknowledged = frame(SETTINGS, 1, &[], 0);
        near.write_all(&acknowledged).await.expect("written");
        for index in 0..protocol.max_streams + 10 {
            let head = get(2 * index + 1, &[]);
            near.write_all(&head).await.expect("written");
        }
        let mut refused = 0;
        let reading = async {
            while refused < 10 {
                let (kind, content, _) = next(&mut near).await.expect("a frame");
                if kind == RST_STREAM {
                    assert_eq!(content[3], REFUSED_STREAM);
                    refused += 1;
                }
                assert_ne!(kind, DATA);
            }
        };
        let reading = tokio::time::timeout(Duration::from_secs(20), reading).await;
        reading.expect("refused in time");
        assert_eq!(calls.load(Ordering::SeqCst), protocol.max_streams as usize);
    }
}
