//! Answers that last longer, since whatever could end them is watched.

use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::authorization::v1::SubjectAccessReviewStatus;

use super::candidates::{binding, with_bindings, world_with_bindings};
use super::*;
use crate::cluster::mock::known;
use crate::rbac::metrics::Watched;
use crate::rbac::{Bindings, InNamespace};

const SECOND: Duration = Duration::from_secs(1);

/// Names a namespace, so that two reviews decide: of the whole cluster, which is denied, and of team-a.
const NAMED: &str = r#"up{namespace="team-a"}"#;

fn watch(bindings: &Bindings, goes_on: bool) {
    for resource in Watched::ALL {
        bindings.changes().watched(*resource, goes_on);
    }
}

/// Alice is bound in team-a, all is watched, and what touches everybody has been.
async fn watched(world: World, lifetimes: Lifetimes) -> (World, Bindings) {
    let (world, bindings) = with_bindings(world, lifetimes);
    bindings.listing::<InNamespace>();
    bindings.apply(&binding("team-a", "one", "User", "alice"));
    bindings.listed::<InNamespace>();
    let changes = bindings.changes().clone();
    tokio::spawn(changes.drive(|| 0, LIFETIMES.allowed));
    tokio::time::sleep(2 * SECOND).await;
    watch(&bindings, true);
    (world, bindings)
}

impl World {
    /// Asks once in each second; the namespaces that are reviewed meanwhile.
    async fn asks(&self, query: &str, seconds: u32) -> Vec<String> {
        let before = self.asked().len();
        for _ in 0..seconds {
            let _ = self.query(query).await;
            tokio::time::advance(SECOND).await;
        }
        self.asked().split_off(before)
    }

    /// The same, how often the whole cluster and how often team-a.
    async fn counts(&self, query: &str, seconds: u32) -> (usize, usize) {
        let asked = self.asks(query, seconds).await;
        let of = |name: &str| asked.iter().filter(|asked| *asked == name).count();
        assert_eq!(of("") + of("team-a"), asked.len(), "{asked:?}");
        (of(""), of("team-a"))
    }
}

