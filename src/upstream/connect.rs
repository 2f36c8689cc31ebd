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

/// The path that says whether a Prometheus is ready.
pub(super) const READY: &str = "/-/ready";

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
