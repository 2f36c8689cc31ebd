//! One line for each request, written when its response has ended: who, what, what was decided, how it went.
//!
//! The record lives in the response's body. Whatever ends the body ends the record, and until something else
//! is said the outcome is that the caller left.

mod audit;
mod body;
mod client;
mod id;
mod layer;
mod line;
mod waiting;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderValue, Request, StatusCode};
use ipnet::IpNet;
use tokio::time::Instant;

pub use self::body::RecordedBody;
pub use self::id::{Hexadecimal, RequestId};
pub use self::layer::{RecordLayer, RecordService, Recorder, begin_response, finish};
use self::waiting::{waiting, waiting_for};
use super::metrics::{Ended, RequestMetrics};
use super::refusal::ReasonCode;
use super::span::{RequestEnd, RequestSpan};
use super::{Decision, Door, StatusClass, Subject};
use crate::authn::Caller;
use crate::authz::{NamespacesPermit, Permit, Scope};
use crate::cluster::Unavailable;
use crate::config::{AuditQuery, Logging};
use crate::namespace::Namespace;
use crate::prometheus::{Endpoint, PrometheusRequest};
use crate::server::Peer;
use crate::sharing::{Answer, Answered};
use crate::slots::Slot;
use crate::telemetry::Lines;
use crate::telemetry::spans::ActiveSpan;
use crate::telemetry::trace::TraceContext;
use crate::upstream::UpstreamError;
use crate::upstream::body::BodyError;

/// Names of namespaces in one line; the count stands beside them.
const SHOWN_NAMESPACES: usize = 20;

/// Groups of a caller in one line.
const SHOWN_GROUPS: usize = 50;

/// Bytes of a user agent in one line.
const SHOWN_AGENT_BYTES: usize = 256;

/// Bytes of a query in one line.
const SHOWN_QUERY_BYTES: usize = 1024;

/// Where the lines go, and how much they say of queries. One for each worker, cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Rules>);

struct Rules {
    lines: Option<Lines>,
    query: AuditQuery,
    groups: bool,
    trusted_proxies: Vec<IpNet>,
    metrics: RequestMetrics,
}

impl Log {
    /// Writes its lines to `lines`, as `logging` says; `None`: no lines.
    pub fn new(lines: Option<Lines>, logging: &Logging, metrics: RequestMetrics) -> Self {
        Self(Arc::new(Rules {
            lines,
            query: logging.audit_query,
            groups: logging.audit_groups,
            trusted_proxies: logging.trusted_proxies.clone(),
            metrics,
        }))
    }

    /// Begins the record of a request.
    pub fn begin(&self, id: RequestId, door: Door, method: &http::Method) -> Record {
        self.0.metrics.began();
        Record(Box::new(Inner {
            log: self.clone(),
            id,
            started: Instant::now(),
            time: jiff::Timestamp::now(),
            door,
            method: method.clone(),
            caller: None,
            endpoint: None,
            query: None,
            asked: Vec::new(),
            granted: Vec::new(),
            granted_count: 0,
            decision: Decision::Failed,
            reason: None,
            reason_code: None,
            user_agent: None,
            client: None,
            status: None,
            trace: None,
            kubernetes: Duration::ZERO,
            waited: Duration::ZERO,
            upstream: None,
            answer: None,
            own: None,
            restricted: false,
            bytes: 0,
            outcome: Outcome::Cancelled,
            span: None,
            slots: None,
        }))
    }
}

/// What is known of a request so far. Dropped before the response has begun, it says that the caller left.
pub struct Record(Box<Inner>);

/// The record of a request whose response has begun.
pub struct Completion(Record);

struct Inner {
    log: Log,
    id: RequestId,
    started: Instant,
    time: jiff::Timestamp,
    door: Door,
    method: http::Method,
    caller: Option<Caller>,
    endpoint: Option<Subject>,
    query: Option<String>,
    asked: Vec<Namespace>,
    granted: Vec<Namespace>,
    granted_count: usize,
    decision: Decision,
    reason: Option<String>,
    reason_code: Option<ReasonCode>,
    user_agent: Option<HeaderValue>,
    client: Option<IpAddr>,
    status: Option<StatusCode>,
    trace: Option<TraceContext>,
    /// Time spent waiting for Kubernetes.
    kubernetes: Duration,
    /// Time spent waiting for anything else: a slot, the caller's body.
    waited: Duration,
    /// Time until the head of Prometheus' answer.
    upstream: Option<Duration>,
    answer: Option<Answer>,
    /// Time that the program itself took until the response's head.
    own: Option<Duration>,
    restricted: bool,
    bytes: u64,
    outcome: Outcome,
    span: Option<Box<RequestSpan>>,
    slots: Option<[Slot; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Complete,
    Cancelled,
    Aborted,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
        }
    }
}

