//! What is read of an answer's bytes, however they come.

use bytes::BytesMut;
use http::StatusCode;
use proptest::prelude::*;

use crate::upstream::http1::Encoding;
use crate::upstream::http1::framing::{Framing, Next};
use crate::upstream::http1::head::{Parsed, parse};

/// A body that has ended, and the bytes after it.
type Read = Option<(Vec<u8>, Vec<u8>)>;

/// The answer whose bytes come in these pieces.
fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, bodiless: bool) -> Result<Read, String> {
    let (mut buffer, mut body) = (BytesMut::new(), Vec::new());
    let mut framing = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while framing.is_none() {
            match parse(&buffer, bodiless).map_err(|error| error.to_string())? {
                None => break,
                Some((length, parsed)) => {
                    drop(buffer.split_to(length));
                    if let Parsed::Final { framing: found, .. } = parsed {
                        framing = Some(found);
                    }
                }
            }
        }
        let Some(framing) = &mut framing else {
            continue;
        };
        while let Next::Data(data) = framing
            .next(&mut buffer)
            .map_err(|error| error.to_string())?
        {
            assert!(!data.is_empty());
            body.extend_from_slice(&data);
        }
    }
    let ended = framing.is_some_and(|framing| framing.has_ended());
    Ok(ended.then(|| (body, buffer.to_vec())))
}

fn whole(answer: &str) -> Result<Option<(String, String)>, String> {
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let read = read([answer.as_bytes()], false)?;
    Ok(read.map(|(body, rest)| (text(body), text(rest))))
}

#[test]
fn a_body_ends_where_its_head_says() {
    for (answer, body, rest) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", ""),
        ("HTTP/1.1 200 OK\r\ncontent-length:2 \r\n\r\nok+", "ok", "+"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", ""),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
            "",
            "ok",
        ),
        ("HTTP/1.1 304 Not Modified\r\n\r\nok", "", "ok"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\nok", "", "ok"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", ""),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n+",
            "ok",
            "+",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             01;a=b\r\no\r\nA \r\n0123456789\r\n000\r\nX-Trailer: a\r\nY: b\r\n\r\n",
            "o0123456789",
            "",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "ok",
            "",
        ),
    ] {
        let expected = Ok(Some((body.to_owned(), rest.to_owned())));
        assert_eq!(whole(answer), expected, "{answer}");
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
    let bodiless = read([head.as_bytes()], true);
    assert_eq!(bodiless, Ok(Some((Vec::new(), Vec::new()))));
}

#[test]
fn h19_what_has_not_come_whole_has_not_ended() {
    for answer in [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the connection closes",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: a\r\n",
    ] {
        assert_eq!(whole(answer), Ok(None), "{answer}");
    }
}

#[test]
fn h21_an_answer_that_can_be_read_in_two_ways_is_none() {
    let long = "a".repeat(9000);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok".to_owned(),
        format!("{chunked}Content-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        format!("{chunked}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok".to_owned(),
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!("{chunked}\r\n2\r\nok+\r\n0\r\n\r\n"),
        format!("{chunked}\r\n2\nok\r\n0\r\n\r\n"),
        format!("{chunked}\r\n+2\r\nok\r\n0\r\n\r\n"),
        format!("{chunked}\r\n0x2\r\nok\r\n0\r\n\r\n"),
        format!("{chunked}\r\n\r\nok\r\n0\r\n\r\n"),
        format!("{chunked}\r\n10000000000000002\r\nok\r\n0\r\n\r\n"),
        format!("{chunked}\r\n2;{long}\r\nok\r\n0\r\n\r\n"),
        format!("{chunked}\r\n2;{long}"),
        format!("{chunked}\r\n0\r\nX: {long}\r\n\r\n"),
        format!("{chunked}\r\n0\r\n{}\r\n", "X: a\r\n".repeat(2000)),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(101)),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 099 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n a: c\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\na : c\r\n\r\n".to_owned(),
        "<html>".to_owned(),
    ] {
        assert!(whole(&answer).is_err(), "{answer}");
    }
}

