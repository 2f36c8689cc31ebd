//! The steps of a request's way, each ready to be done again and again: with a cluster that knows everybody, so that
//! all reviews are remembered after the first time.
//!
//! Choosing a pod is not among them: it has no public door of its own.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use k8s_openapi::api::authentication::v1::{TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{SubjectAccessReviewSpec, SubjectAccessReviewStatus};
use prom_rbac_proxy::authn::{self, Authenticator, Caller, Sources};
use prom_rbac_proxy::authz::{self, Authorizer, Permit, Policy};
use prom_rbac_proxy::cluster::metrics::{Review, ReviewsMetrics};
use prom_rbac_proxy::cluster::{Cluster, ClusterNamespaces, ReviewClass, Unavailable};
use prom_rbac_proxy::config::{Config, ResourceAttributes};
use prom_rbac_proxy::namespace::Namespace;
use prom_rbac_proxy::prometheus::{Accepted, Path, PrometheusRequest, RequestLimits, Target};
use prom_rbac_proxy::promql;
use prom_rbac_proxy::request::form::FormLayer;
use prom_rbac_proxy::request::metrics::RequestMetrics;
use prom_rbac_proxy::request::record::{Log, Recorder, RequestId};
use prom_rbac_proxy::request::stack::{Shared, Stack, stack};
use prom_rbac_proxy::request::{Door, Entrance};
use prom_rbac_proxy::sharing::metrics::SharingMetrics;
use prom_rbac_proxy::sharing::{Answer, Answered, Clients, Sharing};
use prom_rbac_proxy::slots::{Bounds, Slots};
use prom_rbac_proxy::telemetry::spans::{Exporter, Tracer};
use prom_rbac_proxy::telemetry::{Lines, Writing};
use prom_rbac_proxy::upstream::body::ResponseBody;
use prom_rbac_proxy::upstream::metrics::UpstreamsMetrics;
use prom_rbac_proxy::upstream::request::restrict;
use prom_rbac_proxy::upstream::{Upstream, UpstreamError};
use prometheus_client::metrics::counter::Counter;
use tokio::runtime::{Handle, Runtime};
use tower::ServiceExt;

/// As the plugin sends it, a chart of one workload.
const QUERY: &str = "query=sum(rate(container_cpu_usage_seconds_total%7Bcontainer%21%3D%22%22%2Cnamespace%3D%22team-a%22%2Cpod%3D~%22web-.%2A%22%7D%5B5m%5D%29%29+by+%28pod%29&start=1700000000&end=1700003600&step=15";

const PATH: &str = "/api/v1/query_range";

const TARGET: &str = "/api/v1/query_range?query=sum(rate(container_cpu_usage_seconds_total%7Bcontainer%21%3D%22%22%2Cnamespace%3D%22team-a%22%2Cpod%3D~%22web-.%2A%22%7D%5B5m%5D%29%29+by+%28pod%29&start=1700000000&end=1700003600&step=15";

const LIMITS: RequestLimits = RequestLimits {
    max_query_bytes: 32_768,
    max_selectors: 256,
    max_parameters: 1_100,
    max_parameter_bytes: 1_024,
    max_range: None,
    max_points: Some(11_000),
    namespace_parameters: Vec::new(),
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A cluster in which each token is the name of its user: `everything` sees all, anybody else team-a.
struct Known;

impl Cluster for Known {
    fn review_token(
        &self,
        spec: TokenReviewSpec,
        _class: ReviewClass,
    ) -> BoxFuture<'_, Result<TokenReviewStatus, Unavailable>> {
        let name = if spec.token.ends_with("everything") {
            "everything"
        } else {
            "viewer"
        };
        let groups = ["viewers", "developers", "system:authenticated"];
        let user = UserInfo {
            username: Some(name.to_owned()),
            groups: Some(groups.map(str::to_owned).to_vec()),
            ..UserInfo::default()
        };
        let status = TokenReviewStatus {
            authenticated: Some(true),
            user: Some(user),
            ..TokenReviewStatus::default()
        };
        Box::pin(std::future::ready(Ok(status)))
    }

    fn review_access(
        &self,
        spec: SubjectAccessReviewSpec,
        _class: ReviewClass,
    ) -> BoxFuture<'_, Result<SubjectAccessReviewStatus, Unavailable>> {
        let namespace = spec.resource_attributes.and_then(|asked| asked.namespace);
        let everything = spec.user.as_deref() == Some("everything");
        let status = SubjectAccessReviewStatus {
            allowed: everything || namespace.as_deref() == Some("team-a"),
            ..SubjectAccessReviewStatus::default()
        };
        Box::pin(std::future::ready(Ok(status)))
    }
}

