//! Opens connections to an upstream, each with the TLS files as they are at that time.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tower::Service;

use crate::reload::Reloaded;

#[derive(Clone)]
pub(super) struct Connector {
    http: HttpConnector,
    tls: Reloaded<Arc<ClientConfig>>,
    server_name: Option<ServerName<'static>>,
}

impl Connector {
    pub(super) fn new(
        tls: Reloaded<Arc<ClientConfig>>,
        server_name: Option<ServerName<'static>>,
        timeout: Duration,
    ) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        Self {
            http,
            tls,
            server_name,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = tower::BoxError;
    type Future = <HttpsConnector<HttpConnector> as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = ClientConfig::clone(&self.tls.now());
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        let builder = match &self.server_name {
            Some(name) => builder.with_server_name_resolver(
                hyper_rustls::FixedServerNameResolver::new(name.clone()),
            ),
            None => builder,
        };
        builder
            .enable_http1()
            .wrap_connector(self.http.clone())
            .call(uri)
    }
}
