//! Which reviews a request causes, and for how long their answers count.

use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::authorization::v1::SubjectAccessReviewStatus;

use super::*;
use crate::authz::access::CONCURRENT_REVIEWS;
use crate::cluster::Priority::{New, Renewal};

#[tokio::test(start_paused = true)]
async fn k05_only_namespaces_that_a_query_names_are_reviewed() {
    let world = alice_in_team_a();
    let query = r#"sum(up{namespace="team-a"})"#;
    assert_eq!(world.query(query).await.expect("a permit"), query);
    assert_eq!(world.asked(), ["", "team-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_cannot_be_completed_is_an_error_and_never_a_smaller_set() {
    let world = alice_in_team_a();
    world.cluster.is_away(Some(Unavailable::Unreachable));
    let error = world.query("up").await;
    assert!(matches!(
        error,
        Err(AuthorizationError::Unavailable(Unavailable::Unreachable))
    ));
    let fails_for_one = MockCluster::new(
        |_| Err(Unavailable::Malformed),
        |spec| {
            let attributes = spec.resource_attributes.clone().unwrap_or_default();
            match attributes.namespace.as_deref() {
                Some("victim") => Err(Unavailable::Deadline),
                namespace => Ok(SubjectAccessReviewStatus {
                    allowed: namespace == Some("team-a"),
                    ..Default::default()
                }),
            }
        },
    );
    let world = world_of(
        fails_for_one,
        ["team-a", "team-b", "victim"].map(str::to_owned),
    );
    let error = world.query("up").await;
    assert!(
        matches!(
            error,
            Err(AuthorizationError::Unavailable(Unavailable::Deadline))
        ),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn k08_without_a_list_of_namespaces_nothing_is_guessed() {
    let cluster = Arc::new(MockCluster::allowing(|_, namespace| !namespace.is_empty()));
    let namespaces = ClusterNamespaces::default();
    let authorizer = Authorizer::new(
        policy(),
        LIFETIMES,
        cluster.clone(),
        namespaces.clone(),
        None,
        &ReviewsMetrics::default(),
    );
    let world = World {
        cluster,
        namespaces,
        authorizer,
        alice: alice(),
    };
    let error = world.query("up").await;
    assert!(matches!(
        error,
        Err(AuthorizationError::Unavailable(
            Unavailable::NamespacesUnknown
        ))
    ));
    world.namespaces.publish(Vec::new());
    assert!(matches!(
        world.query("up").await,
        Err(AuthorizationError::Nothing { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn k05_at_most_sixteen_reviews_of_one_caller_are_under_way_and_each_once() {
    let world = world(|_, namespace| namespace.starts_with("ns-1"));
    world.namespaces.publish(
        (0..1000)
            .map(|number| namespace(&format!("ns-{number}")))
            .collect(),
    );
    let world = Arc::new(world);
    let asks = (0..50).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.query("up").await.map(|query| query.len()) })
    });
    let lengths: Vec<_> = asks.collect();
    for length in lengths {
        assert!(length.await.expect("no panic").expect("a permit") > 100);
    }
    assert_eq!(world.asked().len(), 1001);
    assert!(world.cluster.most_under_way.load(Ordering::SeqCst) <= CONCURRENT_REVIEWS);
}

#[tokio::test(start_paused = true)]
async fn t17_a_permission_that_was_counted_into_a_set_does_not_outlive_itself() {
    let world = alice_in_team_a();
    world
        .query(r#"up{namespace="team-a"}"#)
        .await
        .expect("a permit");
    tokio::time::sleep(LIFETIMES.allowed / 2).await;
    // Counted into the set now, from an answer that is half as old as it may be.
    world.query("up").await.expect("a permit");
    let before = world
        .asked()
        .iter()
        .filter(|name| *name == "team-a")
        .count();
    tokio::time::sleep(LIFETIMES.allowed / 2 + Duration::from_secs(1)).await;
    world.query("up").await.expect("a permit");
    let after = world
        .asked()
        .iter()
        .filter(|name| *name == "team-a")
        .count();
    assert_eq!((before, after), (1, 2));
}

/// A query that names each of these.
fn naming(names: impl IntoIterator<Item = String>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    format!(r#"up{{namespace=~"{}"}}"#, names.join("|"))
}

#[tokio::test(start_paused = true)]
async fn k18_a_namespace_that_does_not_exist_is_denied_unasked_in_the_words_of_a_denial() {
    let world = alice_in_team_a();
    let mut refusals = Vec::new();
    for name in ["victim", "nowhere"] {
        let query = naming([name.to_owned()]);
        let refused = world.query(&query).await.expect_err("no permit");
        refusals.push(refused.to_string().replace(name, "NAME"));
        let partly = request(
            "/api/v1/query",
            &[("query", &naming([name.to_owned(), "team-a".to_owned()]))],
        );
        let permit = world.authorizer.permit(&world.alice, &partly).await;
        let permit = permit.expect("a permit");
        let decisions = permit.decisions().iter();
        let denied = decisions
            .filter(|decision| decision.namespace.as_ref() == Some(&namespace(name)))
            .collect::<Vec<_>>();
        assert!(matches!(denied[..], [decision] if !decision.allowed));
        refusals.push(permit.warnings().join("").replace(name, "NAME"));
    }
    assert_eq!(refusals[..2], refusals[2..]);
    assert_eq!(world.asked(), ["", "victim", "team-a"]);
}

#[tokio::test(start_paused = true)]
async fn k18_while_the_list_of_namespaces_is_not_certain_they_are_asked_about() {
    let world = alice_in_team_a();
    world.namespaces.lost();
    let refused = world.query(r#"up{namespace="nowhere"}"#).await;
    assert!(matches!(
        refused,
        Err(AuthorizationError::Namespaces { .. })
    ));
    assert_eq!(world.asked(), ["", "nowhere"]);
}

#[tokio::test(start_paused = true)]
async fn k18_a_namespace_that_has_just_come_is_not_denied_by_what_was_said_before() {
    let world = alice_in_team_a();
    world.namespaces.publish(vec![namespace("team-b")]);
    let query = r#"up{namespace="team-a"}"#;
    assert!(world.query(query).await.is_err());
    world.namespaces.publish(vec![namespace("team-a")]);
    assert_eq!(world.query(query).await.expect("a permit"), query);
}

#[tokio::test(start_paused = true)]
async fn k18_one_request_names_500_namespaces_and_no_more() {
    let world = alice_in_team_a();
    let names = |count: usize| naming((0..count).map(|number| format!("n{number}")));
    let refused = world.query(&names(500)).await;
    assert!(matches!(
        refused,
        Err(AuthorizationError::Namespaces { .. })
    ));
    let refused = world.query(&names(501)).await.expect_err("no permit");
    assert!(
        refused.to_string().contains("more than 500 namespaces"),
        "{refused}"
    );
    // All selectors count together, and each name once.
    let half = |from: usize| naming((from..from + 300).map(|number| format!("n{number}")));
    let twice = format!("{} + {}", half(0), half(0));
    assert!(matches!(
        world.query(&twice).await,
        Err(AuthorizationError::Namespaces { .. })
    ));
    let apart = [half(0), half(300)];
    let selectors = apart.each_ref().map(|text| ("match[]", text.as_str()));
    for refused in [
        world.query(&apart.join(" + ")).await.map(drop),
        world.sent("/api/v1/series", &selectors).await.map(drop),
    ] {
        assert!(matches!(
            refused,
            Err(AuthorizationError::TooManyNamespaces { limit: 500 })
        ));
    }
    assert_eq!(world.asked(), [""], "for none of these");
}

#[tokio::test(start_paused = true)]
async fn k18_who_sees_everything_names_as_many_as_a_query_has_room_for() {
    let world = world(|_, namespace| namespace.is_empty());
    let query = naming((0..600).map(|number| format!("n{number}")));
    assert_eq!(world.query(&query).await.expect("a permit"), query);
}

#[tokio::test(start_paused = true)]
async fn k20_a_set_is_as_old_as_the_oldest_answer_in_it() {
    let cluster = MockCluster::allowing(|_, namespace| !namespace.is_empty());
    let world = world_of(cluster, ["team-a", "team-b"].map(str::to_owned));
    // The answer for team-a is half a lifetime older than the one for team-b.
    let begun = tokio::time::Instant::now();
    let older = world.query(r#"up{namespace="team-a"}"#).await;
    older.expect("a permit");
    tokio::time::sleep(LIFETIMES.allowed / 2).await;
    world.query("up").await.expect("a permit");
    world.cluster.is_away(Some(Unavailable::Deadline));
    // However often it is made anew of what is stale.
    let mut served = Duration::ZERO;
    while world.query("up").await.is_ok() {
        served = begun.elapsed();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let most = LIFETIMES.allowed + LIFETIMES.stale;
    assert!(
        served <= most && served + Duration::from_secs(30) > most,
        "{served:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn k20_a_right_that_is_known_to_be_gone_is_in_no_set_made_of_what_is_stale() {
    // From some time on team-b is denied, and team-c cannot be reviewed.
    let later = Arc::new(AtomicBool::new(false));
    let flag = later.clone();
    let cluster = MockCluster::new(
        |_| Err(Unavailable::Malformed),
        move |spec| {
            let attributes = spec.resource_attributes.clone().unwrap_or_default();
            let later = flag.load(Ordering::Relaxed);
            let allowed = match attributes.namespace.as_deref() {
                None => false,
                Some("team-b") => !later,
                Some("team-c") if later => return Err(Unavailable::Deadline),
                Some(_) => true,
            };
            Ok(SubjectAccessReviewStatus {
                allowed,
                ..Default::default()
            })
        },
    );
    let names = ["team-a", "team-b", "team-c"].map(str::to_owned);
    let world = world_of(cluster, names);
    let all = world.query("up").await.expect("a permit");
    assert_eq!(all, r#"up{namespace=~"team-a|team-b|team-c"}"#);
    later.store(true, Ordering::Relaxed);
    tokio::time::sleep(LIFETIMES.allowed).await;
    let left = world.query("up").await.expect("a permit");
    assert_eq!(left, r#"up{namespace=~"team-a|team-c"}"#);
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_hangs_what_is_remembered_of_many_namespaces_serves_after_one_failure()
{
    let mut cluster = MockCluster::allowing(|_, namespace| !namespace.is_empty());
    cluster.delay = Duration::from_secs(3);
    let world = world_of(cluster, (0..48).map(|number| format!("ns-{number}")));
    let query = naming((0..48).map(|number| format!("ns-{number}")));
    world.query(&query).await.expect("a permit");
    world.cluster.is_away(Some(Unavailable::Deadline));
    tokio::time::sleep(LIFETIMES.allowed).await;
    for query in [query.as_str(), "up"] {
        let begun = tokio::time::Instant::now();
        world.query(query).await.expect("a permit");
        // One wait for the whole cluster, and one for the first of the namespaces.
        assert!(
            begun.elapsed() <= Duration::from_secs(7),
            "{query}: {:?}",
            begun.elapsed()
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn k19_reviews_of_one_caller_are_asked_for_that_caller_and_again_as_renewals() {
    let world = alice_in_team_a();
    let query = r#"up{namespace="team-a"}"#;
    world.query(query).await.expect("a permit");
    tokio::time::sleep(LIFETIMES.allowed).await;
    world.query(query).await.expect("a permit");
    let classes = world.cluster.classes.lock().expect("not poisoned").clone();
    assert!(classes.iter().all(|class| class.flow == world.alice.flow()));
    let priorities: Vec<_> = classes.iter().map(|class| class.priority).collect();
    assert_eq!(priorities, [New, New, Renewal, Renewal]);
}
