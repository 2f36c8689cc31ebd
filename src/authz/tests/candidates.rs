//! Sets that are searched among the namespaces with a role binding.

use serde_json::json;

use super::*;
use crate::rbac::metrics::RbacMetrics;
use crate::rbac::{Bindings, InNamespace, RoleBinding, Searched, Source};

pub(super) fn binding(namespace: &str, name: &str, kind: &str, subject: &str) -> RoleBinding {
    let object = json!({
        "metadata": {"namespace": namespace, "name": name},
        "subjects": [{"kind": kind, "name": subject}],
    });
    serde_json::from_str(&object.to_string()).expect("an object")
}

/// Alice, and the bindings that are known.
pub(super) fn world_with_bindings(
    allowed: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
) -> (World, Bindings) {
    with_bindings(world(allowed), LIFETIMES)
}

/// The same world, with bindings, and answers that last for so long.
pub(super) fn with_bindings(mut world: World, lifetimes: Lifetimes) -> (World, Bindings) {
    let changes = Changes::default();
    let bindings = Bindings::new(changes.clone(), RbacMetrics::default());
    let (namespaces, metrics) = (world.namespaces.clone(), RbacMetrics::default());
    world.authorizer = Authorizer::new(
        policy(),
        lifetimes,
        world.cluster.clone(),
        CandidateFinder::new(namespaces, Some(bindings.clone()), metrics),
        Some(changes),
        &ReviewsMetrics::default(),
    );
    (world, bindings)
}

impl World {
    async fn searched(&self) -> Option<Searched> {
        let request = request("/api/v1/query", &[("query", "up")]);
        match self.authorizer.explain(&self.alice, &request).await {
            Ok(permit) => permit.searched(),
            Err(denial) => denial.searched,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn k26_a_binding_is_a_reason_to_ask_and_never_an_answer() {
    // Whatever the bindings say, Kubernetes allows team-a only.
    let (world, bindings) = world_with_bindings(|_, namespace| namespace == "team-a");
    bindings.listing::<InNamespace>();
    bindings.apply(&binding("team-a", "one", "User", "alice"));
    bindings.apply(&binding("victim", "one", "User", "alice"));
    bindings.apply(&binding("team-b", "one", "User", "bob"));
    bindings.listed::<InNamespace>();
    let query = world.query("up").await.expect("a permit");
    assert_eq!(query, r#"up{namespace="team-a"}"#);
    assert_eq!(world.asked(), ["", "team-a", "victim"]);
    let searched = Searched {
        source: Source::Bindings,
        candidates: 2,
    };
    assert_eq!(world.searched().await, Some(searched));
}

#[tokio::test(start_paused = true)]
async fn k26_a_namespace_that_a_query_names_is_asked_about_without_a_binding() {
    let (world, bindings) = world_with_bindings(|_, namespace| namespace == "team-a");
    bindings.listing::<InNamespace>();
    bindings.listed::<InNamespace>();
    let query = r#"up{namespace="team-a"}"#;
    assert_eq!(world.query(query).await.expect("a permit"), query);
    assert!(matches!(
        world.query("up").await,
        Err(AuthorizationError::Nothing { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn who_may_read_the_whole_cluster_needs_no_binding_in_a_namespace() {
    let (world, bindings) = world_with_bindings(|_, _| true);
    bindings.listing::<InNamespace>();
    bindings.listed::<InNamespace>();
    assert_eq!(world.query("up").await.expect("a permit"), "up");
    assert_eq!(world.asked(), [""]);
}

#[tokio::test(start_paused = true)]
async fn k26_until_the_bindings_are_listed_all_namespaces_are_asked_about() {
    let (world, bindings) = world_with_bindings(|_, namespace| namespace == "team-a");
    let fallback = Searched {
        source: Source::Fallback,
        candidates: 3,
    };
    // It is waited for, and not for ever.
    let begun = tokio::time::Instant::now();
    assert_eq!(world.searched().await, Some(fallback));
    assert!(begun.elapsed() > Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(5));
    // Nor where it has failed.
    bindings.lost::<InNamespace>();
    let begun = tokio::time::Instant::now();
    tokio::time::advance(LIFETIMES.allowed).await;
    assert_eq!(world.searched().await, Some(fallback));
    assert!(begun.elapsed() < LIFETIMES.allowed + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_seen_after_its_binding_is_missing_for_a_second() {
    let (world, bindings) = world_with_bindings(|_, namespace| !namespace.is_empty());
    bindings.listing::<InNamespace>();
    bindings.apply(&binding("team-a", "one", "Group", "system:authenticated"));
    bindings.apply(&binding("new", "one", "User", "alice"));
    bindings.listed::<InNamespace>();
    let query = world.query("up").await.expect("a permit");
    assert_eq!(query, r#"up{namespace="team-a"}"#);
    let names = ["new", "team-a"].map(namespace);
    world.namespaces.publish(names.into());
    tokio::time::advance(Duration::from_secs(1)).await;
    let query = world.query("up").await.expect("a permit");
    assert_eq!(query, r#"up{namespace=~"new|team-a"}"#);
}