impl Record {
    pub fn id(&self) -> RequestId {
        self.0.id
    }

    /// The request is traced by this span, which ends with the record.
    pub fn traced(&mut self, begun: ActiveSpan) {
        self.0.trace = Some(begun.context);
        self.0.span = Some(Box::new(RequestSpan::new(begun)));
    }

    /// The request's span; `None` where it is not traced.
    pub fn span(&mut self) -> Option<&mut RequestSpan> {
        self.0.span.as_deref_mut()
    }

    /// Corrects the door that the request came through.
    pub fn set_door(&mut self, door: Door) {
        self.0.door = door;
    }

    /// The door that the request came through, as far as is known.
    pub fn door(&self) -> Door {
        self.0.door
    }

    /// The trace that the request belongs to.
    pub fn trace(&mut self, trace: Option<TraceContext>) {
        self.0.trace = trace;
    }

    /// Waits for an answer of Kubernetes, and adds up how long.
    ///
    /// # Errors
    /// [`Unavailable::OutOfTime`] when all such waits of the request take longer than `limit` together.
    pub async fn on_kubernetes<T, E: From<Unavailable>>(
        &mut self,
        limit: Duration,
        future: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, E> {
        let left = limit.saturating_sub(self.0.kubernetes);
        let (output, waited) = waiting_for(left, future).await;
        self.0.kubernetes += waited;
        output.unwrap_or_else(|| Err(Unavailable::OutOfTime.into()))
    }

    /// Waits for a slot or for the caller's body, and adds up how long.
    pub async fn on_caller<F: Future>(&mut self, future: Pin<&mut F>) -> F::Output {
        let (output, waited) = waiting(future).await;
        self.0.waited += waited;
        output
    }

    /// The client's address, and the user agent that it names.
    fn sender<B>(&mut self, request: &Request<B>) {
        let Rules {
            lines: Some(_),
            trusted_proxies,
            ..
        } = &*self.0.log.0
        else {
            return;
        };
        let headers = request.headers();
        let peer = request.extensions().get::<Peer>();
        self.0.client = peer.map(|peer| client::client(peer.0.ip(), headers, trusted_proxies));
        self.0.user_agent = headers.get(USER_AGENT).cloned();
    }

    pub fn caller(&mut self, caller: &Caller) {
        self.0.caller = Some(caller.clone());
    }

    /// The endpoint that the request names.
    pub fn endpoint(&mut self, endpoint: Endpoint) {
        self.0.endpoint = Some(Subject::Prometheus(endpoint));
    }

    /// The request asks for namespaces; `permit` has those that the caller may be shown.
    pub fn namespaces(&mut self, subject: Subject, permit: Option<&NamespacesPermit>) {
        self.0.endpoint = Some(subject);
        let Some(permit) = permit else { return };
        self.0.decision = match permit.names() {
            None => Decision::Everything,
            Some(names) => {
                self.0.granted_count = names.len();
                self.0.granted = names.iter().take(SHOWN_NAMESPACES).cloned().collect();
                Decision::Namespaces
            }
        };
    }

    /// Keeps `slots` until the response has ended.
    pub fn hold(&mut self, slots: [Slot; 2]) {
        self.0.slots = Some(slots);
    }

    /// The query, as far as the configuration wants it logged.
    pub fn request(&mut self, request: &PrometheusRequest) {
        let Some(expression) = request.expression() else {
            return;
        };
        self.0.query = match self.0.log.0.query {
            AuditQuery::None => None,
            AuditQuery::Hash => {
                let digest = ring::digest::digest(&ring::digest::SHA256, expression.as_bytes());
                let first = digest.as_ref().first_chunk().expect("it has 32 bytes");
                Some(
                    Hexadecimal::of(u64::from_be_bytes(*first))
                        .as_str()
                        .to_owned(),
                )
            }
            AuditQuery::Full => {
                Some(expression[..expression.floor_char_boundary(SHOWN_QUERY_BYTES)].to_owned())
            }
        };
    }

    /// The request was permitted.
    pub fn permit(&mut self, permit: &Permit<'_>) {
        let asked = permit
            .decisions()
            .iter()
            .filter_map(|decision| decision.namespace.clone());
        self.0.asked = asked.take(SHOWN_NAMESPACES).collect();
        let granted = permit.namespaces();
        self.0.granted_count = granted.len();
        self.0.granted = granted
            .into_iter()
            .take(SHOWN_NAMESPACES)
            .cloned()
            .collect();
        self.0.decision = Decision::of(permit);
        self.0.restricted = matches!(permit.scope(), Scope::Series(_));
    }

    /// The request is answered without a permit.
    pub fn decided(&mut self, decision: Decision) {
        self.0.decision = decision;
    }

    /// The request was refused; its slots are released.
    pub fn refused(
        &mut self,
        decision: Decision,
        code: ReasonCode,
        reason: &dyn std::fmt::Display,
    ) {
        self.0.slots = None;
        self.0.decision = decision;
        self.0.reason_code = Some(code);
        let mut reason = reason.to_string();
        reason.truncate(reason.floor_char_boundary(SHOWN_QUERY_BYTES));
        self.0.reason = Some(reason);
    }

    /// The namespaces for which the request was refused.
    pub fn asked(&mut self, namespaces: &[Namespace]) {
        self.0.asked = namespaces.iter().take(SHOWN_NAMESPACES).cloned().collect();
    }

    /// Prometheus' answer, or why there is none.
    pub fn sent(&mut self, sent: &Result<Answered, UpstreamError>) {
        if let Ok(answered) = sent {
            self.0.answer = Some(answered.answer);
            // A kept answer was not waited for.
            if answered.answer != Answer::Kept {
                self.0.upstream = Some(answered.head);
            }
        }
        let Some(span) = self.span() else { return };
        match sent {
            Ok(answered) if answered.answer == Answer::Fetched => {
                span.answered(Ok(answered.response.status()));
            }
            Ok(_) => span.shared(),
            Err(error) => span.answered(Err(error.failure())),
        }
    }

    /// The response begins.
    pub fn responded(mut self, status: StatusCode) -> Completion {
        self.0.status = Some(status);
        let others = self.0.kubernetes + self.0.waited + self.0.upstream.unwrap_or_default();
        self.0.own = Some(self.0.started.elapsed().saturating_sub(others));
        Completion(self)
    }
}

impl Completion {
    /// So many bytes of the body were sent.
    pub fn count(&mut self, bytes: usize) {
        self.0.0.bytes += bytes as u64;
    }

