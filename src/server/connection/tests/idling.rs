//! When a connection without a request ends.

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::floods::{GOAWAY, PING, PREFACE, frame, next};
use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_millis(100);

/// Serves one end of a pipe by `service`; what comes with the other end is when the program ends.
fn piped<S, B>(
    protocol: Protocol,
    known: KnownProtocol,
    service: S,
) -> (watch::Sender<()>, DuplexStream)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (open, connection) = connection_until(protocol);
    tokio::spawn(connection.serve_http(far, known, service));
    (open, near)
}

fn answers() -> impl Service<
    Request<Incoming>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
+ Send
+ 'static {
    service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
    })
}

/// Begins HTTP/2 and sends a PING every second until the connection is closed; with `answering`, it answers those of
/// the other side. How long that took, and when GOAWAY came.
async fn pinging(mut stream: DuplexStream, answering: bool) -> (Duration, Option<Duration>) {
    let begun = Instant::now();
    let begin = [PREFACE, &frame(4, 0, &[], 0)].concat();
    stream.write_all(&begin).await.expect("written");
    let (mut read, mut write) = tokio::io::split(stream);
    let (answers, mut to_answer) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    let pings = tokio::spawn(async move {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(1), to_answer.recv()).await;
            let frame = match next {
                Ok(Some(asked)) => frame(PING, 1, &asked, 0),
                Ok(None) | Err(_) => frame(PING, 0, &[1; 8], 0),
            };
            if write.write_all(&frame).await.is_err() {
                return;
            }
        }
    });
    let mut goaway = None;
    while let Some((kind, content, _)) = next(&mut read).await {
        if answering && kind == PING && content != [1; 8] {
            let _ = answers.send(content);
        }
        if kind == GOAWAY && goaway.is_none() {
            goaway = Some(begun.elapsed());
        }
    }
    pings.abort();
    (begun.elapsed(), goaway)
}

#[tokio::test(start_paused = true)]
async fn h31_pings_do_not_keep_a_connection_without_a_request() {
    let kubernetes = Protocol::KUBERNETES.idle;
    for (protocol, limit, answering) in [
        (Protocol::REQUESTS, LIMIT, false),
        (Protocol::REQUESTS, LIMIT, true),
        (Protocol::KUBERNETES, kubernetes, true),
    ] {
        for known in [KnownProtocol::Http2, KnownProtocol::Either] {
            let (_open, stream) = piped(protocol, known, answers());
            let (closed, goaway) = pinging(stream, answering).await;
            let goaway = goaway.expect("GOAWAY");
            assert!(goaway >= limit && goaway < limit + SLACK, "{goaway:?}");
            assert!(closed < 2 * limit + SLACK, "{closed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h31_a_client_in_good_order_is_told_to_go_and_goes() {
    let (_open, stream) = piped(Protocol::REQUESTS, KnownProtocol::Http2, answers());
    let http2 = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut client, connection) = http2.await.expect("HTTP/2");
    let ended = tokio::spawn(connection);
    let ask = || Request::get("http://x/").body(Empty::<Bytes>::new());
    tokio::time::sleep(LIMIT / 2).await;
    let answer = client.send_request(ask().expect("sound")).await;
    answer
        .expect("an answer")
        .into_body()
        .collect()
        .await
        .expect("whole");
    let last = Instant::now();
    ended.await.expect("no panic").expect("in good order");
    let rested = last.elapsed();
    assert!(
        rested >= LIMIT - SLACK && rested < LIMIT + SLACK,
        "{rested:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn h31_a_request_under_way_keeps_its_connection() {
    let service = service_fn(|_: Request<Incoming>| async {
        tokio::time::sleep(5 * LIMIT).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"late"))))
    });
    let (_open, stream) = piped(Protocol::REQUESTS, KnownProtocol::Http2, service);
    let http2 = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut client, connection) = http2.await.expect("HTTP/2");
    let ended = tokio::spawn(connection);
    let request = Request::get("http://x/").body(Empty::<Bytes>::new());
    let answer = client.send_request(request.expect("sound")).await;
    let answer = answer.expect("an answer").into_body().collect().await;
    assert_eq!(answer.expect("whole").to_bytes(), "late");
    let last = Instant::now();
    ended.await.expect("no panic").expect("in good order");
    assert!(last.elapsed() >= LIMIT - SLACK && last.elapsed() < LIMIT + SLACK);
}

#[tokio::test(start_paused = true)]
async fn h32_once_the_program_ends_nobody_without_a_request_holds_it_up() {
    let head = b"GET / HTTP/1.1\r\nhost";
    for (known, begin) in [
        (KnownProtocol::Http1, &head[..]),
        (KnownProtocol::Either, b"PO"),
    ] {
        let (open, mut stream) = piped(Protocol::REQUESTS, known, answers());
        stream.write_all(begin).await.expect("written");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        drop(open);
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert!(begun.elapsed() <= Duration::from_secs(2), "{known:?}");
    }
    // The beginning is never acknowledged, nor is the end.
    let (open, mut stream) = piped(Protocol::REQUESTS, KnownProtocol::Http2, answers());
    let begin = [PREFACE, &frame(4, 0, &[], 0)].concat();
    stream.write_all(&begin).await.expect("written");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    drop(open);
    stream.read_to_end(&mut Vec::new()).await.expect("read");
    assert!(begun.elapsed() <= Duration::from_secs(2) + SLACK);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_slowly_taken_is_not_cut_when_the_program_ends() {
    const LENGTH: usize = 100_000;
    let service = service_fn(|_: Request<Incoming>| async {
        let body = Full::new(Bytes::from(vec![b'x'; LENGTH]));
        Ok::<_, Infallible>(Response::new(body))
    });
    let (open, mut stream) = piped(Protocol::REQUESTS, KnownProtocol::Http1, service);
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.expect("written");
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(open);
    tokio::time::sleep(LIMIT / 2).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    assert!(answer.len() > LENGTH, "{}", answer.len());
}
