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
use crate::prometheus::{Accepted, RequestError, Target};
use crate::rbac::metrics::RbacMetrics;
use crate::rbac::{Searched, Source};
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
    let caller = Caller::assumed(&arguments.user, &groups(&arguments.user, &arguments.groups));
    let target = Target::find("/api/v1/query", &Method::GET)?;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", &arguments.query)
        .finish();
    let request = target.read(&query, b"", Accepted::default(), &request_limits(config))?;
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
    lines.extend(denial.searched.map(searched));
    lines.extend(denial.decisions.iter().map(review));
    lines.push(format!("denied: {}", denial.error));
    Explanation {
        lines,
        allowed: false,
    }
}

/// The groups that were given, and those that every review of such a user has.
fn groups(user: &str, given: &[String]) -> Vec<String> {
    let mut groups = given.to_vec();
    let mut add = |group: String| {
        if !groups.contains(&group) {
            groups.push(group);
        }
    };
    let account = user.strip_prefix("system:serviceaccount:");
    if let Some((namespace, _)) = account.and_then(|account| account.split_once(':')) {
        add("system:serviceaccounts".to_owned());
        add(format!("system:serviceaccounts:{namespace}"));
    }
    add("system:authenticated".to_owned());
    groups
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
    lines.extend(permit.searched().map(searched));
    lines.extend(permit.decisions().iter().map(review));
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

/// What of its answer would be shared, with all whose query becomes the same text, and why the rest would not. What is
/// asked makes no difference, but how it is asked does.
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

/// Which namespaces were reviewed for the set of all that the caller may read, and what that leaves open.
fn searched(searched: Searched) -> String {
    let count = searched.candidates;
    let place = match searched.source {
        Source::All => "all of the cluster",
        Source::Bindings => {
            "those with a RoleBinding that may concern the caller; rights that something else than RBAC gives in a namespace are not searched"
        }
        Source::Fallback => {
            "all of the cluster, since the RoleBindings could not be listed; the log says why"
        }
    };
    format!("searched: {count} namespaces, {place}")
}

fn review(decision: &Decision) -> String {
    let place = match &decision.namespace {
        Some(namespace) => format!("in namespace {namespace}"),
        None => "in the whole cluster".to_owned(),
    };
    let answer = if decision.allowed {
        "allowed"
    } else {
        "denied"
    };
    format!("review: {} {place}: {answer}", decision.attributes)
}