#[tokio::test(start_paused = true)]
async fn k27_what_rbac_has_given_for_a_minute_lasts_for_five_while_all_is_watched() {
    for query in [NAMED, "up"] {
        let (world, bindings) = watched(alice_in_team_a(), LIFETIMES).await;
        // The first minute is as without a watch.
        assert_eq!(world.counts(query, 59).await, (6, 1), "{query}");
        // Both once more, and then no more for five minutes.
        assert_eq!(world.counts(query, 20).await, (1, 1), "{query}");
        assert_eq!(world.counts(query, 270).await, (0, 0), "{query}");
        assert_eq!(world.counts(query, 30).await, (1, 1), "{query}");
        // A grant shows at once, though all denials last.
        bindings.apply(&binding("team-b", "one", "User", "alice"));
        assert_eq!(world.asks("up", 1).await, ["team-b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn k27_an_answer_is_as_old_as_the_loss_of_a_watch_that_vouched_for_it() {
    for query in [NAMED, "up"] {
        let (world, bindings) = watched(alice_in_team_a(), LIFETIMES).await;
        world.counts(query, 90).await;
        // An interruption that is over before anything ends costs nothing.
        bindings.changes().watched(Watched::Roles, false);
        assert_eq!(world.counts(query, 9).await, (0, 0), "{query}");
        bindings.changes().watched(Watched::Roles, true);
        assert_eq!(world.counts(query, 20).await, (0, 0), "{query}");
        // Afterwards all is as without a watch: denials end after ten seconds, grants after sixty.
        watch(&bindings, false);
        assert_eq!(world.counts(query, 9).await, (0, 0), "{query}");
        assert_eq!(world.counts(query, 50).await, (5, 0), "{query}");
        assert_eq!(world.counts(query, 2).await.1, 1, "{query}");
        assert_eq!(world.counts(query, 120).await, (12, 2), "{query}");
        // And when it is back, what was given for a minute already is trusted with its next review.
        watch(&bindings, true);
        world.counts(query, 62).await;
        assert_eq!(world.counts(query, 200).await, (0, 0), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn k27_where_something_is_not_watched_all_lasts_as_without() {
    let (world, bindings) = watched(alice_in_team_a(), LIFETIMES).await;
    bindings.changes().watched(Watched::ClusterRoles, false);
    assert_eq!(world.counts(NAMED, 300).await, (30, 5));
    // With strict caches, or as the operator says.
    let lifetimes = Lifetimes {
        watched: Duration::ZERO,
        ..LIFETIMES
    };
    let (world, _bindings) = watched(alice_in_team_a(), lifetimes).await;
    assert_eq!(world.counts(NAMED, 300).await, (30, 5));
    // What is not to be remembered is not.
    let lifetimes = Lifetimes {
        denied: Duration::ZERO,
        ..LIFETIMES
    };
    let (world, _bindings) = watched(alice_in_team_a(), lifetimes).await;
    assert_eq!(world.counts(NAMED, 300).await.0, 300);
}

/// Denies the whole cluster and allows the rest, in these words.
fn saying(granted: SubjectAccessReviewStatus, denied: SubjectAccessReviewStatus) -> World {
    let cluster = MockCluster::new(
        |spec| Ok(known(&spec.token)),
        move |spec| {
            let namespace = spec
                .resource_attributes
                .clone()
                .and_then(|asked| asked.namespace);
            let status = if namespace.is_some() {
                &granted
            } else {
                &denied
            };
            Ok(SubjectAccessReviewStatus {
                allowed: namespace.is_some(),
                ..status.clone()
            })
        },
    );
    world_of(cluster, ["team-a".to_owned()])
}

#[tokio::test(start_paused = true)]
async fn k27_what_another_authorizer_says_lasts_as_without_a_watch() {
    let reason = |text: &str| SubjectAccessReviewStatus {
        reason: Some(text.to_owned()),
        ..SubjectAccessReviewStatus::default()
    };
    let rbacs = reason(
        "RBAC: allowed by ClusterRoleBinding \"one\" of ClusterRole \"view\" to User \"alice\"",
    );
    let missing = reason("RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found");
    let failed = SubjectAccessReviewStatus {
        evaluation_error: Some("webhook: no answer in time".to_owned()),
        ..SubjectAccessReviewStatus::default()
    };
    let against = SubjectAccessReviewStatus {
        denied: Some(true),
        ..SubjectAccessReviewStatus::default()
    };
    let silent = SubjectAccessReviewStatus::default;
    let cases = [
        (rbacs.clone(), silent(), (1, 1)),
        (rbacs.clone(), missing, (1, 1)),
        // Others have denied.
        (
            rbacs.clone(),
            reason("RBAC: gone\nno access in Azure"),
            (24, 1),
        ),
        (rbacs.clone(), reason("No policy matched."), (24, 1)),
        (rbacs.clone(), failed, (24, 1)),
        (rbacs, against, (24, 1)),
        // Others have granted, system:masters among them, whom nobody gives a reason.
        (reason("EKS Access Policy: allowed"), silent(), (1, 4)),
        (reason("allowed by RBAC: allowed by"), silent(), (1, 4)),
        (silent(), silent(), (1, 4)),
    ];
    for (granted, denied, expected) in cases {
        let what = format!("{granted:?} {denied:?}");
        let (world, _bindings) = watched(saying(granted, denied), LIFETIMES).await;
        world.counts(NAMED, 59).await;
        assert_eq!(world.counts(NAMED, 240).await, expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn k27_an_answer_that_turns_is_a_first_one() {
    static ALLOWED: AtomicBool = AtomicBool::new(true);
    let world = world(|_, namespace| namespace == "team-a" && ALLOWED.load(Ordering::SeqCst));
    let (world, _bindings) = watched(world, LIFETIMES).await;
    // Granted for a minute, and then for five more.
    world.counts(NAMED, 355).await;
    // As an API server does that has not read all roles yet.
    ALLOWED.store(false, Ordering::SeqCst);
    world.counts(NAMED, 10).await;
    assert!(world.query(NAMED).await.is_err());
    ALLOWED.store(true, Ordering::SeqCst);
    world.counts(NAMED, 11).await;
    world.query(NAMED).await.expect("a denial of ten seconds");
}

#[tokio::test(start_paused = true)]
async fn k27_while_kubernetes_is_away_nothing_serves_longer_than_without_a_watch() {
    let lifetimes = Lifetimes {
        stale: 120 * SECOND,
        ..LIFETIMES
    };
    let (world, bindings) = watched(alice_in_team_a(), lifetimes).await;
    // Settled after a minute, and two minutes older now than either's own time and what is added to it.
    world.counts(NAMED, 65 + 180).await;
    world.query(NAMED).await.expect("remembered");
    watch(&bindings, false);
    world.cluster.is_away(Some(Unavailable::Unreachable));
    world.counts(NAMED, 61).await;
    assert!(world.query(NAMED).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn k27_a_set_that_was_searched_among_all_namespaces_lasts_as_without_a_watch() {
    let (world, bindings) = world_with_bindings(|_, namespace| namespace == "team-a");
    watch(&bindings, true);
    bindings.lost::<InNamespace>();
    world.asks("up", 130).await;
    // What is remembered of each namespace serves, but one that has come since must be found.
    let names = ["new", "team-a"].map(namespace);
    world.namespaces.publish(names.into());
    assert!(world.asks("up", 61).await.contains(&"new".to_owned()));
}
