//! Makes of a permit the one request that may be sent to Prometheus, and says what must be done to the answer.
//!
//! Nothing of the caller's request is copied but what was read into typed parts: the path is the table's, the
//! parameters are encoded anew.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::authz::{AuthorizationError, Grant, Permit, Ruled, Scope, Selection};
use crate::namespace::NamespaceSet;
use crate::prometheus::filter::List;
use crate::prometheus::{Endpoint, LabelName, Methods, PrometheusRequest, Reads, form};
use crate::promql::{self, Constraint, Limits, Query, QueryError};

/// Longest target that is sent with GET, where POST is possible: proxies in front of a Prometheus commonly end
/// at 8 KiB.
const MAX_GET_BYTES: usize = 8 * 1024;

/// The most that all selectors of a request may come to, in bytes: as much as one.
const MAX_RESTRICTED_BYTES: usize = 3 << 20;

/// A selector of everything, as Prometheus refuses `{}`.
const ALL: &str = r#"{__name__!=""}"#;

/// How long Prometheus may take. It is never what the caller asks for alone: a query whose answer nobody would
/// wait for must end by itself.
const TIMEOUT: &str = "timeout";

/// A request that may be sent. Only [`restrict`] makes one, and only of a permit.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    endpoint: Endpoint,
    method: Method,
    target: String,
    form: Bytes,
    treatment: Treatment,
    start: Option<f64>,
}

/// What is done to Prometheus' answer before the caller gets it.
#[derive(Clone, Debug)]
pub enum Treatment {
    None,
    /// These are added to its `warnings`.
    Warnings(Vec<String>),
    /// These stand in headers, as what is no JSON has no `warnings`.
    Headers(Vec<String>),
    /// Only rules and alerts of these namespaces are kept.
    Rules {
        /// The label that tells.
        label: Arc<str>,
        namespaces: NamespaceSet,
        /// Whether the caller wants the rules alone.
        without_alerts: bool,
    },
    /// Only what is of these namespaces is kept of a list.
    List {
        list: List,
        /// The label that tells.
        label: Arc<str>,
        namespaces: NamespaceSet,
    },
    /// Only families of these namespaces' series are kept, and texts of their targets.
    Metadata(Box<MetadataTreatment>),
}

/// What must be known to filter metadata, and what is kept.
#[derive(Clone, Debug)]
pub struct MetadataTreatment {
    /// The request for the names of the series.
    pub names: UpstreamRequest,
    /// The request for what the targets say.
    pub texts: UpstreamRequest,
    /// The metric that was asked for.
    pub metric: Option<String>,
    /// The label that tells whose a target is.
    pub label: Arc<str>,
    pub namespaces: NamespaceSet,
    /// How many families are kept; all if `None`.
    pub families: Option<usize>,
    /// How many entries of each are kept; all if `None`.
    pub entries: Option<usize>,
}

impl UpstreamRequest {
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// GET, HEAD, or POST with a form.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Path and query, below the upstream's own path.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The form; empty for GET and HEAD.
    pub fn form(&self) -> Bytes {
        self.form.clone()
    }

    /// Whether both are the same to Prometheus.
    pub fn sends_the_same_as(&self, other: &Self) -> bool {
        self.method == other.method && self.target == other.target && self.form == other.form
    }

    /// Where the asked time begins, in seconds since 1970. `None`: nothing is asked for, or about now.
    pub fn start(&self) -> Option<f64> {
        self.start
    }

    /// What is done to the answer.
    pub fn treatment(&self) -> &Treatment {
        &self.treatment
    }
}

#[cfg(test)]
impl UpstreamRequest {
    /// One that no permit led to.
    pub(crate) fn fake(method: Method, target: &str) -> Self {
        Self {
            endpoint: Endpoint::Query,
            method,
            target: target.to_owned(),
            form: Bytes::new(),
            treatment: Treatment::None,
            start: None,
        }
    }
}