/// What the steps need.
pub struct Steps {
    runtime: Runtime,
    sources: Sources,
    authenticator: Arc<Authenticator>,
    authorizer: Arc<Authorizer>,
    log: Log,
    by_header: HeaderMap,
    by_cookie: HeaderMap,
    everything: Caller,
    viewer: Caller,
    request: PrometheusRequest,
    stack: Stack,
    /// With a trace collector, for the sampled requests alone.
    traced: Stack,
    _exporter: Exporter,
    _writing: Writing,
}

/// The name of a step, and what does it once.
pub type Step = (&'static str, fn(&Steps));

impl Steps {
    /// All of them, in the order of a request's way.
    pub const ALL: [Step; 13] = [
        ("credential/header", |steps| {
            steps.credential(&steps.by_header)
        }),
        ("credential/cookie", |steps| {
            steps.credential(&steps.by_cookie)
        }),
        ("token-cache-hit", Self::token_cache_hit),
        ("slots", Self::slots),
        ("endpoint-and-parameters", Self::endpoint_and_parameters),
        ("access-cache-hit/everything", |steps| {
            black_box(steps.permit(&steps.everything));
        }),
        ("access-cache-hit/namespaced", |steps| {
            black_box(steps.permit(&steps.viewer));
        }),
        ("permit-and-restrict/everything", |steps| {
            steps.restrict(&steps.everything)
        }),
        ("permit-and-restrict/namespaced", |steps| {
            steps.restrict(&steps.viewer)
        }),
        ("audit-line", Self::audit_line),
        ("all", Self::all),
        ("stack", |steps| steps.whole_way(&steps.stack)),
        ("stack/not-sampled", |steps| steps.whole_way(&steps.traced)),
    ];

    /// Everything that is remembered is remembered already.
    ///
    /// # Panics
    /// When the crate under test refuses what it should take.
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let metrics = ReviewsMetrics::default();
        let cluster: Arc<dyn Cluster> = Arc::new(Known);
        let sources = Sources {
            headers: vec![http::header::AUTHORIZATION],
            headlamp_cookie: true,
        };
        let bounds = Bounds {
            concurrent: 32,
            queued: 1024,
            patience: Duration::from_secs(10),
        };
        let authenticator = Authenticator::new(
            sources.clone(),
            Vec::new(),
            authn::Lifetimes {
                known: DAY,
                rejected: DAY,
                stale: DAY,
                capacity: 10_000,
            },
            cluster.clone(),
            metrics.of(Review::Token),
            Slots::new(bounds),
        );
        let names = ["monitoring", "team-a", "team-b"].map(Namespace::parse);
        let namespaces = ClusterNamespaces::default();
        namespaces.publish(names.into_iter().flatten().collect());
        let attributes = ResourceAttributes {
            verb: "get".to_owned(),
            group: "metrics.k8s.io".to_owned(),
            resource: "pods".to_owned(),
            subresource: String::new(),
        };
        let authorizer = Authorizer::new(
            Policy {
                attributes,
                namespace_label: "namespace".to_owned(),
                metric_rules: Vec::new(),
                query_limits: promql::Limits::default(),
                max_namespaces: 500,
                patience: Duration::from_secs(10),
            },
            authz::Lifetimes {
                allowed: DAY,
                denied: DAY,
                watched: DAY,
                stale: DAY,
                capacity: 100_000,
            },
            cluster,
            namespaces,
            None,
            &metrics,
        );
        let (lines, writing) = Lines::start(std::io::sink()).expect("a thread");
        let logging = configuration().logging;
        let log = Log::new(Some(lines), &logging, RequestMetrics::default());
        let authorizer = Arc::new(authorizer);
        let shared = Shared {
            authenticator: authenticator.clone(),
            authorizer: authorizer.clone(),
            limits: LIMITS,
            form: FormLayer {
                max_bytes: 1024,
                timeout: DAY,
            },
            slots: Slots::new(bounds),
            review_timeout: DAY,
        };
        let (tracer, exporter) = {
            let _runtime = runtime.enter();
            tracing()
        };
        let stack = |tracer| {
            let _runtime = runtime.enter();
            let recorder = Recorder::new(log.clone(), Arc::default(), tracer);
            stack(&shared, nowhere(), recorder, Entrance::Service)
        };
        let (stack, traced) = (stack(None), stack(Some(tracer)));
        let by_header = headers("authorization", &format!("Bearer {}", token("viewer")));
        let cookie = format!("theme=dark; headlamp-auth-main.0={}", token("viewer"));
        let known = |headers: &HeaderMap| {
            let caller = runtime.block_on(authenticator.caller(headers));
            caller.expect("a caller")
        };
        let everything = headers("authorization", &format!("Bearer {}", token("everything")));
        let (everything, viewer) = (known(&everything), known(&by_header));
        let request = read(&LIMITS);
        Self {
            sources,
            authenticator,
            authorizer,
            log,
            by_cookie: headers("cookie", &cookie),
            by_header,
            everything,
            viewer,
            request,
            stack,
            traced,
            _exporter: exporter,
            runtime,
            _writing: writing,
        }
    }

    fn credential(&self, headers: &HeaderMap) {
        let _ = black_box(self.sources.token(black_box(headers)));
    }

    fn token_cache_hit(&self) {
        let caller = self.authenticator.caller(black_box(&self.by_header));
        black_box(self.runtime.block_on(caller)).expect("a caller");
    }

    fn slots(&self) {
        black_box(self.runtime.block_on(self.viewer.slots().take())).expect("a slot");
    }

    fn endpoint_and_parameters(&self) {
        black_box(read(&LIMITS));
    }

    fn permit(&self, caller: &Caller) -> Permit<'_> {
        let permit = self.authorizer.permit(caller, black_box(&self.request));
        self.runtime.block_on(permit).expect("a permit")
    }

    fn restrict(&self, caller: &Caller) {
        let permit = self.permit(caller);
        let request = restrict(&permit, &Method::GET, Some(Duration::from_secs(120)), &[]);
        black_box(request).expect("a request");
    }

    fn audit_line(&self) {
        let mut record = self.log.begin(RequestId(1), Door::Direct, &Method::GET);
        record.caller(&self.viewer);
        record.endpoint(self.request.endpoint());
        record.request(&self.request);
        record.sent(&answered());
        let mut completion = record.responded(StatusCode::OK);
        completion.count(7 * 1024);
        completion.complete();
    }

    /// The same request through all layers, up to where it would be sent.
    fn whole_way(&self, stack: &Stack) {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = Uri::from_static(TARGET);
        request.headers_mut().clone_from(black_box(&self.by_header));
        let response = self.runtime.block_on(stack.clone().oneshot(request));
        let response = response.expect("infallible");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        black_box(self.runtime.block_on(response.into_body().collect())).expect("a body");
    }

    /// A namespaced request, all of the above.
    fn all(&self) {
        let mut record = self.log.begin(RequestId(1), Door::Direct, &Method::GET);
        let caller = self.authenticator.caller(black_box(&self.by_header));
        let caller = self.runtime.block_on(caller).expect("a caller");
        record.caller(&caller);
        let slot = self.runtime.block_on(caller.slots().take());
        let request = read(&LIMITS);
        record.endpoint(request.endpoint());
        record.request(&request);
        let permit = self.authorizer.permit(&caller, &request);
        let permit = self.runtime.block_on(permit).expect("a permit");
        record.permit(&permit);
        let sent = restrict(&permit, &Method::GET, Some(Duration::from_secs(120)), &[]);
        black_box(sent).expect("a request");
        record.sent(&answered());
        let mut completion = record.responded(StatusCode::OK);
        completion.count(7 * 1024);
        completion.complete();
        drop(slot);
    }
}

