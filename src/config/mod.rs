//! The configuration: one YAML document with overrides from the environment, checked as a whole.
//!
//! [`Config`] is valid by construction. A document that says something impossible gives every fault at once,
//! each with its key; an unknown key is one of them. Nothing is done with the values here: no file that they
//! name is opened and no address looked up.
//!
//! An environment variable overrides a key: `PROM_RBAC_PROXY_` and the levels of the key in capitals, with
//! `__` between levels, `_` before what is a capital letter in the key, and the index of a list's element as
//! a level: `PROM_RBAC_PROXY_UPSTREAMS__0__PATH_PREFIX=/`. Its text is read as YAML, so that it can be a list
//! or a map as well; where the key wants a text it is taken as it is. An empty one gives back the default.

mod authentication;
mod authorization;
mod caches;
mod environment;
mod fault;
mod format;
mod level;
mod limits;
mod listeners;
mod logging;
mod readiness;
mod section;
mod selector;
#[cfg(test)]
mod tests;
mod tracing;
mod upstreams;
mod warning;
mod yaml;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, header};
use serde_json::{Value, json};

pub use self::authentication::{Authentication, AuthenticationCache};
pub use self::authorization::{
    Authorization, AuthorizationCache, MetricAccess, MetricPattern, MetricRule, NamespaceSearch,
    ResourceAttributes, RightsChanges,
};
pub use self::fault::{Fault, Faults, LoadError};
pub use self::limits::{Limits, QueryLimits};
pub use self::listeners::{
    AdminListener, AnsweredTarget, Gateway, Listener, Listeners, ProxyKind, ServiceReference,
};
pub use self::logging::{AuditQuery, Logging};
pub use self::readiness::{NeededUpstreams, Readiness};
pub use self::tracing::{Ratio, Tracing};
pub use self::upstreams::{
    ClientTls, Scheme, SecretValue, Sharing, Upstream, UpstreamAddress, UpstreamKind,
};

use self::caches::Caches;
use self::environment::Environment;
use self::format::PATH;
use self::section::{Reader, Section};

/// The shortest duration where zero would make no sense.
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that an operator can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the program listens.
    pub listeners: Listeners,
    /// How the API server is reached.
    pub kubernetes: Kubernetes,
    /// How callers are known.
    pub authentication: Authentication,
    /// What callers may see.
    pub authorization: Authorization,
    /// The Prometheus servers, at least one. The only key without a default.
    pub upstreams: Vec<Upstream>,
    /// How much callers may ask for.
    pub limits: Limits,
    pub readiness: Readiness,
    pub logging: Logging,
    pub tracing: Tracing,
}

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// A kubeconfig file. Default `None`: in a pod its ServiceAccount, elsewhere `$KUBECONFIG` or
    /// `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// Longest time of one review, and longest wait for its turn. Default 3 s.
    pub timeout: Duration,
    /// Longest time of all reviews of a request together. Default 20 s.
    pub request_timeout: Duration,
    /// Most reviews under way at a time, at least 1. Default 64.
    pub concurrent_reviews: u32,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file with the certificate, its chain after it.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// A port by number or by name. `Display` writes it as a proxy path does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortRef {
    /// 1 to 65535.
    Number(u16),
    /// Such as `http-web`; never all digits.
    Name(String),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Config {
    /// Reads a file and lays the overrides on it. Of `environment` only names that start with
    /// `PROM_RBAC_PROXY_` count, without those that Kubernetes sets for Services, and OpenTelemetry's own for spans.
    ///
    /// # Errors
    /// [`LoadError`]: the file cannot be read, is not YAML, or has faults.
    pub fn load(
        path: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, environment)
    }

    /// As [`Config::load`], of a text.
    ///
    /// # Errors
    /// [`LoadError::Syntax`] or [`LoadError::Faults`].
    pub fn parse(
        text: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, LoadError> {
        let document = yaml::read(text)?;
        let reader = Reader::new(Environment::new(environment));
        let (config, _) = reader.read(document, Self::read);
        Faults::check(reader.into_faults(&Self::variables()))?;
        Ok(config)
    }

    /// The JSON Schema (draft 7) of the document. It lacks the rules between keys that it cannot express.
    pub fn schema() -> Value {
        let (_, mut schema) = Reader::describing().read(Value::Null, Self::read);
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
        schema["title"] = json!("Configuration of prom-rbac-proxy");
        schema
    }

    /// What is allowed but better known: one sentence each, with its key at the start. Empty when all is
    /// well.
    pub fn warnings(&self) -> Vec<String> {
        warning::warnings(self)
    }

    fn read(root: &mut Section) -> Self {
        let caches = Caches::read(root);
        Self {
            listeners: root.section("listeners", "Where the program listens", Listeners::read),
            kubernetes: root.section(
                "kubernetes",
                "How the API server is reached",
                Kubernetes::read,
            ),
            authentication: root.section("authentication", "How callers are known", |section| {
                Authentication::read(section, caches)
            }),
            authorization: root.section("authorization", "What callers may see", |section| {
                Authorization::read(section, caches)
            }),
            upstreams: upstreams::read(root),
            limits: root.section("limits", "How much callers may ask for", Limits::read),
            readiness: root.section(
                "readiness",
                "When /readyz says that the program is ready",
                Readiness::read,
            ),
            logging: root.section("logging", "What is logged", Logging::read),
            tracing: root.section(
                "tracing",
                "Where spans go, and of which requests",
                Tracing::read,
            ),
        }
    }

    /// The names of all variables, with 0 for the index of any list's element.
    fn variables() -> Vec<String> {
        let reader = Reader::describing();
        let _ = reader.read(Value::Null, Self::read);
        reader.variables()
    }
}

impl Kubernetes {
    fn read(section: &mut Section) -> Self {
        Self {
            kubeconfig: section.optional_text(
                "kubeconfig",
                "A kubeconfig file; empty: the pod's ServiceAccount, else the usual rules",
                &PATH,
            ),
            timeout: section.duration(
                "timeout",
                "3s",
                MILLISECOND..=HOUR,
                "Longest time of one review",
            ),
            request_timeout: section.duration(
                "requestTimeout",
                "20s",
                MILLISECOND..=HOUR,
                "Longest time of all reviews of a request together",
            ),
            concurrent_reviews: section.number(
                "concurrentReviews",
                64,
                1..=100_000,
                "Most reviews under way at a time",
            ),
        }
    }
}

/// Whether a header belongs to one connection, so that it is neither an operator's nor a caller's to set.
/// RFC 9110, section 7.6.1, and what older proxies add to it.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ]
    .contains(name)
}
