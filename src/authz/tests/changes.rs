//! Answers that end because something of RBAC has changed.

use std::sync::atomic::{AtomicBool, Ordering};

use super::candidates::{binding, world_with_bindings};
use super::*;
use crate::rbac::{Bindings, InNamespace, RoleBinding};

const MOMENT: Duration = Duration::from_millis(1);

/// Alice is bound in team-a, bob in team-b; both are listed. What Kubernetes says depends on the flag.
fn bound(allowed: &'static AtomicBool) -> (Arc<World>, Bindings) {
    let (world, bindings) = world_with_bindings(move |_, namespace| {
        !namespace.is_empty() && allowed.load(Ordering::SeqCst)
    });
    bindings.listing::<InNamespace>();
    bindings.apply(&alices());
    bindings.apply(&bobs());
    bindings.listed::<InNamespace>();
    (Arc::new(world), bindings)
}

fn alices() -> RoleBinding {
    binding("team-a", "one", "User", "alice")
}

fn bobs() -> RoleBinding {
    binding("team-b", "one", "User", "bob")
}

macro_rules! flag {
    ($value:expr) => {{
        static FLAG: AtomicBool = AtomicBool::new($value);
        &FLAG
    }};
}

const NAMED: &str = r#"up{namespace="team-a"}"#;

#[tokio::test(start_paused = true)]
async fn k27_a_change_drops_what_it_may_touch_and_nothing_else() {
    let (world, bindings) = bound(flag!(true));
    world.query("up").await.expect("a permit");
    assert_eq!(world.asked(), ["", "team-a"]);
    // Bob's, and one that is what it was.
    bindings.remove(&bobs());
    bindings.apply(&binding("team-b", "two", "Group", "others"));
    bindings.apply(&alices());
    world.query("up").await.expect("a permit");
    assert_eq!(world.asked().len(), 2);
    bindings.apply(&binding("team-b", "two", "User", "alice"));
    let query = world.query("up").await.expect("a permit");
    assert_eq!(query, r#"up{namespace=~"team-a|team-b"}"#);
    assert_eq!(world.asked(), ["", "team-a", "team-b"]);
    bindings.remove(&alices());
    let query = world.query("up").await.expect("a permit");
    assert_eq!(query, r#"up{namespace="team-b"}"#);
    // No candidate any longer, so not asked about unless it is named.
    assert_eq!(world.asked().len(), 3);
    world.query(NAMED).await.expect("Kubernetes allows it");
    assert_eq!(world.asked(), ["", "team-a", "team-b", "team-a"]);
}

#[tokio::test(start_paused = true)]
async fn k27_a_review_that_is_under_way_when_something_changes_leaves_no_old_answer() {
    let allowed = flag!(true);
    let (world, bindings) = bound(allowed);
    world
        .query(r#"up{namespace="victim"}"#)
        .await
        .expect("warm");
    for query in [NAMED, "up"] {
        allowed.store(true, Ordering::SeqCst);
        bindings.apply(&binding("team-a", "two", "User", "alice"));
        let asking = tokio::spawn({
            let world = world.clone();
            async move { world.query(query).await }
        });
        tokio::time::sleep(MOMENT).await;
        bindings.remove(&binding("team-a", "two", "User", "alice"));
        // The API server has not heard of it yet.
        let old = asking.await.expect("no panic");
        assert!(old.is_ok(), "it came before");
        allowed.store(false, Ordering::SeqCst);
        let new = world.query(query).await;
        assert!(new.is_err(), "{query}: {new:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn k27_who_comes_after_a_change_does_not_get_the_answer_of_a_review_from_before() {
    for query in [NAMED, "up"] {
        let allowed = flag!(true);
        allowed.store(true, Ordering::SeqCst);
        let (world, bindings) = bound(allowed);
        world
            .query(r#"up{namespace="victim"}"#)
            .await
            .expect("warm");
        let ask = || {
            let world = world.clone();
            tokio::spawn(async move { world.query(query).await })
        };
        let first = ask();
        tokio::time::sleep(MOMENT).await;
        bindings.apply(&binding("team-a", "two", "User", "alice"));
        let second = ask();
        first.await.expect("no panic").expect("it came before");
        allowed.store(false, Ordering::SeqCst);
        let second = second.await.expect("no panic");
        assert!(second.is_err(), "{query}: {second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn k27_what_may_have_changed_does_not_serve_while_kubernetes_is_away() {
    let (world, bindings) = bound(flag!(true));
    world.query(NAMED).await.expect("a permit");
    tokio::time::advance(LIFETIMES.allowed).await;
    world.cluster.is_away(Some(Unavailable::Unreachable));
    world.query(NAMED).await.expect("the last answer");
    bindings.remove(&alices());
    let error = world.query(NAMED).await;
    assert!(matches!(
        error,
        Err(AuthorizationError::Unavailable(Unavailable::Unreachable))
    ));
}

#[tokio::test(start_paused = true)]
async fn k27_an_api_server_that_hears_of_a_change_later_is_asked_again() {
    let allowed = flag!(true);
    let (world, bindings) = bound(allowed);
    let longest = LIFETIMES.allowed;
    tokio::spawn(bindings.changes().clone().drive(|| 0, longest));
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.query(NAMED).await.expect("a permit");
    bindings.remove(&alices());
    world.query(NAMED).await.expect("the old answer");
    allowed.store(false, Ordering::SeqCst);
    world.query(NAMED).await.expect("as remembered");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(world.query(NAMED).await.is_err());
}
