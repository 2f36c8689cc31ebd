//! When a connection is used again, and when it is closed.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Method;
use http::uri::{Authority, Scheme};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc;

use crate::upstream::http1::{Answer, Client, Connect, Error, Request, Stream};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Hands the other end of each connection to the test.
struct Pipes(mpsc::UnboundedSender<DuplexStream>);

impl Connect for Pipes {
    fn connect(&self, _: &Authority) -> BoxFuture<'static, Result<Stream, BoxError>> {
        let (near, far) = duplex(1024);
        let opened = self.0.send(far).map_err(Into::into);
        async move { opened.map(|()| Stream::Other(Box::new(near))) }.boxed()
    }
}

fn client() -> (Client, mpsc::UnboundedReceiver<DuplexStream>) {
    let (opened, connections) = mpsc::unbounded_channel();
    (Client::new(Pipes(opened)), connections)
}

fn prometheus() -> Authority {
    Authority::from_static("prometheus")
}

fn request(form: &'static [u8]) -> Request {
    let method = if form.is_empty() {
        Method::GET
    } else {
        Method::POST
    };
    let request = Request::new(&method, ["", "/q"], &Scheme::HTTP, &prometheus());
    request.finish(Bytes::from_static(form))
}

const HEAD: &str = "GET /q HTTP/1.1\r\nhost: prometheus\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads a request without a form and answers it.
async fn serve(stream: &mut DuplexStream, answer: &str) {
    let mut head = vec![0; HEAD.len()];
    stream.read_exact(&mut head).await.expect("a request");
    assert_eq!(head, HEAD.as_bytes());
    stream.write_all(answer.as_bytes()).await.expect("answered");
}

async fn ask(client: &Client) -> Result<Answer, Error> {
    client.send(&prometheus(), &request(b"")).await
}

async fn text(answer: Answer) -> Result<String, Error> {
    let collected = answer.body.collect().await?;
    Ok(String::from_utf8(collected.to_bytes().to_vec()).expect("text"))
}

#[tokio::test]
async fn a_connection_is_used_again_after_an_answer_that_ended() {
    let (client, mut connections) = client();
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let early =
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nok";
    let serving = async {
        let mut stream = connections.recv().await.expect("a connection");
        for answer in [OK, chunked, early, OK] {
            serve(&mut stream, answer).await;
        }
        stream
    };
    let asking = async {
        for _ in 0..4 {
            let answer = ask(&client).await.expect("an answer");
            assert_eq!(text(answer).await.expect("a body"), "ok");
        }
    };
    let (_stream, ()) = tokio::join!(serving, asking);
    assert!(connections.try_recv().is_err(), "there was only one");
}

#[tokio::test]
async fn h22_a_connection_is_not_used_again_after_an_answer_that_was_odd() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\nanother's",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let (client, mut connections) = client();
        let serving = async {
            let mut first = connections.recv().await.expect("a connection");
            serve(&mut first, answer).await;
            let rest = first.read(&mut [0]).await.expect("an end");
            assert_eq!(rest, 0, "{answer}");
            let mut second = connections.recv().await.expect("another connection");
            serve(&mut second, OK).await;
        };
        let asking = async {
            let _ = text(ask(&client).await.expect("an answer"))
                .await
                .expect("a body");
            let second = ask(&client).await.expect("an answer");
            assert_eq!(text(second).await.expect("a body"), "ok", "{answer}");
        };
        tokio::join!(serving, asking);
    }
}

#[tokio::test]
async fn h22_what_comes_on_a_connection_that_nobody_uses_closes_it() {
    for late in ["HTTP/1.1 408 Request Timeout\r\n\r\n", ""] {
        let (client, mut connections) = client();
        let serving = async {
            let mut first = connections.recv().await.expect("a connection");
            serve(&mut first, OK).await;
            first
        };
        let asking = async { text(ask(&client).await.expect("an answer")).await };
        let (mut first, body) = tokio::join!(serving, asking);
        assert_eq!(body.expect("a body"), "ok");
        if late.is_empty() {
            drop(first);
        } else {
            first.write_all(late.as_bytes()).await.expect("written");
        }
        let serving = async {
            let mut second = connections.recv().await.expect("another connection");
            serve(&mut second, OK).await;
        };
        let asking = async { text(ask(&client).await.expect("an answer")).await };
        let ((), body) = tokio::join!(serving, asking);
        assert_eq!(body.expect("a body"), "ok");
    }
}

