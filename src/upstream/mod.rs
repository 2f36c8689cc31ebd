//! Prometheus: where it is, how it is reached, and how an answer comes back from it.
//!
//! Only an [`UpstreamRequest`] can be sent, and only `restrict` makes one.

mod answer;
mod connect;
mod headers;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::runtime::Handle;
use tokio::time::Instant;

use self::answer::Patience;
use self::connect::Connector;
pub use self::headers::Passed;
pub use self::tls::TlsError;
use crate::body::ResponseBody;
use crate::config::{self, PortRef};
use crate::prometheus::filter::{
    AlertsFilter, Filter, Limits, MetadataFilter, MetricNamesReader, RulesFilter, WarningsFilter,
};
use crate::reload::{FileError, Reloaded};
use crate::restrict::{Treatment, UpstreamRequest};

/// The names of all metrics of a caller's namespaces, in bytes: a million names of 64 bytes.
const MAX_NAMES_BYTES: usize = 64 * 1024 * 1024;

/// How long a connection that nobody uses is kept. Below the five minutes of Prometheus itself.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// Why Prometheus gave no answer that can be passed on.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection.
    #[error(
        "Prometheus cannot be reached; if this lasts, its address in the proxy's configuration may be wrong, or a NetworkPolicy is in the way"
    )]
    Connect,
    /// No answer in time.
    #[error("Prometheus did not answer in time: ask for a shorter range or fewer series")]
    Timeout,
    /// The connection broke.
    #[error("Prometheus closed the connection before it answered; try again")]
    Broken,
    /// An answer that is not passed on.
    #[error("Prometheus' answer is not passed on: it has {0}")]
    Unusable(&'static str),
}

/// Why an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// TLS.
    #[error("upstream {name}: TLS cannot be set up")]
    Tls {
        /// The upstream.
        name: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The address.
    #[error(
        "upstream {name}: pods and named ports cannot be looked up: give url, or service with the number of its port"
    )]
    Address {
        /// The upstream.
        name: String,
    },
    /// The token.
    #[error("upstream {name}: the bearer token cannot be used")]
    Token {
        /// The upstream.
        name: String,
        /// Why.
        #[source]
        source: TokenError,
    },
}

/// Why a file holds no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is missing.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error("the file holds no bearer token")]
    Malformed,
}

/// An upstream as configured, shared by all workers.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    prefix: String,
    scheme: Scheme,
    authority: Authority,
    base_path: String,
    headers: HeaderMap,
    token: Option<Reloaded<HeaderValue>>,
    tls: Reloaded<Arc<rustls::ClientConfig>>,
    server_name: Option<ServerName<'static>>,
    parameters: Vec<String>,
    connect_timeout: Duration,
    response_timeout: Duration,
    idle_timeout: Duration,
}

impl Upstream {
    /// Sets one up; its files are watched on `runtime`.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn new(upstream: &config::Upstream, runtime: &Handle) -> Result<Arc<Self>, SetupError> {
        let name = upstream.name.clone();
        let uri =
            address(&upstream.address).ok_or_else(|| SetupError::Address { name: name.clone() })?;
        let token = upstream.bearer_token_file.as_ref().map(|path| {
            let watched = Reloaded::watch(vec![path.clone()], runtime, |files| bearer(&files[0]));
            watched.map_err(|source| SetupError::Token {
                name: name.clone(),
                source,
            })
        });
        let tls = tls::client_config(&upstream.tls, runtime).map_err(|source| SetupError::Tls {
            name: name.clone(),
            source,
        })?;
        let server_name = upstream
            .tls
            .server_name
            .clone()
            .map(ServerName::try_from)
            .transpose();
        let server_name = server_name.map_err(|_| SetupError::Tls {
            name: name.clone(),
            source: TlsError::ServerName,
        })?;
        let headers = upstream
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().clone()));
        Ok(Arc::new(Self {
            prefix: if upstream.path_prefix == "/" {
                String::new()
            } else {
                upstream.path_prefix.clone()
            },
            scheme: uri.scheme().cloned().unwrap_or(Scheme::HTTP),
            authority: uri.authority().cloned().expect("a checked URL has a host"),
            base_path: uri.path().trim_end_matches('/').to_owned(),
            headers: headers.collect(),
            token: token.transpose()?,
            tls,
            server_name,
            parameters: upstream.parameters.clone(),
            connect_timeout: upstream.connect_timeout,
            response_timeout: upstream.response_timeout,
            idle_timeout: upstream.idle_timeout,
            name,
        }))
    }

    /// Its name in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path behind its prefix, when `path` is below it.
    pub fn strip<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&self.prefix)
            .filter(|rest| rest.starts_with('/'))
    }

    /// How specific its prefix is.
    pub fn prefix_len(&self) -> usize {
        self.prefix.len()
    }

    /// Parameters of callers that pass beside Prometheus' own.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    fn uri(&self, target: &str) -> Uri {
        let target = format!("{}{target}", self.base_path);
        let target = PathAndQuery::from_maybe_shared(Bytes::from(target));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target.expect("a target of ours is encoded"));
        Uri::from_parts(parts).expect("it has all three parts")
    }
}

/// The one address of an upstream; that of a Service is its name in the cluster's DNS.
fn address(address: &config::UpstreamAddress) -> Option<Uri> {
    match address {
        config::UpstreamAddress::Url(uri) => Some(uri.clone()),
        config::UpstreamAddress::Service {
            namespace,
            name,
            port: PortRef::Number(port),
            scheme,
            base_path,
        } => {
            let scheme = match scheme {
                config::Scheme::Http => "http",
                config::Scheme::Https => "https",
            };
            format!("{scheme}://{name}.{namespace}.svc:{port}{base_path}")
                .parse()
                .ok()
        }
        config::UpstreamAddress::Service { .. } | config::UpstreamAddress::Pods { .. } => None,
    }
}

