//! How many reviews viewers with open dashboards cost: the figures of docs/scale.md, found by letting them ask for minutes
//! of a paused clock.

/// Thousands of namespaces, with candidates from bindings, and changes that are watched.
#[path = "scale/bindings.rs"]
mod bindings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use k8s_openapi::api::authentication::v1::{TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{SubjectAccessReviewSpec, SubjectAccessReviewStatus};
use prom_rbac_proxy::authn::{self, Authenticator, Sources};
use prom_rbac_proxy::authz::{self, Authorizer, Policy};
use prom_rbac_proxy::cluster::metrics::{Review, ReviewsMetrics};
use prom_rbac_proxy::cluster::{Cluster, ClusterNamespaces, ReviewClass, Unavailable};
use prom_rbac_proxy::config::ResourceAttributes;
use prom_rbac_proxy::namespace::Namespace;
use prom_rbac_proxy::prometheus::{Accepted, PrometheusRequest, RequestLimits, Target};
use prom_rbac_proxy::promql;
use prom_rbac_proxy::slots::{Bounds, Slots};

const VIEWERS: u32 = 200;

/// Headlamp asks anew for each chart that often.
const REFRESH: Duration = Duration::from_secs(10);

const NAMESPACES: u32 = 50;

const MINUTE: Duration = Duration::from_secs(60);

const WATCHED: Duration = Duration::from_secs(300);

/// Knows everybody; who is of a team sees namespace 0 only.
#[derive(Default)]
struct Counting {
    tokens: AtomicU64,
    accesses: AtomicU64,
}

impl Cluster for Counting {
    fn review_token(
        &self,
        spec: TokenReviewSpec,
        _class: ReviewClass,
    ) -> BoxFuture<'_, Result<TokenReviewStatus, Unavailable>> {
        self.tokens.fetch_add(1, Ordering::Relaxed);
        let user = UserInfo {
            username: Some(spec.token),
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
        self.accesses.fetch_add(1, Ordering::Relaxed);
        let namespace = spec.resource_attributes.and_then(|asked| asked.namespace);
        let everything = spec.user.is_some_and(|user| user.starts_with("all-"));
        let status = SubjectAccessReviewStatus {
            allowed: everything || namespace.as_deref() == Some("ns-0"),
            ..SubjectAccessReviewStatus::default()
        };
        Box::pin(std::future::ready(Ok(status)))
    }
}

/// The defaults of the configuration, here and below.
fn authenticator(cluster: Arc<dyn Cluster>, metrics: &ReviewsMetrics) -> Arc<Authenticator> {
    let slots = Slots::new(Bounds {
        concurrent: 32,
        queued: 64,
        patience: Duration::from_secs(10),
    });
    Authenticator::new(
        Sources {
            headers: vec![http::header::AUTHORIZATION],
            headlamp_cookie: true,
        },
        Vec::new(),
        authn::Lifetimes {
            known: MINUTE,
            rejected: MINUTE / 6,
            stale: MINUTE * 10,
            capacity: 10_000,
        },
        cluster,
        metrics.of(Review::Token),
        slots,
    )
}

fn policy() -> Policy {
    Policy {
        attributes: ResourceAttributes {
            verb: "get".to_owned(),
            group: "metrics.k8s.io".to_owned(),
            resource: "pods".to_owned(),
            subresource: String::new(),
        },
        namespace_label: "namespace".to_owned(),
        metric_rules: Vec::new(),
        query_limits: promql::Limits::default(),
        max_namespaces: 500,
        patience: Duration::from_secs(10),
    }
}

fn lifetimes() -> authz::Lifetimes {
    authz::Lifetimes {
        allowed: MINUTE,
        denied: MINUTE / 6,
        watched: MINUTE * 5,
        stale: MINUTE * 10,
        capacity: 100_000,
    }
}

/// Reviews a second for each viewer: of tokens, and of access.
async fn reviews(prefix: &str, query: &str) -> (f64, f64) {
    let metrics = ReviewsMetrics::default();
    let cluster = Arc::new(Counting::default());
    let authenticator = authenticator(cluster.clone(), &metrics);
    let namespaces = ClusterNamespaces::default();
    let names = (0..NAMESPACES).filter_map(|number| Namespace::parse(&format!("ns-{number}")));
    namespaces.publish(names.collect());
    let authorizer = Authorizer::new(
        policy(),
        lifetimes(),
        cluster.clone(),
        namespaces,
        None,
        &metrics,
    );
    let request = request(query);
    let headers: Vec<HeaderMap> = (0..VIEWERS)
        .map(|viewer| {
            let value = format!("Bearer {prefix}{viewer}").parse();
            HeaderMap::from_iter([(http::header::AUTHORIZATION, value.expect("a value"))])
        })
        .collect();
    // One after the other, so that they ask evenly spread.
    let asks = (WATCHED.as_secs() / REFRESH.as_secs()) as u32;
    for _ in 0..asks {
        for headers in &headers {
            let caller = authenticator.caller(headers).await.expect("a caller");
            let permit = authorizer.permit(&caller, &request).await;
            permit.expect("a permit");
            tokio::time::advance(REFRESH / VIEWERS).await;
        }
    }
    let each = |count: &AtomicU64| {
        count.load(Ordering::Relaxed) as f64 / f64::from(VIEWERS) / WATCHED.as_secs_f64()
    };
    (each(&cluster.tokens), each(&cluster.accesses))
}

fn request(query: &str) -> PrometheusRequest {
    let target = Target::find("/api/v1/query", &Method::GET).expect("an endpoint");
    let encoded = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", query)
        .finish();
    let limits = RequestLimits {
        max_query_bytes: 32_768,
        max_selectors: 256,
        max_parameters: 1_100,
        max_parameter_bytes: 1_024,
        max_range: None,
        max_points: None,
        namespace_parameters: Vec::new(),
    };
    target
        .read(&encoded, &[], Accepted::default(), &limits)
        .expect("a request")
}

#[tokio::test(start_paused = true)]
async fn viewers_cost_as_many_reviews_as_the_document_says() {
    let named = r#"up{namespace="ns-0"}"#;
    // Each is of the form: per 60 s for what is allowed, per 10 s for what is denied and asked for.
    for (who, prefix, query, expected) in [
        ("who sees everything", "all-", "up", 1.0 / 60.0),
        (
            "who sees a namespace and names it",
            "team-",
            named,
            1.0 / 10.0 + 1.0 / 60.0,
        ),
        (
            "who sees a namespace and names none",
            "team-",
            "up",
            1.0 / 10.0 + f64::from(NAMESPACES) / 60.0,
        ),
    ] {
        let (tokens, accesses) = reviews(prefix, query).await;
        println!("{who}: {tokens:.4} token reviews and {accesses:.4} access reviews a second");
        assert!((tokens * 60.0 - 1.0).abs() < 0.05, "{tokens}");
        assert!(
            (accesses / expected - 1.0).abs() < 0.05,
            "{accesses}, not {expected}"
        );
    }
}
