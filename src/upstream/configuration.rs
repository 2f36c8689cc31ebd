//! An upstream as it is configured: where it is, what is sent along with every request, and how its answers are
//! bounded in time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme};
use http::{Method, Uri};
use rustls::pki_types::ServerName;
use tokio::runtime::Handle;

use super::choice::endpoint::{Endpoint, Offer, ProbeResult};
use super::choice::endpoints::Endpoints;
use super::choice::health::Probes;
use super::connect::Connector;
use super::discovery;
use crate::client_tls::{self, TlsError};
use crate::config;
use crate::prometheus::Accepted;
use crate::reload::{FileError, Reloaded};
use crate::upstream::http1::Request;
use crate::upstream::metrics::UpstreamsMetrics;

static FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// The share of the time for an answer that Prometheus itself may take for a query: it ends a little earlier than we
/// do, so that the caller gets Prometheus' own error.
const QUERY_SHARE: f64 = 0.96;

/// Why an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("upstream {name}: TLS cannot be set up")]
    Tls {
        name: String,
        #[source]
        source: TlsError,
    },
    #[error("upstream {name}: the bearer token cannot be used")]
    Token {
        name: String,
        #[source]
        source: TokenError,
    },
}

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error("the file holds no bearer token")]
    Malformed,
}

/// An upstream, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    prefix: String,
    scheme: Scheme,
    base_path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    token: Option<Reloaded<HeaderValue>>,
    tls: Reloaded<Arc<rustls::ClientConfig>>,
    server_name: Option<ServerName<'static>>,
    metricsql: bool,
    parameters: Vec<String>,
    matchers: Vec<(String, String)>,
    connect_timeout: Duration,
    response_timeout: Duration,
    idle_timeout: Duration,
    address: config::UpstreamAddress,
    endpoints: Endpoints,
}

impl Upstream {
    /// Sets one up. Its files are watched on `runtime`. Where Kubernetes has to say where its endpoints are, there are
    /// none before [`Upstream::look_after`] has found them.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn new(
        upstream: &config::Upstream,
        runtime: &Handle,
        metrics: &UpstreamsMetrics,
    ) -> Result<Arc<Self>, SetupError> {
        let name = &upstream.name;
        let no_tls = |source| SetupError::Tls {
            name: name.clone(),
            source,
        };
        let token = upstream.bearer_token_file.as_ref().map(|path| {
            let watched = Reloaded::watch(vec![path.clone()], runtime, |files| bearer(&files[0]));
            watched.map_err(|source| SetupError::Token {
                name: name.clone(),
                source,
            })
        });
        let address = &upstream.address;
        let known = match address {
            config::UpstreamAddress::Url(uri) => vec![fixed(uri)],
            _ => Vec::new(),
        };
        Ok(Arc::new(Self {
            name: name.clone(),
            prefix: upstream.path_prefix.trim_end_matches('/').to_owned(),
            scheme: match address.scheme() {
                config::Scheme::Http => Scheme::HTTP,
                config::Scheme::Https => Scheme::HTTPS,
            },
            base_path: base_path(address).to_owned(),
            headers: (upstream.headers.iter())
                .map(|(name, value)| (name.clone(), value.expose().clone()))
                .collect(),
            token: token.transpose()?,
            tls: client_tls::client_config(&upstream.tls, runtime).map_err(no_tls)?,
            server_name: server_name(upstream).map_err(no_tls)?,
            metricsql: upstream.kind == config::UpstreamKind::VictoriaMetrics,
            parameters: upstream.parameters.clone(),
            matchers: upstream.matchers.clone(),
            connect_timeout: upstream.connect_timeout,
            response_timeout: upstream.response_timeout,
            idle_timeout: upstream.idle_timeout,
            address: address.clone(),
            endpoints: Endpoints::new(known, metrics.of(name)),
        }))
    }

    /// Finds and probes its endpoints, for ever; returns at once where the configuration names them all.
    pub async fn look_after(self: Arc<Self>, cluster: kube::Client) {
        // The only endpoint of a URL is used whatever a probe would find.
        if !self.is_discovered() {
            return;
        }
        let mut probes = Probes::new(self.clone());
        probes.follow();
        discovery::watch(self.name(), cluster, self.address.clone(), |found| {
            self.endpoints.replace(found);
            probes.follow();
        })
        .await;
    }

    /// Brings its gauges up to date.
    pub fn report(&self) {
        if self.is_discovered() {
            self.endpoints.report();
        } else {
            self.endpoints.metrics().endpoints(0, 0);
        }
    }

    /// Its name in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path after its prefix, when `path` is below it.
    pub fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&self.prefix)
            .filter(|rest| rest.starts_with('/'))
    }

    /// How specific its prefix is.
    pub fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    /// What it takes from callers besides what Prometheus takes.
    pub fn accepts(&self) -> Accepted<'_> {
        Accepted {
            parameters: &self.parameters,
            metricsql: self.metricsql.then(SystemTime::now),
        }
    }

    /// Labels and the value that each must have in every series that a caller sees.
    pub fn matchers(&self) -> &[(String, String)] {
        &self.matchers
    }

    /// How long Prometheus may take for a query.
    pub fn query_timeout(&self) -> Duration {
        self.response_timeout.mul_f64(QUERY_SHARE)
    }

    pub(super) fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Whether Kubernetes says where it is, so that each endpoint is a Prometheus with metrics of its own. A URL
    /// may lead to anything.
    pub(super) fn is_discovered(&self) -> bool {
        !matches!(self.address, config::UpstreamAddress::Url(_))
    }

    /// Whether its endpoints are known, even if there are none.
    pub fn is_searched(&self) -> bool {
        self.endpoints.are_searched()
    }

    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    pub(super) fn connector(&self) -> Connector {
        let (scheme, server_name) = (self.scheme.clone(), self.server_name.clone());
        Connector::new(scheme, self.tls.clone(), server_name, self.connect_timeout)
    }

    /// A request to one of its endpoints. Its own headers replace `headers` of the same name.
    pub(super) fn request<'h>(
        &self,
        endpoint: &Authority,
        (method, target): (&Method, &str),
        headers: impl IntoIterator<Item = (&'h HeaderName, &'h HeaderValue)>,
        form: Bytes,
    ) -> Request {
        let mut request = Request::new(method, [&self.base_path, target], &self.scheme, endpoint);
        for (name, value) in headers {
            if !self.headers.iter().any(|(own, _)| own == name) {
                request.header(name, value);
            }
        }
        for (name, value) in &self.headers {
            request.header(name, value);
        }
        if let Some(token) = &self.token {
            request.header(&AUTHORIZATION, &token.now());
        }
        if !form.is_empty() {
            request.header(&CONTENT_TYPE, &FORM);
        }
        request.finish(form)
    }
}

