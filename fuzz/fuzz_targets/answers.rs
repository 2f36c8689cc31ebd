//! Any bytes as Prometheus' answers: they end as they say or are an error, and no connection with bytes left over is used
//! again.

#![no_main]

use std::sync::Mutex;

use http::Method;
use http::uri::{Authority, Scheme};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::upstream::http1::{Client, Connect, Request, Stream};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

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

fuzz_target!(|answer: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (near, mut far) = duplex(answer.len() + 4096);
        far.write_all(answer).await.expect("there is room");
        // Nothing follows.
        far.shutdown().await.expect("an end");
        let client = Client::new(Once(Mutex::new(Some(near))));
        let authority = Authority::from_static("prometheus");
        let request = Request::new(&Method::GET, ["", "/"], &Scheme::HTTP, &authority);
        let request = request.finish(bytes::Bytes::new());
        let Ok(first) = client.send(&authority, &request).await else {
            return;
        };
        if let Ok(body) = first.body.collect().await {
            assert!(body.to_bytes().len() <= answer.len());
        }
        // The connection has ended, so that it cannot serve another.
        assert!(client.send(&authority, &request).await.is_err());
    });
});
