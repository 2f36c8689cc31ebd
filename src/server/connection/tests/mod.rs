use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use standins::body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

mod floods;
mod idling;

const HOUR: Duration = Duration::from_secs(3600);

fn connection(protocol: Protocol) -> Connection {
    let (open, connection) = connection_until(protocol);
    // For as long as the test.
    std::mem::forget(open);
    connection
}

/// A connection that is to end when what comes with it is dropped.
fn connection_until(protocol: Protocol) -> (watch::Sender<()>, Connection) {
    let limits = ConnectionLimits {
        header_timeout: Duration::from_secs(10),
        connections: 1,
    };
    let (open, accepting) = watch::channel(());
    let connection = Connection {
        tls: None,
        limits,
        accepting,
        protocol,
    };
    (open, connection)
}

/// Serves one connection, and gives its other end.
async fn served<S, B>(protocol: Protocol, service: S) -> TcpStream
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let client = TcpStream::connect(listener.local_addr().expect("bound"));
    let client = client.await.expect("connected");
    let (stream, _) = listener.accept().await.expect("accepted");
    tokio::spawn(async move {
        let connection = connection(protocol);
        connection
            .serve(GuardedStream::new(stream, ()), service)
            .await;
    });
    client
}

#[tokio::test]
async fn a_response_may_be_silent_for_an_hour_on_either_protocol() {
    for second in [false, true] {
        let (senders, mut sender) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |_: Request<Incoming>| {
            let (sender, body) = body::channel(1);
            let _ = senders.send(sender);
            async { Ok::<_, Infallible>(Response::new(body)) }
        });
        let stream = TokioIo::new(served(Protocol::KUBERNETES, service).await);
        let request = Request::get("http://x/").header("host", "x");
        let request = request.body(Empty::<bytes::Bytes>::new()).expect("sound");
        let response = if second {
            let http2 = http2::handshake(TokioExecutor::new(), stream);
            let (mut client, connection) = http2.await.expect("HTTP/2");
            tokio::spawn(connection);
            client.send_request(request).await
        } else {
            let (mut client, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
            tokio::spawn(connection);
            client.send_request(request).await
        };
        let mut body = response.expect("an answer").into_body();
        let mut sender = sender.recv().await.expect("asked");
        for event in ["before", "after"] {
            sender.send_data(event.into()).await.expect("sent");
            let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await;
            let frame = frame.expect("in time").expect("no end").expect("sound");
            assert_eq!(frame.into_data().expect("data"), event);
            tokio::time::pause();
            tokio::time::advance(HOUR).await;
            tokio::time::resume();
        }
    }
}

#[tokio::test]
async fn h23_only_where_it_is_meant_does_a_connection_go_over_to_another_protocol() {
    for (protocol, expected) in [(Protocol::REQUESTS, ""), (Protocol::KUBERNETES, "ping")] {
        let service = service_fn(|mut request: Request<Incoming>| {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
            let response = Response::builder().status(101);
            let response = response.header("connection", "upgrade");
            let response = response.header("upgrade", "echo").body(body::empty());
            async { Ok::<_, Infallible>(response.expect("sound")) }
        });
        let mut stream = served(protocol, service).await;
        let request =
            b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nping";
        stream.write_all(request).await.expect("written");
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\nping") {
            let byte = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
            match byte.expect("in time") {
                Ok(byte) => answer.push(char::from(byte)),
                Err(_) => break,
            }
        }
        let (_, echoed) = answer.split_once("\r\n\r\n").unwrap_or_default();
        assert_eq!(echoed, expected, "{answer}");
    }
}

#[tokio::test]
async fn what_a_caller_does_not_take_is_not_read_ahead() {
    const PIECE: usize = 16 * 1024;
    const PIECES: usize = 64;
    // As from a connection that has nothing more just now, and from one that always has.
    for at_once in [false, true] {
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let service = service_fn({
            let asked = asked.clone();
            move |_: Request<Incoming>| {
                let asked = asked.clone();
                let pieces = futures_util::stream::iter(0..PIECES).then(move |_| {
                    asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    async move {
                        if !at_once {
                            tokio::task::yield_now().await;
                        }
                        let piece = bytes::Bytes::from_static(&[b'x'; PIECE]);
                        Ok::<_, Infallible>(http_body::Frame::data(piece))
                    }
                });
                let body = http_body_util::StreamBody::new(Box::pin(pieces));
                async { Ok::<_, Infallible>(Response::new(body)) }
            }
        });
        let (mut near, far) = tokio::io::duplex(PIECE);
        tokio::spawn(async move {
            let connection = connection(Protocol::REQUESTS);
            connection
                .serve_http(far, KnownProtocol::Http1, service)
                .await;
        });
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        near.write_all(request).await.expect("written");
        let mut answer = vec![0; 1];
        near.read_exact(&mut answer).await.expect("a first byte");
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let ahead = asked.load(std::sync::atomic::Ordering::SeqCst);
        // One is in the socket, one waits for it, one was under way.
        assert!(ahead <= 3, "{ahead} pieces, at once: {at_once}");
        near.read_to_end(&mut answer).await.expect("the rest");
        assert!(answer.len() > PIECES * PIECE);
        assert!(answer.ends_with(b"0\r\n\r\n"), "to its end");
    }
}