#[test]
fn of_a_head_the_first_of_each_header_counts_and_all_encodings() {
    let head = |headers: &str| {
        let text = format!("HTTP/1.1 503 Unavailable\r\n{headers}\r\n");
        match parse(text.as_bytes(), false).expect("a head") {
            Some((_, Parsed::Final { head, lasting, .. })) => (head, lasting),
            other => panic!("{other:?}"),
        }
    };
    let (found, lasting) = head("Content-Type: a/b\r\ncontent-type: c\r\nRetry-After: 1\r\n");
    assert_eq!(found.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(found.content_type.expect("a type"), "a/b");
    assert_eq!(found.retry_after.expect("a time"), "1");
    assert!(lasting);
    for (headers, encoding) in [
        ("", Encoding::Identity),
        ("Content-Encoding: identity\r\n", Encoding::Identity),
        ("Content-Encoding: gzip\r\n", Encoding::Gzip),
        ("Content-Encoding: br\r\n", Encoding::Unknown),
        ("Content-Encoding: gzip, gzip\r\n", Encoding::Unknown),
        (
            "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n",
            Encoding::Unknown,
        ),
    ] {
        assert_eq!(head(headers).0.encoding, encoding, "{headers}");
    }
    for connection in ["close", "Close", "keep-alive, close", "x,\tclose "] {
        let (_, lasting) = head(&format!("Connection: {connection}\r\n"));
        assert!(!lasting, "{connection}");
    }
    assert!(head("Connection: keep-alive\r\n").1);
}

fn chunked(chunks: &[Vec<u8>], trailers: usize) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        answer.extend_from_slice(chunk);
        answer.extend_from_slice(b"\r\n");
    }
    answer.extend_from_slice(b"0\r\n");
    answer.extend(b"X-Trailer: a\r\n".repeat(trailers));
    answer.extend_from_slice(b"\r\n");
    answer
}

fn split(answer: &[u8], at: &[usize]) -> Vec<Vec<u8>> {
    let mut at: Vec<_> = at.iter().map(|at| at % (answer.len() + 1)).collect();
    at.extend([0, answer.len()]);
    at.sort_unstable();
    let pieces = at.windows(2);
    pieces
        .map(|ends| answer[ends[0]..ends[1]].to_vec())
        .collect()
}

proptest! {
    #[test]
    fn an_answer_is_the_same_however_it_is_cut(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        trailers in 0_usize..3,
        at in prop::collection::vec(any::<usize>(), 0..12),
        rest in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let body = chunks.concat();
        let length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        for mut answer in [chunked(&chunks, trailers), [length.as_bytes(), &body].concat()] {
            answer.extend_from_slice(&rest);
            let pieces = split(&answer, &at);
            let read = read(pieces.iter().map(Vec::as_slice), false);
            prop_assert_eq!(read, Ok(Some((body.clone(), rest.clone()))));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        head in prop::sample::select(vec![
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        ]),
        bytes in prop::collection::vec(prop::sample::select(b"HTP/1.20 ok:\r\n;fF\0\xff".to_vec()), 0..200),
        at in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let answer = [head.as_bytes(), &bytes].concat();
        let pieces = split(&answer, &at);
        let cut = read(pieces.iter().map(Vec::as_slice), false);
        let whole = read([&*answer], false);
        // How much of a bad answer is given out before it shows depends on how it comes.
        prop_assert_eq!(cut.is_err(), whole.is_err());
        if whole.is_ok() {
            prop_assert_eq!(cut, whole);
        }
    }

    #[test]
    fn a_body_without_a_length_is_whatever_comes(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
        let mut buffer = BytesMut::from(&*bytes);
        let mut framing = Framing::UntilClose;
        let expected = if bytes.is_empty() { Next::More } else { Next::Data(bytes.into()) };
        prop_assert_eq!(framing.next(&mut buffer).expect("data"), expected);
        prop_assert!(framing.ends_with_connection() && !framing.has_ended());
    }
}