/// Writes the request that a permit allows. `method` is the caller's; Prometheus may take `longest` for a query,
/// or for `None` as long as the caller and itself allow. `matchers` are the upstream's: labels and values that every
/// series must have, whatever the permit says.
///
/// # Errors
/// When a query would pass the limit for its length once all namespaces stand in it, cannot be read where there are
/// `matchers`, or the endpoint tells what cannot be confined to them.
pub fn restrict(
    permit: &Permit<'_>,
    method: &Method,
    longest: Option<Duration>,
    matchers: &[(String, String)],
) -> Result<UpstreamRequest, AuthorizationError> {
    let request = permit.request();
    let selected = selects(request.endpoint(), matchers)?;
    let mut parameters = Parameters::new(request.endpoint(), request.label());
    let mut treatment = match permit.warnings() {
        [] => Treatment::None,
        warnings if request.endpoint().is_plain() => Treatment::Headers(warnings.to_vec()),
        warnings => Treatment::Warnings(warnings.to_vec()),
    };
    match permit.scope() {
        Scope::Everything if selected && !matchers.is_empty() => {
            let texts =
                written(request).map(|text| confined(Cow::Borrowed(text), request, matchers));
            let all = written(request)
                .next()
                .is_none()
                .then(|| Ok(everything(matchers)));
            parameters.texts(request, texts.chain(all))?;
            parameters.others(request, |_| true);
        }
        Scope::Everything | Scope::NoSeries => {
            parameters.queries(request).others(request, |_| true)
        }
        Scope::Series(selections) => {
            let texts = selections.iter().map(|selection| {
                confined(restricted(request, selection)?.into(), request, matchers)
            });
            parameters.texts(request, texts)?;
            parameters.others(request, |_| true);
        }
        Scope::Answer {
            label,
            namespaces,
            ruled,
        } => {
            let (label, namespaces) = (label.clone(), namespaces.clone());
            treatment = match request.endpoint() {
                Endpoint::Alerts => own(List::Alerts, label, namespaces),
                Endpoint::Targets => own(List::Targets, label, namespaces),
                Endpoint::Alertmanagers => own(List::Alertmanagers, label, namespaces),
                Endpoint::Metadata => {
                    Treatment::Metadata(Box::new(metadata(request, label, namespaces, ruled)?))
                }
                _ => Treatment::Rules {
                    label,
                    namespaces,
                    without_alerts: matches!(
                        request.other("exclude_alerts"),
                        Some("true" | "1" | "t" | "T")
                    ),
                },
            };
            // Pages and limits count what the caller may not see, the alerts tell what it may, and the files
            // of others are nobody's business: the whole answer comes instead, filtered.
            const OURS: [&str; 6] = [
                "group_limit",
                "group_next_token",
                "limit",
                "limit_per_metric",
                "exclude_alerts",
                "file[]",
            ];
            parameters
                .queries(request)
                .others(request, |name| !OURS.contains(&name));
        }
    }
    if matches!(request.endpoint(), Endpoint::Query | Endpoint::QueryRange) {
        let timeout = request.timeout().into_iter().chain(longest).min();
        if let Some(timeout) = timeout {
            parameters.push(TIMEOUT, &seconds(timeout));
        }
    }
    let restricted = parameters.request(request.endpoint(), method, treatment);
    Ok(UpstreamRequest {
        start: request.start(),
        ..restricted
    })
}

/// Whether what an endpoint tells is what selectors select, and so is confined by adding matchers to them.
///
/// # Errors
/// When it tells something else of the series, and there are matchers.
fn selects(endpoint: Endpoint, matchers: &[(String, String)]) -> Result<bool, AuthorizationError> {
    match endpoint.reads() {
        Reads::Expression | Reads::Selectors => Ok(true),
        Reads::NoSeries => Ok(false),
        Reads::Rules
        | Reads::Alerts
        | Reads::Metadata
        | Reads::Targets
        | Reads::Alertmanagers
        | Reads::Cluster => {
            let endpoint = endpoint.name();
            let refusal = AuthorizationError::NotConfined { endpoint };
            matchers.is_empty().then_some(false).ok_or(refusal)
        }
    }
}

/// The expression or the selectors, as the caller wrote them.
fn written(request: &PrometheusRequest) -> impl Iterator<Item = &str> {
    let selectors = request.selectors().iter().map(String::as_str);
    request.expression().into_iter().chain(selectors)
}

