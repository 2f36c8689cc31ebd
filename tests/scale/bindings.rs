//! 10,000 viewers of five namespaces each, among 5,000. `make scale` prints what is found.
//!
//! The API server answers each review after 5 ms, and its authorizer hears of a change 50 ms after our watch does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use k8s_openapi::api::authentication::v1::{TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::authorization::v1::{SubjectAccessReviewSpec, SubjectAccessReviewStatus};
use prom_rbac_proxy::authn::Authenticator;
use prom_rbac_proxy::authz::Authorizer;
use prom_rbac_proxy::cluster::metrics::ReviewsMetrics;
use prom_rbac_proxy::cluster::{Cluster, ClusterNamespaces, ReviewClass, Unavailable};
use prom_rbac_proxy::namespace::Namespace;
use prom_rbac_proxy::prometheus::PrometheusRequest;
use prom_rbac_proxy::rbac::metrics::{RbacMetrics, Watched};
use prom_rbac_proxy::rbac::{
    Bindings, CandidateFinder, Changes, ClusterRoleBinding, InCluster, InNamespace, RoleBinding,
};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::{authenticator, lifetimes, policy, request};

const NAMESPACES: u32 = 5_000;
const VIEWERS: u32 = 10_000;
const EACH: u32 = 5;

/// Of a RoleBinding, so that there are 25,000.
const SUBJECTS: u32 = 2;

/// A multiple of the time between two refreshes of Headlamp. Between them all is remembered.
const REFRESH: Duration = Duration::from_secs(30);

/// A multiple of how long answers last.
const WATCHED: Duration = Duration::from_secs(300);

const REVIEW: Duration = Duration::from_millis(5);

const LAG: Duration = Duration::from_millis(50);

/// The namespaces that a viewer is bound in.
fn places(viewer: u32) -> impl Iterator<Item = u32> {
    let pair = viewer / SUBJECTS;
    (0..EACH).map(move |number| (pair + number * (NAMESPACES / EACH)) % NAMESPACES)
}

fn user(viewer: u32) -> String {
    format!("viewer-{viewer}-of-example.com")
}

fn name(namespace: u32) -> String {
    format!("tenant-{namespace:04}-production")
}

fn binding(namespace: u32, name_of_it: &str, viewers: impl Iterator<Item = u32>) -> RoleBinding {
    let subjects: Vec<_> = viewers
        .map(|viewer| json!({"kind": "User", "name": user(viewer)}))
        .collect();
    let object = json!({
        "metadata": {"name": name_of_it, "namespace": name(namespace)},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": subjects,
    });
    serde_json::from_str(&object.to_string()).expect("a binding")
}

/// All of them, as a watch lists them.
fn list(bindings: &Bindings) {
    bindings.listing::<InNamespace>();
    for pair in 0..VIEWERS / SUBJECTS {
        let viewers = pair * SUBJECTS..(pair + 1) * SUBJECTS;
        for place in places(viewers.start) {
            let name = format!("viewers-{pair}-of-the-tenant");
            bindings.apply(&binding(place, &name, viewers.clone()));
        }
    }
    bindings.listed::<InNamespace>();
    bindings.listing::<InCluster>();
    let one: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "admins"},
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "Group", "name": "admins"}],
    }))
    .expect("a binding");
    bindings.apply(&one);
    bindings.listed::<InCluster>();
}

/// An API server that knows everybody, and allows what is in its table.
#[derive(Default)]
struct Kubernetes {
    reviews: AtomicU64,
    allowed: Mutex<BTreeSet<(String, String)>>,
}

impl Cluster for Kubernetes {
    fn review_token(
        &self,
        spec: TokenReviewSpec,
        _class: ReviewClass,
    ) -> BoxFuture<'_, Result<TokenReviewStatus, Unavailable>> {
        self.reviews.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            sleep(REVIEW).await;
            let user = UserInfo {
                username: Some(spec.token),
                groups: Some(vec!["system:authenticated".to_owned()]),
                ..UserInfo::default()
            };
            Ok(TokenReviewStatus {
                authenticated: Some(true),
                user: Some(user),
                ..TokenReviewStatus::default()
            })
        })
    }

    fn review_access(
        &self,
        spec: SubjectAccessReviewSpec,
        _class: ReviewClass,
    ) -> BoxFuture<'_, Result<SubjectAccessReviewStatus, Unavailable>> {
        self.reviews.fetch_add(1, Ordering::Relaxed);
        let namespace = spec.resource_attributes.and_then(|asked| asked.namespace);
        let asked = (spec.user.unwrap_or_default(), namespace.unwrap_or_default());
        // As of when it is asked.
        let allowed = self.allowed.lock().expect("not poisoned").contains(&asked);
        Box::pin(async move {
            sleep(REVIEW).await;
            let reason = r#"RBAC: allowed by RoleBinding "viewers" of ClusterRole "view""#;
            Ok(SubjectAccessReviewStatus {
                allowed,
                reason: allowed.then(|| reason.to_owned()),
                ..SubjectAccessReviewStatus::default()
            })
        })
    }
}

/// The proxy before such an API server.
struct Stage {
    kubernetes: Arc<Kubernetes>,
    bindings: Bindings,
    authenticator: Arc<Authenticator>,
    authorizer: Authorizer,
    request: PrometheusRequest,
}