/// The only endpoint of a URL. Its name is resolved again for each connection.
fn fixed(uri: &Uri) -> Endpoint {
    let authority = uri.authority().expect("a checked URL has a host");
    let name = authority.to_string();
    let endpoint = Endpoint::new(name, vec![authority.clone()], Offer::Ready);
    endpoint.observe(ProbeResult::Ready);
    endpoint
}

fn base_path(address: &config::UpstreamAddress) -> &str {
    match address {
        config::UpstreamAddress::Url(uri) => uri.path().trim_end_matches('/'),
        config::UpstreamAddress::Service { base_path, .. }
        | config::UpstreamAddress::Pods { base_path, .. } => base_path,
    }
}

/// The name that a certificate must have. Pods of a Service are connected to by address, but their certificate
/// is for the Service.
fn server_name(upstream: &config::Upstream) -> Result<Option<ServerName<'static>>, TlsError> {
    let name = match (&upstream.tls.server_name, &upstream.address) {
        (Some(name), _) => name.clone(),
        (
            None,
            config::UpstreamAddress::Service {
                namespace, name, ..
            },
        ) => format!("{name}.{namespace}.svc"),
        (None, _) => return Ok(None),
    };
    let name = ServerName::try_from(name).map_err(|_| TlsError::ServerName)?;
    Ok(Some(name))
}

fn bearer(content: &[u8]) -> Result<HeaderValue, TokenError> {
    let token =
        crate::authn::Token::parse(content.trim_ascii()).map_err(|_| TokenError::Malformed)?;
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| TokenError::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The upstream at a URL, as it is without any other key.
#[cfg(test)]
pub(super) fn at(url: &str) -> Arc<Upstream> {
    let document = format!("upstreams:\n  - url: {url}\n");
    let config = config::Config::parse(&document, std::iter::empty()).expect("a configuration");
    Upstream::new(
        &config.upstreams[0],
        &Handle::current(),
        &UpstreamsMetrics::default(),
    )
    .expect("an upstream")
}
