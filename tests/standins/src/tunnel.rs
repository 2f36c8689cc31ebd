//! Joins the two ends of an upgraded connection.

use http::Response;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::serve::Stop;

/// Copies both ways until both sides have ended; the end of one side is passed on at once and
/// leaves the other direction open.
pub(crate) fn join(downstream: OnUpgrade, upstream: OnUpgrade, stop: Stop) {
    tokio::spawn(async move {
        let Ok((downstream, upstream)) = tokio::try_join!(downstream, upstream) else {
            return;
        };
        let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
        tokio::select! {
            () = stop.requested() => {}
            _ = tokio::io::copy_bidirectional(&mut downstream, &mut upstream) => {}
        }
    });
}

/// Sends back what it receives; ends its side once the peer has ended its own.
pub(crate) fn echo(upgrade: OnUpgrade, stop: Stop) {
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        tokio::select! {
            () = stop.requested() => {}
            () = echo_until_end(upgraded) => {}
        }
    });
}

async fn echo_until_end(upgraded: Upgraded) {
    let mut stream = TokioIo::new(upgraded);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if stream.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
                let _ = stream.flush().await;
            }
        }
    }
    let _ = stream.shutdown().await;
}

/// Whether a request asks for an upgrade: both headers, as Go's reverse proxy checks it.
pub(crate) fn is_requested(headers: &http::HeaderMap) -> bool {
    headers.contains_key(http::header::UPGRADE)
        && headers
            .get_all(http::header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// Whether the answer switched protocols.
pub(crate) fn is_accepted<B>(response: &Response<B>) -> bool {
    response.status() == http::StatusCode::SWITCHING_PROTOCOLS
}