impl Stage {
    fn new() -> Arc<Self> {
        let kubernetes = Arc::new(Kubernetes::default());
        let granted = (0..VIEWERS)
            .flat_map(|viewer| places(viewer).map(move |place| (user(viewer), name(place))));
        *kubernetes.allowed.lock().expect("not poisoned") = granted.collect();
        let changes = Changes::default();
        let bindings = Bindings::new(changes.clone(), RbacMetrics::default());
        list(&bindings);
        let namespaces = ClusterNamespaces::default();
        let names = (0..NAMESPACES).filter_map(|number| Namespace::parse(&name(number)));
        namespaces.publish(names.collect());
        let finder =
            CandidateFinder::new(namespaces, Some(bindings.clone()), RbacMetrics::default());
        let metrics = ReviewsMetrics::default();
        let authorizer = Authorizer::new(
            policy(),
            lifetimes(),
            kubernetes.clone(),
            finder,
            Some(changes.clone()),
            &metrics,
        );
        for resource in Watched::ALL {
            changes.watched(*resource, true);
        }
        let answers = || u64::from(VIEWERS * (EACH + 1));
        tokio::spawn(changes.drive(answers, lifetimes().allowed));
        Arc::new(Self {
            authenticator: authenticator(kubernetes.clone(), &metrics),
            kubernetes,
            bindings,
            authorizer,
            request: request("up"),
        })
    }

    /// The namespaces that a viewer gets, and how long that takes.
    async fn ask(&self, viewer: u32) -> (Vec<String>, Duration) {
        let begun = Instant::now();
        let value = format!("Bearer {}", user(viewer)).parse();
        let headers =
            HeaderMap::from_iter([(http::header::AUTHORIZATION, value.expect("a value"))]);
        let caller = self.authenticator.caller(&headers).await.expect("a caller");
        let permit = self
            .authorizer
            .permit(&caller, &self.request)
            .await
            .expect("a permit");
        let names = permit
            .namespaces()
            .iter()
            .map(ToString::to_string)
            .collect();
        (names, begun.elapsed())
    }

    /// A binding comes or goes: first seen by our watch, and a little later by the API server's authorizer. How long it
    /// takes until the viewer gets what it says.
    async fn change(&self, viewer: u32, place: u32, granted: bool) -> Duration {
        let begun = Instant::now();
        let object = binding(place, "one-more", std::iter::once(viewer));
        if granted {
            self.bindings.apply(&object);
        } else {
            self.bindings.remove(&object);
        }
        let mut heard = false;
        loop {
            if !heard && begun.elapsed() >= LAG {
                heard = true;
                let pair = (user(viewer), name(place));
                let mut allowed = self.kubernetes.allowed.lock().expect("not poisoned");
                if granted {
                    allowed.insert(pair);
                } else {
                    allowed.remove(&pair);
                }
            }
            let (names, _) = self.ask(viewer).await;
            if names.contains(&name(place)) == granted && heard {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{names:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_viewers_among_five_thousand_namespaces_cost_few_reviews() {
    let stage = Stage::new();
    // What the first lists touch.
    sleep(lifetimes().allowed).await;
    let start = Instant::now();
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|viewer| {
            let stage = stage.clone();
            let first = start + REFRESH * viewer / VIEWERS;
            tokio::spawn(async move {
                sleep_until(first).await;
                let (names, took) = stage.ask(viewer).await;
                assert_eq!(names.len(), EACH as usize);
                for number in 1..WATCHED.as_secs() / REFRESH.as_secs() {
                    sleep_until(first + REFRESH * number as u32).await;
                    assert_eq!(stage.ask(viewer).await.0.len(), EACH as usize);
                }
                took
            })
        })
        .collect();
    let mut first_answer = Duration::ZERO;
    for viewer in viewers {
        first_answer = first_answer.max(viewer.await.expect("no panic"));
    }
    let reviews = stage.kubernetes.reviews.load(Ordering::Relaxed);
    let reviews = reviews / WATCHED.as_secs();
    let mut seen = Duration::ZERO;
    for viewer in 0..20 {
        let place = (places(viewer).next().unwrap_or_default() + 7) % NAMESPACES;
        seen = seen.max(stage.change(viewer, place, true).await);
        seen = seen.max(stage.change(viewer, place, false).await);
    }
    let (first_answer, seen) = (first_answer.as_millis(), seen.as_millis());
    println!(
        "scale: {NAMESPACES} namespaces, {VIEWERS} viewers, {reviews} reviews/s, first answer {first_answer} ms, change seen after {seen} ms"
    );
    assert!(reviews > 100 && reviews < 1_000, "{reviews}");
    assert!(first_answer < 50 && seen < 1_000);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// In a process of its own, since the memory of a process is that of all of its threads.
#[test]
fn k26_25_000_bindings_take_less_than_10_mib() {
    let program = std::env::current_exe().expect("this program");
    let arguments = [
        "--exact",
        "bindings::measured_alone",
        "--ignored",
        "--nocapture",
    ];
    let output = std::process::Command::new(program)
        .args(arguments)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let taken = text
        .split("taken: ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let taken: u64 = taken
        .and_then(|taken| taken.parse().ok())
        .expect("a number");
    println!("25,000 bindings with two subjects each take {taken} KiB");
    assert!(taken > 1_000 && taken < 10 * 1_024, "{taken} KiB");
}

#[test]
#[ignore = "a part of the test above"]
fn measured_alone() {
    let bindings = Bindings::new(Changes::default(), RbacMetrics::default());
    let before = resident_kib();
    list(&bindings);
    println!("taken: {} KiB", resident_kib() - before);
}