fn bearer(content: &[u8]) -> Result<HeaderValue, TokenError> {
    let token =
        crate::authn::Token::parse(content.trim_ascii()).map_err(|_| TokenError::Malformed)?;
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| TokenError::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The connections of one worker to an upstream. No worker uses another's.
pub struct UpstreamClient {
    upstream: Arc<Upstream>,
    client: Client<Connector, Full<Bytes>>,
    /// Longest time of one answer.
    max_duration: Duration,
}

impl UpstreamClient {
    /// Opens no connection yet.
    pub fn new(upstream: Arc<Upstream>, max_duration: Duration) -> Self {
        let connector = Connector::new(
            upstream.tls.clone(),
            upstream.server_name.clone(),
            upstream.connect_timeout,
        );
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            // Prometheus' heads are small; more than this is refused.
            .http1_max_buf_size(64 * 1024)
            .build(connector);
        Self {
            upstream,
            client,
            max_duration,
        }
    }

    /// The upstream.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Sends a request, and gives the answer as the caller may have it, and how long its head took.
    ///
    /// # Errors
    /// When there is no answer that can be passed on.
    pub async fn send(
        &self,
        request: &UpstreamRequest,
        passed: &Passed,
    ) -> Result<(Response<ResponseBody>, Duration), UpstreamError> {
        let begun = Instant::now();
        let filter = self.filter(request.treatment(), passed).await?;
        let answer = self.exchange(request, passed, filter.is_some()).await?;
        let head = begun.elapsed();
        let response =
            answer::response(request.endpoint(), answer, filter, self.patience(begun)).await?;
        Ok((response, head))
    }

    fn patience(&self, begun: Instant) -> Patience {
        Patience {
            idle: self.upstream.idle_timeout,
            deadline: begun + self.max_duration,
        }
    }

    async fn exchange(
        &self,
        request: &UpstreamRequest,
        passed: &Passed,
        plain: bool,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let upstream = &self.upstream;
        let mut headers = passed.to_upstream(request.endpoint(), plain);
        headers.extend(
            upstream
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        if let Some(token) = &upstream.token {
            headers.insert(AUTHORIZATION, HeaderValue::clone(&token.now()));
        }
        let form = request.form();
        if !form.is_empty() {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
        }
        let mut sent = Request::new(Full::new(form));
        *sent.method_mut() = request.method().clone();
        *sent.uri_mut() = upstream.uri(request.target());
        *sent.headers_mut() = headers;
        match tokio::time::timeout(upstream.response_timeout, self.client.request(sent)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_connect() => Err(UpstreamError::Connect),
            Ok(Err(_)) => Err(UpstreamError::Broken),
            Err(_) => Err(UpstreamError::Timeout),
        }
    }

    async fn filter(
        &self,
        treatment: &Treatment,
        passed: &Passed,
    ) -> Result<Option<Box<dyn Filter + Send + Sync>>, UpstreamError> {
        let limits = Limits::default();
        Ok(Some(match treatment {
            Treatment::None => return Ok(None),
            Treatment::Warnings(warnings) => Box::new(WarningsFilter::new(warnings)),
            Treatment::Alerts { label, namespaces } => {
                Box::new(AlertsFilter::new(namespaces.clone(), label, limits))
            }
            Treatment::Rules {
                label,
                namespaces,
                without_alerts,
            } => {
                let filter = RulesFilter::new(namespaces.clone(), label, limits);
                Box::new(if *without_alerts {
                    filter.without_alerts()
                } else {
                    filter
                })
            }
            Treatment::Metadata { names, limit } => {
                let begun = Instant::now();
                let answer = self.exchange(names, passed, true).await?;
                let mut reader = MetricNamesReader::new(MAX_NAMES_BYTES, limits);
                let patience = self.patience(begun);
                answer::read_all(answer, MAX_NAMES_BYTES, patience, |data| reader.push(data))
                    .await?;
                let names = reader
                    .finish()
                    .map_err(|_| UpstreamError::Unusable("a list of names that is none"))?;
                let filter = MetadataFilter::new(Arc::new(names), limits);
                Box::new(if let Some(limit) = limit {
                    filter.with_limit(*limit)
                } else {
                    filter
                })
            }
        }))
    }

    /// Whether it answers at all, whatever it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn probe(&self, timeout: Duration) -> Result<(), UpstreamError> {
        let mut sent = Request::new(Full::default());
        *sent.uri_mut() = self.upstream.uri("/-/ready");
        match tokio::time::timeout(timeout, self.client.request(sent)).await {
            Ok(Ok(answer)) if answer.status().is_server_error() => {
                Err(UpstreamError::Unusable("a server error"))
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(UpstreamError::Connect),
            Err(_) => Err(UpstreamError::Timeout),
        }
    }
}

/// Where the clients of one worker are found by path: the longest prefix first.
pub struct Upstreams(Vec<UpstreamClient>);

impl Upstreams {
    /// Clients of one worker for all upstreams.
    pub fn new(upstreams: &[Arc<Upstream>], max_duration: Duration) -> Self {
        let mut clients: Vec<_> = upstreams
            .iter()
            .map(|upstream| UpstreamClient::new(upstream.clone(), max_duration))
            .collect();
        clients.sort_by_key(|client| std::cmp::Reverse(client.upstream.prefix_len()));
        Self(clients)
    }

    /// The upstream of a path, and the path behind its prefix.
    pub fn find<'p>(&self, path: &'p str) -> Option<(&UpstreamClient, &'p str)> {
        self.0
            .iter()
            .find_map(|client| Some((client, client.upstream.strip(path)?)))
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, UpstreamClient> {
        self.0.iter()
    }
}