    /// The body ended as it should.
    pub fn complete(&mut self) {
        self.0.0.outcome = Outcome::Complete;
    }

    /// The body was cut short.
    pub fn abort(&mut self, error: &BodyError) {
        self.0.0.outcome = Outcome::Aborted;
        self.0.0.reason_code = Some(error.into());
        self.0.0.reason = Some(error.to_string());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let class = match (self.outcome, self.status) {
            (Outcome::Cancelled | Outcome::Aborted, _) | (_, None) => StatusClass::Aborted,
            (Outcome::Complete, Some(status)) => StatusClass::of(status),
        };
        let Rules { lines, metrics, .. } = &*self.log.0;
        metrics.ended(Ended {
            door: self.door,
            endpoint: self.endpoint,
            decision: self.decision,
            status_class: class,
            duration,
            own: self.own,
            bytes: self.bytes,
            restricted: self.restricted,
            trace: self.trace,
        });
        if let Some(lines) = lines {
            lines.leave(|line| self.write(line, duration));
        }
        if let Some(span) = self.span.take() {
            span.end(&self.ended(duration));
        }
    }
}

impl Inner {
    fn ended(&self, duration: Duration) -> RequestEnd {
        RequestEnd {
            time: self.time,
            began: self.started,
            duration,
            method: self.method.clone(),
            door: self.door,
            endpoint: self.endpoint,
            decision: self.decision,
            status: self.status,
            outcome: self.outcome.as_str(),
            aborted: self.outcome == Outcome::Aborted,
        }
    }
}
