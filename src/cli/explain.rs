//! `explain`: what somebody may see, by which reviews, and the query that would be sent. Nothing is sent to
//! Prometheus.

use std::fmt;

use http::Method;

use crate::app::{Authorization, StartError, request_limits};
use crate::authn::Caller;
use crate::authz::{AuthorizationError, Decision, Denial, Permit, Scope};
use crate::cli::args::Explain;
use crate::cluster::metrics::ReviewsMetrics;
use crate::config::{Config, Upstream};
use crate::door::Door;
use crate::prometheus::{PrometheusRequest, RequestError};
use crate::rbac::metrics::RbacMetrics;
use crate::upstream::request::{UpstreamRequest, restrict};

/// What would be decided.
#[derive(Debug)]
pub struct Explanation {
    lines: Vec<String>,
    allowed: bool,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No way to Kubernetes.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Not a request that would be served.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Kubernetes did not answer.
    #[error(transparent)]
    Unavailable(AuthorizationError),
}

impl Explanation {
    /// Whether a query would be sent.
    pub fn is_allowed(&self) -> bool {
        self.allowed
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Asks Kubernetes as a request of that user would.
///
/// # Errors
/// When Kubernetes does not say.
pub async fn explain(config: &Config, arguments: &Explain) -> Result<Explanation, ExplainError> {
    let authorization =
        Authorization::new(config, &ReviewsMetrics::default(), &RbacMetrics::default()).await?;
    let caller = Caller::assumed(&arguments.user, &arguments.groups);
    let request = PrometheusRequest::instant(&arguments.query, &request_limits(config))?;
    authorization.watches_settled().await;
    match authorization.authorizer.explain(&caller, &request).await {
        Ok(permit) => {
            let mut explanation = allowed(&permit, &config.upstreams);
            if explanation.allowed {
                let upstreams = config.upstreams.iter();
                explanation.lines.extend(upstreams.flat_map(sharing));
            }
            Ok(explanation)
        }
        Err(denial) => match denial.error {
            unavailable @ AuthorizationError::Unavailable(_) => {
                Err(ExplainError::Unavailable(unavailable))
            }
            _ => Ok(denied(&denial)),
        },
    }
}

fn denied(denial: &Denial) -> Explanation {
    let mut lines = vec!["scope: nothing, for this query".to_owned()];
    lines.extend(denial.searched.map(|searched| searched.to_string()));
    lines.extend(denial.decisions.iter().map(Decision::to_string));
    lines.push(format!("denied: {}", denial.error));
    Explanation {
        lines,
        allowed: false,
    }
}

fn allowed(permit: &Permit<'_>, upstreams: &[Upstream]) -> Explanation {
    let mut lines = Vec::new();
    let scope = match permit.scope() {
        Scope::Everything => "everything".to_owned(),
        _ => {
            let names: Vec<_> = permit
                .namespaces()
                .iter()
                .map(|name| name.as_str())
                .collect();
            format!("namespaces {}", names.join(", "))
        }
    };
    lines.push(format!("scope: {scope}"));
    lines.extend(permit.searched().map(|searched| searched.to_string()));
    lines.extend(permit.decisions().iter().map(Decision::to_string));
    lines.extend(
        permit
            .warnings()
            .iter()
            .map(|warning| format!("warning: {warning}")),
    );
    // The same for all upstreams, but where they have matchers.
    let mut shown = None;
    let mut allowed = true;
    for upstream in upstreams {
        let matchers = &upstream.matchers;
        if shown.replace(matchers) == Some(matchers) {
            continue;
        }
        let place = if matchers.is_empty() {
            String::new()
        } else {
            format!(" at {}", upstream.name)
        };
        match restrict(permit, &Method::GET, None, matchers) {
            Ok(request) => lines.push(format!("query{place}: {}", query(&request))),
            Err(error) => {
                lines.push(format!("denied{place}: {error}"));
                allowed = false;
            }
        }
    }
    Explanation { lines, allowed }
}

/// The expression that would be sent.
fn query(request: &UpstreamRequest) -> String {
    let parameters = request
        .target()
        .split_once('?')
        .map_or(request.form(), |(_, query)| {
            bytes::Bytes::copy_from_slice(query.as_bytes())
        });
    form_urlencoded::parse(&parameters)
        .find(|(name, _)| name == "query")
        .map_or_else(String::new, |(_, query)| query.into_owned())
}

/// How its answer would be shared with callers whose restricted query is the same text, and what would not be. That
/// depends on how a query is asked, not on what it asks.
fn sharing(upstream: &Upstream) -> [String; 4] {
    let sharing = &upstream.sharing;
    let grid = sharing.grid.as_secs();
    let live = "as a range query that ends about now";
    [
        format!(
            "joined with the same under way {}",
            through(&sharing.join, "sharing.join")
        ),
        format!(
            "{live}, aligned to {grid} s {}",
            through(&sharing.align, "sharing.align")
        ),
        format!(
            "{live}, kept for {grid} s {}",
            through(&sharing.keep, "sharing.keep")
        ),
        "as an instant query, with times in the past, or with other parameters than start, end, step and timeout: not kept"
            .to_owned(),
    ]
    .map(|line| format!("sharing at {}: {line}", upstream.name))
}

/// Through which doors, and which the key leaves out.
fn through(doors: &[Door], key: &str) -> String {
    let names = |named: bool| {
        let doors = Door::ALL
            .iter()
            .filter(|door| doors.contains(door) == named);
        let names: Vec<_> = doors.map(|door| door.as_str()).collect();
        names.join(", ")
    };
    match (names(true).as_str(), names(false).as_str()) {
        ("", _) => format!("through no door, since {key} names none"),
        (all, "") => format!("through {all}"),
        (some, rest) => format!("through {some}; not through {rest}, which {key} does not name"),
    }
}
