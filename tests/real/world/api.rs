//! A caller's side of HTTP: over HTTP/2 and TLS to the API server and the gateway, plain to the other doors.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use support::client::Answer;

/// The `User-Agent` of every request of the suite itself.
pub const AGENT: &str = "real-suite";

/// No answer takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// How a caller shows who they are.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    Bearer(&'a str),
    /// A whole `Cookie` header.
    Cookie(&'a str),
    Nothing,
}

/// A client that trusts the authority of the test.
#[derive(Clone)]
pub struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Http {
    pub fn new(ca_pem: &str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            roots.add(certificate.expect("PEM")).expect("an authority");
        }
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    pub async fn get(&self, url: &str, credentials: Credentials<'_>) -> Answer {
        self.send(Method::GET, url, credentials, None).await
    }

    /// Sends a request, with a JSON body if there is one, and reads the whole answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        credentials: Credentials<'_>,
        body: Option<&Value>,
    ) -> Answer {
        let answer = self.try_send(method.clone(), url, credentials, body).await;
        answer.unwrap_or_else(|error| panic!("{method} {url}: {error}"))
    }

    /// The same, where there may be no answer.
    pub async fn try_send(
        &self,
        method: Method,
        url: &str,
        credentials: Credentials<'_>,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let media_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::USER_AGENT, AGENT);
        match credentials {
            Credentials::Bearer(token) => {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            Credentials::Cookie(cookie) => request = request.header(header::COOKIE, cookie),
            Credentials::Nothing => {}
        }
        // The API server asks services for gzip where the caller does not say.
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        self.request(request).await
    }

    /// Sends a request as it is.
    pub async fn request(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let exchange = async {
            let answer = loop {
                match self.0.request(request.clone()).await {
                    Err(error) if is_unprocessed(&error) => {}
                    answer => break answer,
                }
            };
            let response = answer.map_err(|error| format!("{error:?}"))?;
            let answer = Answer::read(response).await;
            answer.map_err(|error| format!("{error:?}"))
        };
        let answer = tokio::time::timeout(LIMIT, exchange).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")))
    }
}

/// Whether the connection has ended before the request counted, as the API server is told to end some.
fn is_unprocessed(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let error = cause.downcast_ref::<h2::Error>();
        error.is_some_and(|error| error.is_go_away() && error.is_remote())
    })
}