/// With an upstream of which no pod is known, and a trace collector that is never spoken to, since no request is sampled.
fn configuration() -> Config {
    let text = "\
upstreams: [{name: default, service: {namespace: monitoring, name: prometheus, port: 9090}}]
tracing: {endpoint: \"http://127.0.0.1:4318\", sampleRatio: 0}
";
    Config::parse(text, std::iter::empty()).expect("a configuration")
}

/// That upstream: what is asked of it goes the whole way, and is refused where it would be sent.
fn nowhere() -> Clients {
    let config = configuration();
    let metrics = UpstreamsMetrics::default();
    let upstream = Upstream::new(&config.upstreams[0], &Handle::current(), &metrics);
    let metrics = SharingMetrics::default().of("default");
    let sharing = Sharing::new(&config.upstreams[0].sharing, metrics);
    Clients::new(&[(upstream.expect("an upstream"), sharing)], DAY)
}

/// What makes spans for that collector.
fn tracing() -> (Tracer, Exporter) {
    let started = Exporter::start(&configuration().tracing, Counter::default());
    started.expect("an exporter").expect("a collector")
}

/// An answer of Prometheus' that took 3 ms.
fn answered() -> Result<Answered, UpstreamError> {
    Ok(Answered {
        response: Response::new(ResponseBody::whole("")),
        answer: Answer::Fetched,
        head: Duration::from_millis(3),
    })
}

fn read(limits: &RequestLimits) -> PrometheusRequest {
    let path = Path::parse(black_box(PATH)).expect("a path");
    let target = Target::find(path.rest, &Method::GET).expect("an endpoint");
    target
        .read(black_box(QUERY), &[], Accepted::default(), limits)
        .expect("a request")
}

/// As long as a ServiceAccount's.
fn token(name: &str) -> String {
    format!(
        "{}.{}.{}{name}",
        "h".repeat(47),
        "p".repeat(500),
        "s".repeat(330)
    )
}

fn headers(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("prometheus"));
    headers.insert("accept", HeaderValue::from_static("application/json"));
    headers.insert(name, HeaderValue::from_str(value).expect("a value"));
    headers
}
