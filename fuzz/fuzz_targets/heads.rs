//! Any bytes as the head of an answer and what follows, arriving in any pieces: what becomes of them does not depend on
//! the pieces, and where hyper's client reads them too, it reads the same.

#![no_main]

use std::sync::Mutex;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::upstream::http1::{Client, Connect, Request, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// One connection.
struct Once(Mutex<Option<DuplexStream>>);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting = std::pin::Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

impl Connect for Once {
    fn connect(&self, _: &Authority) -> Connecting {
        let stream = self.0.lock().expect("no panic").take();
        Box::pin(async move { Ok(Stream::Other(Box::new(stream.ok_or("only one")?))) })
    }
}

type Outcome = Option<(StatusCode, Option<Bytes>)>;

/// Status and body as this crate's client reads them: nothing without a head, no body without its end.
async fn ours(answer: &[u8], piece: usize) -> Outcome {
    // What is written fills the room, so that the next piece comes only after this one was read.
    let (near, far) = duplex(piece);
    let client = Client::new(Once(Mutex::new(Some(near))));
    let authority = Authority::from_static("prometheus");
    let request = Request::new(&Method::GET, ["", "/"], &Scheme::HTTP, &authority);
    let request = request.finish(Bytes::new());
    let reading = async {
        let answer = client.send(&authority, &request).await.ok()?;
        let status = answer.head.status;
        let body = answer.body.collect().await.ok();
        Some((status, body.map(|body| body.to_bytes())))
    };
    until(reading, serve(far, answer)).await
}

/// The same as hyper's client reads them.
async fn hypers(answer: &[u8]) -> Outcome {
    let (near, far) = duplex(answer.len() + 4096);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
        .await
        .ok()?;
    let request = http::Request::get("/").header("host", "prometheus");
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let reading = async {
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status();
        let body = answer.into_body().collect().await.ok();
        Some((status, body.map(|body| body.to_bytes())))
    };
    let driving = async {
        let _ = tokio::join!(connection, serve(far, answer));
    };
    until(reading, driving).await
}

/// Does both until the first is done: what follows an answer may be written to nobody.
async fn until<T>(reading: impl Future<Output = T>, driving: impl Future<Output = ()>) -> T {
    let driving = async {
        driving.await;
        std::future::pending().await
    };
    tokio::select! {
        done = reading => done,
        () = driving => unreachable!("it never ends"),
    }
}

/// Reads a request's head, answers, and ends the connection.
async fn serve(mut far: DuplexStream, answer: &[u8]) {
    let (mut asked, mut room) = (Vec::new(), [0; 512]);
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        match far.read(&mut room).await {
            Ok(length @ 1..) => asked.extend_from_slice(&room[..length]),
            _ => return,
        }
    }
    // Whoever has read enough goes.
    let _ = far.write_all(answer).await;
    let _ = far.shutdown().await;
}

fuzz_target!(|input: &[u8]| {
    let Some((&piece, answer)) = input.split_first() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let whole = ours(answer, answer.len() + 4096).await;
        let pieces = ours(answer, usize::from(piece) + 1).await;
        assert_eq!(whole, pieces, "in pieces of {} bytes", u16::from(piece) + 1);
        if let Some((status, Some(body))) = whole
            && status != StatusCode::SWITCHING_PROTOCOLS
            && let Some((its_status, Some(its_body))) = hypers(answer).await
        {
            assert_eq!((status, body), (its_status, its_body), "hyper reads it so");
        }
    });
});