/// An expression or selector with the upstream's matchers in each of its selectors. What is given was bounded by
/// `authz`, but for the namespaces in it.
fn confined<'t>(
    text: Cow<'t, str>,
    request: &PrometheusRequest,
    matchers: &[(String, String)],
) -> Result<Cow<'t, str>, AuthorizationError> {
    if matchers.is_empty() {
        return Ok(text);
    }
    let limits = Limits {
        max_bytes: MAX_RESTRICTED_BYTES,
        max_depth: usize::MAX,
        max_operators: usize::MAX,
        max_selectors: usize::MAX,
        max_pattern_size: usize::MAX,
        max_output_bytes: MAX_RESTRICTED_BYTES,
    };
    let query = if request.expression().is_some() {
        Query::parse(&text, &limits)
    } else {
        Query::parse_selector(&text, &limits)
    };
    let confined = query.and_then(|query| query.restrict(|_, _| Constraint::Values(matchers)));
    match confined {
        Ok(confined) => Ok(Cow::Owned(confined)),
        Err(error) => Err(AuthorizationError::query(error, &text, request)),
    }
}

/// A selector of all that the upstream's matchers leave.
fn everything(matchers: &[(String, String)]) -> Cow<'static, str> {
    let text = all().restrict(|_, _| Constraint::Values(matchers));
    Cow::Owned(text.expect("short"))
}

/// A selector of all series.
fn all() -> Query<'static> {
    let limits = Limits {
        max_output_bytes: MAX_RESTRICTED_BYTES,
        ..Limits::default()
    };
    Query::parse_selector(ALL, &limits).expect("a selector")
}

/// As Prometheus reads it, in whole milliseconds; at least one.
fn seconds(duration: Duration) -> String {
    let millis = duration.as_millis().max(1);
    let mut text = u64::try_from(millis / 1000).unwrap_or(u64::MAX).to_string();
    let mut rest = millis % 1000;
    if rest > 0 {
        text.push('.');
    }
    while rest > 0 {
        text.push(char::from(b'0' + (rest / 100) as u8));
        rest = rest % 100 * 10;
    }
    text
}

/// An expression or selector with the matchers that were granted.
fn restricted(
    request: &PrometheusRequest,
    selection: &Selection<'_>,
) -> Result<String, AuthorizationError> {
    match selection {
        Selection::All { label, namespaces } => Ok(promql::all_of(label, namespaces)),
        // One grant for each selector: `authz` makes both in one place.
        Selection::Written { query, grants } => query
            .restrict(|index, _| granted(&grants[index]))
            .map_err(|error| {
                let text = request.expression().unwrap_or_default();
                AuthorizationError::query(error, text, request)
            }),
        Selection::Ruled { query, ruled } => ruled_of(query.as_ref().unwrap_or(&all()), ruled)
            .map_err(|error| AuthorizationError::query(error, "", request)),
    }
}

fn granted(grant: &Grant) -> Constraint<'_> {
    match grant {
        Grant::Open => Constraint::Open,
        Grant::Namespaces { label, namespaces } => Constraint::Namespaces {
            label,
            set: namespaces,
        },
    }
}

/// What of a selector's series is of a rule's metrics, and was granted.
fn ruled_of(query: &Query<'_>, Ruled { names, grant }: &Ruled) -> Result<String, QueryError> {
    let within = match grant {
        Grant::Open => None,
        Grant::Namespaces { label, namespaces } => Some((&**label, namespaces)),
    };
    query.restrict(|_, _| Constraint::Metrics { names, within })
}

/// The request for the names of all metrics that a caller sees.
fn metric_names(
    label: &str,
    namespaces: &NamespaceSet,
    ruled: &[Ruled],
) -> Result<UpstreamRequest, QueryError> {
    let name = LabelName::metric_name();
    let mut parameters = Parameters::new(Endpoint::LabelValues, Some(&name));
    parameters.push("match[]", &promql::all_of(label, namespaces));
    for ruled in ruled {
        parameters.push("match[]", &ruled_of(&all(), ruled)?);
    }
    Ok(parameters.request(Endpoint::LabelValues, &Method::GET, Treatment::None))
}

fn own(list: List, label: Arc<str>, namespaces: NamespaceSet) -> Treatment {
    Treatment::List {
        list,
        label,
        namespaces,
    }
}

