//! What follows an accepted upgrade: bytes in both directions, until both have ended. Nothing of them is read.

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;

use super::body::GatewayBody;
use super::headers;

/// Bytes that a tunnel holds in each direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Gives the caller the API server's answer to an upgrade, and joins the two connections where it is accepted.
/// Any other answer is one as to a plain request, and leaves the caller's connection where it is.
pub(super) fn open(
    mut response: Response<GatewayBody>,
    downstream: &mut Option<OnUpgrade>,
    open: &Gauge,
) -> Response<GatewayBody> {
    let accepted = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    headers::to_caller(response.headers_mut(), accepted);
    let downstream = if accepted { downstream.take() } else { None };
    let Some(downstream) = downstream else {
        return response;
    };
    let upstream = hyper::upgrade::on(&mut response);
    let open = OpenTunnel::new(open.clone());
    tokio::spawn(async move {
        let _open = open;
        let (Ok(downstream), Ok(upstream)) = tokio::join!(downstream, upstream) else {
            return;
        };
        let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
        // The end of one direction is passed on and leaves the other open; an error ends both.
        let copied = tokio::io::copy_bidirectional_with_sizes(
            &mut downstream,
            &mut upstream,
            BUFFER_BYTES,
            BUFFER_BYTES,
        );
        if let Err(error) = copied.await {
            tracing::debug!(%error, "a tunnel broke");
        }
    });
    response
}

/// Counts a tunnel in the gauge while it is open.
struct OpenTunnel(Gauge);

impl OpenTunnel {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.dec();
    }
}
