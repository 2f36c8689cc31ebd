//! The Prometheus servers behind the proxy and how each is reached.

mod read;
mod sharing;

pub(super) use self::read::{refuse_reserved, upstreams as read};
pub use self::sharing::Sharing;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use super::{PortRef, TlsFiles};
use crate::namespace::Namespace;

/// One Prometheus, or several that hold the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Name in logs and metrics, of `[a-z0-9-]`, unique. Default `default`.
    pub name: String,
    /// Requests under this path go here: `/`, or segments without a slash at the end. Unique. Default `/`.
    pub path_prefix: String,
    pub address: UpstreamAddress,
    /// Which product it is. Default [`UpstreamKind::Prometheus`].
    pub kind: UpstreamKind,
    /// How HTTPS to it is set up. Nothing in it is set where the address is plain HTTP.
    pub tls: ClientTls,
    /// File with a bearer token sent to it, read again when it changes. Default `None`: no token.
    pub bearer_token_file: Option<PathBuf>,
    /// Fixed headers sent to it, each name once. Default none.
    pub headers: Vec<(HeaderName, SecretValue)>,
    /// Query parameters that callers may pass on to it besides those of Prometheus' API, such as Thanos'
    /// `dedup`. Default none.
    pub parameters: Vec<String>,
    /// Labels and the value that each must have in every series that any caller sees. Default none.
    pub matchers: Vec<(String, String)>,
    /// Longest time to connect. Default 2 s.
    pub connect_timeout: Duration,
    /// Longest time until the head of its answer. Default 110 s, as Headlamp itself gives up after
    /// 120 s, and its user would read no reason.
    pub response_timeout: Duration,
    /// Longest time between two pieces of its answer. Default 60 s.
    pub idle_timeout: Duration,
    /// Which answers several callers get.
    pub sharing: Sharing,
}

/// What an upstream is, where that makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// Prometheus, or a store that takes the same requests, as Thanos and Mimir do.
    Prometheus,
    /// Takes times relative to now, and MetricsQL.
    VictoriaMetrics,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// One address: http or https, a host, perhaps a port, and a path without a slash at its end unless it is
    /// `/`.
    Url(Uri),
    /// The ready pods of a Service.
    Service {
        /// Namespace of the Service.
        namespace: Namespace,
        /// Name of the Service.
        name: String,
        /// Port of the Service.
        port: PortRef,
        /// Default [`Scheme::Http`].
        scheme: Scheme,
        /// Path before Prometheus' own, without a slash at its end. Default empty.
        base_path: String,
    },
    /// The ready pods with certain labels.
    Pods {
        /// Namespace of the pods.
        namespace: Namespace,
        /// Label selector, as Kubernetes writes it.
        selector: String,
        /// Port of the pods.
        port: PortRef,
        /// Default [`Scheme::Http`].
        scheme: Scheme,
        /// Path before Prometheus' own, without a slash at its end. Default empty.
        base_path: String,
    },
}

impl UpstreamAddress {
    /// What is spoken there.
    pub fn scheme(&self) -> Scheme {
        match self {
            Self::Url(uri) if uri.scheme() == Some(&http::uri::Scheme::HTTPS) => Scheme::Https,
            Self::Url(_) => Scheme::Http,
            Self::Service { scheme, .. } | Self::Pods { scheme, .. } => *scheme,
        }
    }
}

/// As the log tells it. A URL has no credentials here.
impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(uri) => uri.fmt(f),
            Self::Service {
                namespace,
                name,
                port,
                ..
            } => write!(f, "service {namespace}/{name}:{port}"),
            Self::Pods {
                namespace,
                selector,
                port,
                ..
            } => write!(f, "pods {namespace}/{selector}:{port}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

/// HTTPS to a server, an upstream or a trace collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// PEM file with the authorities that may have signed its certificate. Default `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// The proxy's own certificate. Default `None`: none is shown.
    pub client: Option<TlsFiles>,
    /// The name that its certificate must have. Default `None`: the host that is connected to.
    pub server_name: Option<String>,
}

/// The value of a header that may be a secret. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(HeaderValue);

impl SecretValue {
    pub(super) fn new(mut value: HeaderValue) -> Self {
        // Keeps HTTP/2 from putting it into its table of past headers.
        value.set_sensitive(true);
        Self(value)
    }

    /// The value, to be sent and nothing else. It is marked as sensitive.
    pub fn expose(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