/// What is done to an answer of metadata. Prometheus takes a limit of 0 entries for each family as none.
fn metadata(
    request: &PrometheusRequest,
    label: Arc<str>,
    namespaces: NamespaceSet,
    ruled: &[Ruled],
) -> Result<MetadataTreatment, AuthorizationError> {
    let number = |name| -> Option<usize> { request.other(name)?.parse().ok() };
    let metric = request.other("metric");
    let mut parameters = Parameters::new(Endpoint::TargetsMetadata, None);
    parameters.push("match_target", &promql::all_of(&label, &namespaces));
    if let Some(metric) = metric {
        parameters.push("metric", metric);
    }
    let names = metric_names(&label, &namespaces, ruled)
        .map_err(|error| AuthorizationError::query(error, "", request))?;
    Ok(MetadataTreatment {
        names,
        texts: parameters.request(Endpoint::TargetsMetadata, &Method::GET, Treatment::None),
        metric: metric.map(str::to_owned),
        label,
        namespaces,
        families: number("limit"),
        entries: number("limit_per_metric").filter(|limit| *limit > 0),
    })
}

/// A path, and parameters behind it, encoded.
struct Parameters {
    target: Vec<u8>,
    path_len: usize,
}

impl Parameters {
    /// Room for the target of most requests, in bytes.
    const ROOM: usize = 1024;

    fn new(endpoint: Endpoint, label: Option<&LabelName>) -> Self {
        let mut target = Vec::with_capacity(Self::ROOM);
        target.extend_from_slice(
            endpoint
                .path(label.map(LabelName::encoded).as_deref())
                .as_bytes(),
        );
        let path_len = target.len();
        Self { target, path_len }
    }

    fn push(&mut self, name: &str, value: &str) {
        let first = self.target.len() == self.path_len;
        self.target.push(if first { b'?' } else { b'&' });
        form::append(&mut self.target, name, value);
    }

    fn queries(&mut self, request: &PrometheusRequest) -> &mut Self {
        if let Some(expression) = request.expression() {
            self.push("query", expression);
        }
        for selector in request.selectors() {
            self.push("match[]", selector);
        }
        self
    }

    /// Expressions or selectors that were restricted.
    fn texts<'t>(
        &mut self,
        request: &PrometheusRequest,
        texts: impl Iterator<Item = Result<Cow<'t, str>, AuthorizationError>>,
    ) -> Result<(), AuthorizationError> {
        let name = match request.expression() {
            Some(_) => "query",
            None => "match[]",
        };
        let mut bytes = 0;
        for text in texts {
            let text = text?;
            bytes += text.len();
            if bytes > MAX_RESTRICTED_BYTES {
                let limit = MAX_RESTRICTED_BYTES;
                let error = QueryError::OutputTooLong { limit };
                return Err(AuthorizationError::query(error, "", request));
            }
            self.push(name, &text);
        }
        Ok(())
    }

    fn others(&mut self, request: &PrometheusRequest, keep: impl Fn(&str) -> bool) {
        let others = request.others().filter(|(name, _)| *name != TIMEOUT);
        for (name, value) in others.filter(|(name, _)| keep(name)) {
            self.push(name, value);
        }
    }

    fn request(self, endpoint: Endpoint, method: &Method, treatment: Treatment) -> UpstreamRequest {
        let Self {
            mut target,
            path_len,
        } = self;
        let can_post = endpoint.methods() == Methods::GetPost;
        let (method, form) = if can_post && target.len() > MAX_GET_BYTES {
            let form = target.split_off(path_len + 1);
            target.truncate(path_len);
            (Method::POST, form.into())
        } else if method == Method::HEAD {
            (Method::HEAD, Bytes::new())
        } else {
            (Method::GET, Bytes::new())
        };
        UpstreamRequest {
            endpoint,
            method,
            target: String::from_utf8(target).expect("what is encoded is ASCII"),
            form,
            treatment,
            start: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_in_seconds_without_zeros_at_its_end() {
        for (nanos, expected) in [
            (0, "0.001"),
            (999_999, "0.001"),
            (5_000_000, "0.005"),
            (1_000_000_000, "1"),
            (115_200_000_000, "115.2"),
            (60_120_999_999, "60.12"),
            (7_003_000_000, "7.003"),
        ] {
            assert_eq!(seconds(Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(seconds(Duration::MAX), u64::MAX.to_string() + ".999");
    }
}