#[tokio::test]
async fn h19_an_answer_that_is_cut_is_an_error() {
    for (answer, begins) in [
        ("", false),
        ("HTTP/1.1 200 OK\r\nContent-", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
            true,
        ),
    ] {
        let (client, mut connections) = client();
        let serving = async {
            let mut stream = connections.recv().await.expect("a connection");
            serve(&mut stream, answer).await;
        };
        let ((), answered) = tokio::join!(serving, ask(&client));
        let error = match answered {
            Ok(answered) => {
                assert!(begins, "{answer}");
                text(answered).await.expect_err("it is cut")
            }
            Err(error) => {
                assert!(!begins, "{answer}");
                error
            }
        };
        assert!(matches!(error, Error::Broken(_)), "{answer}: {error}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_ends_with_its_connection() {
    let (client, mut connections) = client();
    let serving = async {
        let mut stream = connections.recv().await.expect("a connection");
        serve(&mut stream, "HTTP/1.1 200 OK\r\n\r\nok").await;
    };
    let asking = async { text(ask(&client).await.expect("an answer")).await };
    let ((), body) = tokio::join!(serving, asking);
    assert_eq!(body.expect("a body"), "ok");
}

#[tokio::test]
async fn h17_dropping_a_request_or_a_body_closes_its_connection() {
    let (client, mut connections) = client();
    let unanswered = tokio::time::timeout(Duration::from_millis(1), ask(&client)).await;
    assert!(unanswered.is_err());
    let mut stream = connections.recv().await.expect("a connection");
    let mut received = String::new();
    stream.read_to_string(&mut received).await.expect("an end");
    assert_eq!(received, HEAD);

    let serving = async {
        let mut stream = connections.recv().await.expect("a connection");
        serve(
            &mut stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        )
        .await;
        stream
    };
    let (mut stream, answer) = tokio::join!(serving, ask(&client));
    let mut answer = answer.expect("an answer");
    assert_eq!(answer.body.size_hint().exact(), Some(9));
    let frame = answer
        .body
        .frame()
        .await
        .expect("a frame")
        .expect("no error");
    assert_eq!(frame.into_data().expect("data"), "ok");
    assert_eq!(answer.body.size_hint().exact(), Some(7));
    assert!(!answer.body.is_end_stream());
    drop(answer);
    assert_eq!(stream.read(&mut [0]).await.expect("an end"), 0);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_form_was_taken_counts_and_closes() {
    static FORM: [u8; 4096] = [b'a'; 4096];
    let (client, mut connections) = client();
    let serving = async {
        let mut stream = connections.recv().await.expect("a connection");
        // Less than the pipe holds, and the form is longer.
        stream.read_exact(&mut [0; 100]).await.expect("a beginning");
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nok")
            .await
            .expect("answered");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("an end");
        assert!(rest.len() < FORM.len());
    };
    let asking = async {
        let answer = client.send(&prometheus(), &request(&FORM)).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.head.status, http::StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(answer).await.expect("a body"), "ok");
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn a_head_without_an_end_is_read_only_so_far() {
    let (client, mut connections) = client();
    let serving = async {
        let mut stream = connections.recv().await.expect("a connection");
        let mut sent = 0;
        serve(&mut stream, "HTTP/1.1 200 OK\r\n").await;
        while sent < 1 << 20 && stream.write_all(b"X-Long: aaaaaaa\r\n").await.is_ok() {
            sent += 17;
        }
        assert!(sent < 64 * 1024, "{sent}");
    };
    let ((), answered) = tokio::join!(serving, ask(&client));
    assert!(matches!(answered, Err(Error::Malformed(_))), "{answered:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_that_nobody_uses_are_closed() {
    async fn kept() -> (Client, DuplexStream) {
        let (client, mut connections) = client();
        let serving = async {
            let mut stream = connections.recv().await.expect("a connection");
            serve(&mut stream, OK).await;
            stream
        };
        let asking = async { text(ask(&client).await.expect("an answer")).await };
        let (stream, body) = tokio::join!(serving, asking);
        assert_eq!(body.expect("a body"), "ok");
        (client, stream)
    }
    let (client, mut stream) = kept().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(stream.read(&mut [0]).await.expect("an end"), 0);
    let kept_for = begun.elapsed().as_secs();
    assert!((75..=90).contains(&kept_for), "{kept_for}");
    drop(client);

    // With the client goes what it kept.
    let (client, mut stream) = kept().await;
    drop(client);
    assert_eq!(
        stream.read(&mut [0]).now_or_never().map(Result::ok),
        Some(Some(0))
    );
}

/// Answers its first request, and takes no other.
struct Once(DuplexStream, bool);

impl AsyncRead for Once {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Once {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if std::mem::replace(&mut self.1, true) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Gives out the streams that it was given.
struct Given(Mutex<Vec<Stream>>);

impl Connect for Arc<Given> {
    fn connect(&self, _: &Authority) -> BoxFuture<'static, Result<Stream, BoxError>> {
        let stream = self.0.lock().expect("no panic").pop();
        async move { stream.ok_or_else(|| "there is no more".into()) }.boxed()
    }
}

#[tokio::test]
async fn a_request_goes_out_anew_only_if_a_kept_connection_took_nothing_of_it() {
    let (near, mut first) = duplex(1024);
    let (other, mut second) = duplex(1024);
    let streams = vec![
        Stream::Other(Box::new(other)),
        Stream::Other(Box::new(Once(near, false))),
    ];
    let given = Arc::new(Given(Mutex::new(streams)));
    let client = Client::new(given.clone());
    let serving = async {
        serve(&mut first, OK).await;
        serve(&mut second, OK).await;
        // A connection that has taken the third, and ends.
        second
            .read_exact(&mut vec![0; HEAD.len()])
            .await
            .expect("a request");
        drop(second);
    };
    let asking = async {
        for _ in 0..2 {
            let answer = ask(&client).await.expect("an answer");
            assert_eq!(text(answer).await.expect("a body"), "ok");
        }
        let third = ask(&client).await;
        assert!(matches!(third, Err(Error::Broken(_))), "{third:?}");
        let fourth = ask(&client).await;
        assert!(matches!(fourth, Err(Error::Connect(_))), "{fourth:?}");
    };
    tokio::join!(serving, asking);
}

#[tokio::test]
async fn h34_heads_before_the_answers_have_an_end() {
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    for (count, accepted) in [(16, true), (17, false), (1_000_000, false)] {
        let (client, mut connections) = client();
        let asking = tokio::spawn(async move { ask(&client).await.map(|_| ()) });
        let mut stream = connections.recv().await.expect("opened");
        serve(&mut stream, "").await;
        for _ in 0..count {
            if stream.write_all(early.as_bytes()).await.is_err() {
                break;
            }
        }
        let _ = stream.write_all(OK.as_bytes()).await;
        let asked = asking.await.expect("no panic");
        assert_eq!(asked.is_ok(), accepted, "{count}: {asked:?}");
    }
}

#[tokio::test]
async fn no_more_unused_connections_are_kept_than_the_bound() {
    const KEPT: usize = 512;
    let (client, mut connections) = client();
    let mut streams = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..KEPT + 10 {
        let (answer, stream) = tokio::join!(ask(&client), async {
            let mut stream = connections.recv().await.expect("opened");
            serve(&mut stream, OK).await;
            stream
        });
        answers.push(answer.expect("an answer"));
        streams.push(stream);
    }
    for answer in answers {
        text(answer).await.expect("whole");
    }
    let closed = |stream: &mut DuplexStream| {
        let read = stream.read_u8().now_or_never();
        matches!(read, Some(Err(_)))
    };
    let closed = streams
        .iter_mut()
        .filter_map(|stream| closed(stream).then_some(()));
    assert_eq!(closed.count(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_discarded_gives_its_connection_back_unless_it_is_too_long_or_slow() {
    for (answer, kept) in [
        (OK, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nlong!", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", false),
    ] {
        let (client, mut connections) = client();
        let serving = async {
            let mut stream = connections.recv().await.expect("opened");
            serve(&mut stream, answer).await;
            stream
        };
        let (mut stream, asked) = tokio::join!(serving, ask(&client));
        let body = asked.expect("an answer").body;
        body.discard(4, Duration::from_secs(1)).await;
        let closed = matches!(stream.read_u8().now_or_never(), Some(Err(_)));
        assert_eq!(closed, !kept, "{answer}");
    }
}
