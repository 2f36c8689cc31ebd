//! Opens connections to an upstream, each with the TLS files as they are at that time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use http::uri::{Authority, Scheme};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tower::Service;

use crate::reload::Reloaded;
use crate::upstream::http1::{Connect, Stream};

/// How a peer that has vanished, as with its node, is noticed: after 10 s of silence the system probes it three times,
/// 5 s apart, and sent data must be acknowledged within 20 s. Both take less than 30 s; the system's defaults are 2
/// hours and 15 minutes.
const SILENCE: Duration = Duration::from_secs(10);
const BETWEEN_PROBES: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// Makes the connections that `http` opens end when their peer has vanished.
pub(crate) fn notice_loss(http: &mut HttpConnector) {
    http.set_keepalive(Some(SILENCE));
    http.set_keepalive_interval(Some(BETWEEN_PROBES));
    http.set_keepalive_retries(Some(PROBES));
    #[cfg(target_os = "linux")]
    http.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// The path that says whether a Prometheus is ready.
pub(super) const READY: &str = "/-/ready";

/// How much of its body is read, and for how long, so that the connection can be used for the next probe.
pub(super) const MAX_PROBE_BYTES: usize = 64 * 1024;
pub(super) const PROBE_BODY_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Connector {
    scheme: Scheme,
    http: HttpConnector,
    tls: Reloaded<Arc<ClientConfig>>,
    server_name: Option<ServerName<'static>>,
}

impl Connector {
    pub(super) fn new(
        scheme: Scheme,
        tls: Reloaded<Arc<ClientConfig>>,
        server_name: Option<ServerName<'static>>,
        timeout: Duration,
    ) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        notice_loss(&mut http);
        Self {
            scheme,
            http,
            tls,
            server_name,
        }
    }
}

impl Connect for Connector {
    fn connect(&self, to: &Authority) -> BoxFuture<'static, Result<Stream, tower::BoxError>> {
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&self.tls.now()))
            .https_or_http();
        let builder = match &self.server_name {
            Some(name) => builder.with_server_name_resolver(
                hyper_rustls::FixedServerNameResolver::new(name.clone()),
            ),
            None => builder,
        };
        let mut connector = builder.enable_http1().wrap_connector(self.http.clone());
        let uri = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(to.clone())
            .path_and_query("/")
            .build();
        Box::pin(async move {
            Ok(match connector.call(uri?).await? {
                MaybeHttpsStream::Http(stream) => Stream::Plain(stream.into_inner()),
                stream @ MaybeHttpsStream::Https(_) => {
                    Stream::Other(Box::new(TokioIo::new(stream)))
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::configuration;

    #[tokio::test]
    async fn d12_a_peer_that_is_gone_without_a_word_is_noticed_within_half_a_minute() {
        const LIMIT: Duration = Duration::from_secs(30);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound").to_string();
        let upstream = configuration::at(&format!("http://{address}"));
        let authority = address.parse().expect("an authority");
        let stream = upstream.connector().connect(&authority).await;
        let Stream::Plain(stream) = stream.expect("connected") else {
            panic!("there is no TLS");
        };
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("read"));
        let silence = socket.tcp_keepalive_time().expect("read");
        let between = socket.tcp_keepalive_interval().expect("read");
        let probes = socket.tcp_keepalive_retries().expect("read");
        assert!(silence + between * probes < LIMIT);
        let unacknowledged = socket.tcp_user_timeout().expect("read");
        assert!(unacknowledged.is_some_and(|time| time < LIMIT));
    }
}
