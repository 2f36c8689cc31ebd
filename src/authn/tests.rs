use std::sync::atomic::Ordering;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use k8s_openapi::api::authentication::v1::UserInfo;

use super::*;
use crate::cluster::metrics::{Review, ReviewsMetrics};
use crate::cluster::mock::{MockCluster, known};

const LIFETIMES: Lifetimes = Lifetimes {
    known: Duration::from_secs(60),
    rejected: Duration::from_secs(10),
    stale: Duration::from_secs(600),
    capacity: 1000,
};

fn authenticator(cluster: Arc<MockCluster>, audiences: &[&str]) -> Arc<Authenticator> {
    Authenticator::new(
        Sources {
            headers: vec![AUTHORIZATION],
            headlamp_cookie: true,
        },
        audiences
            .iter()
            .map(|&audience| audience.to_owned())
            .collect(),
        LIFETIMES,
        cluster,
        ReviewsMetrics::default().of(Review::Token),
        CallerSlots::new(Bounds {
            concurrent: 1,
            queued: 0,
            patience: Duration::ZERO,
        }),
    )
}

fn bearer(token: &str) -> HeaderMap {
    let value = format!("Bearer {token}").parse().expect("a header value");
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

async fn caller(
    authenticator: &Arc<Authenticator>,
    token: &str,
) -> Result<Caller, AuthenticationError> {
    authenticator.caller(&bearer(token)).await
}

/// What a review with this status comes to.
async fn verdict(
    status: TokenReviewStatus,
    audiences: &[&str],
) -> Result<Caller, AuthenticationError> {
    let cluster = MockCluster::new(move |_| Ok(status.clone()), |_| Err(Unavailable::Malformed));
    caller(&authenticator(Arc::new(cluster), audiences), "token").await
}

fn named(username: &str, groups: &[&str]) -> TokenReviewStatus {
    let groups = groups.iter().map(|&group| group.to_owned()).collect();
    let user = UserInfo {
        username: Some(username.to_owned()),
        groups: Some(groups),
        ..Default::default()
    };
    TokenReviewStatus {
        authenticated: Some(true),
        user: Some(user),
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_token_is_its_caller() {
    let caller = verdict(named("alice", &["a", "b"]), &[])
        .await
        .expect("a caller");
    assert_eq!(
        (caller.username(), caller.groups()),
        ("alice", &["a".to_owned(), "b".to_owned()][..])
    );
}

#[tokio::test(start_paused = true)]
async fn t10_t12_a_review_that_names_nobody_without_doubt_is_a_rejection() {
    let good = || known("alice");
    for (case, status) in [
        (
            "not authenticated",
            TokenReviewStatus {
                authenticated: Some(false),
                ..good()
            },
        ),
        (
            "absent",
            TokenReviewStatus {
                authenticated: None,
                ..good()
            },
        ),
        (
            "an error as well",
            TokenReviewStatus {
                error: Some("expired".to_owned()),
                ..good()
            },
        ),
        ("empty", TokenReviewStatus::default()),
        (
            "no user",
            TokenReviewStatus {
                user: None,
                ..good()
            },
        ),
        ("no name", named("", &[])),
        ("anonymous", named("system:anonymous", &[])),
        (
            "unauthenticated",
            named("alice", &["system:unauthenticated"]),
        ),
    ] {
        let verdict = verdict(status, &[]).await;
        assert!(
            matches!(verdict, Err(AuthenticationError::Rejected)),
            "{case}: {verdict:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn t11_a_token_counts_for_the_audience_it_was_made_for() {
    let granted = |audiences: Option<&[&str]>| TokenReviewStatus {
        audiences: audiences.map(|all| all.iter().map(|&one| one.to_owned()).collect()),
        ..known("alice")
    };
    for (wanted, status, accepted) in [
        (&["us"][..], granted(Some(&["us"])), true),
        (&["us", "them"], granted(Some(&["them", "others"])), true),
        (&["us"], granted(Some(&["vault"])), false),
        (&["us"], granted(Some(&[])), false),
        (&["us"], granted(None), false),
        (&[], granted(None), true),
        (
            &[],
            granted(Some(&["https://kubernetes.default.svc"])),
            true,
        ),
    ] {
        let shown = format!("{wanted:?} {:?}", status.audiences);
        assert_eq!(verdict(status, wanted).await.is_ok(), accepted, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn reviews_are_remembered_for_as_long_as_their_outcome_allows() {
    let cluster = Arc::new(MockCluster::new(
        |spec| {
            Ok(if spec.token == "bad" {
                TokenReviewStatus::default()
            } else {
                known(&spec.token)
            })
        },
        |_| Err(Unavailable::Malformed),
    ));
    let authenticator = authenticator(cluster.clone(), &[]);
    for (token, lifetime) in [("good", LIFETIMES.known), ("bad", LIFETIMES.rejected)] {
        let before = cluster.token_reviews.load(Ordering::SeqCst);
        for (wait, reviews) in [(Duration::ZERO, 1), (lifetime / 2, 1), (lifetime, 2)] {
            tokio::time::sleep(wait).await;
            let _ = caller(&authenticator, token).await;
            let asked = cluster.token_reviews.load(Ordering::SeqCst) - before;
            assert_eq!(asked, reviews, "{token} after {wait:?}");
        }
    }
}

#[tokio::test]
async fn t16_nothing_is_remembered_past_the_tokens_own_end() {
    let expiring = |seconds: i64| {
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("after 1970")
            .as_secs() as i64;
        let payload = format!(r#"{{"exp":{}}}"#, now + seconds);
        format!(
            "e30.{}.c2ln",
            super::token::encode_base64url(payload.as_bytes())
        )
    };
    let cluster = Arc::new(MockCluster::allowing(|_, _| false));
    let authenticator = authenticator(cluster.clone(), &[]);
    let ended = caller(&authenticator, &expiring(-5)).await;
    assert!(matches!(ended, Err(AuthenticationError::Rejected)));
    assert_eq!(
        cluster.token_reviews.load(Ordering::SeqCst),
        0,
        "an ended token needs no review"
    );
    let answer = authenticator
        .clone()
        .review(
            Token::parse(expiring(5).as_bytes())
                .expect("a token")
                .into_owned(),
            class(None),
        )
        .await;
    let answer = answer.expect("an answer");
    let end = tokio::time::Instant::now() + Duration::from_secs(5);
    assert!(answer.fresh_until <= end && answer.usable_until <= end);
}

#[tokio::test(start_paused = true)]
async fn t15_an_identity_is_everything_that_a_review_says() {
    let identity =
        |username: &str, uid: Option<&str>, groups: &[&str], extra: &[(&str, &[&str])]| {
            let authenticator = authenticator(Arc::new(MockCluster::allowing(|_, _| false)), &[]);
            let strings = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
            let extra = extra
                .iter()
                .map(|(key, values)| ((*key).to_owned(), strings(values)))
                .collect();
            (
                authenticator,
                username.to_owned(),
                uid.map(str::to_owned),
                strings(groups),
                extra,
            )
        };
    let (authenticator, ..) = identity("", None, &[], &[]);
    let mut digests = Vec::new();
    for (_, username, uid, groups, extra) in [
        identity("alice", None, &[], &[]),
        identity("alice", Some(""), &[], &[]),
        identity("alice", Some("1"), &[], &[]),
        identity("alice", None, &["1"], &[]),
        identity("alice", None, &["1", "2"], &[]),
        identity("alice", None, &["12"], &[]),
        identity("alice", None, &[], &[("1", &[])]),
        identity("alice", None, &[], &[("1", &["2"])]),
        identity("alice", None, &["1"], &[("2", &[])]),
        identity("alice", None, &[], &[("1", &[]), ("2", &[])]),
    ] {
        let digest = authenticator.identity_digest(&username, uid.as_deref(), &groups, &extra);
        assert!(
            !digests.contains(&digest),
            "{username} {uid:?} {groups:?} {extra:?}"
        );
        digests.push(digest);
    }
}

#[tokio::test(start_paused = true)]
async fn two_tokens_of_one_identity_share_its_places() {
    let cluster = MockCluster::new(|_| Ok(known("alice")), |_| Err(Unavailable::Malformed));
    let authenticator = authenticator(Arc::new(cluster), &[]);
    let first = caller(&authenticator, "first").await.expect("a caller");
    let second = caller(&authenticator, "second").await.expect("a caller");
    let _slot = first.slots().take().await.expect("a slot");
    assert!(second.slots().take().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn t21_callers_are_never_mixed_up() {
    let cluster = Arc::new(MockCluster::allowing(|_, _| false));
    let authenticator = authenticator(cluster, &[]);
    let calls = (0..1000).map(|number| {
        let (authenticator, token) = (authenticator.clone(), format!("token-{}", number % 7));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(number * 37 % 1000)).await;
            let caller = caller(&authenticator, &token).await.expect("a caller");
            assert_eq!(caller.username(), token);
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn k19_what_is_asked_again_for_a_known_caller_is_not_asked_for_the_crowd() {
    let cluster = Arc::new(MockCluster::new(
        |spec| {
            Ok(if spec.token == "bad" {
                TokenReviewStatus::default()
            } else {
                known("alice")
            })
        },
        |_| Err(Unavailable::Malformed),
    ));
    let authenticator = authenticator(cluster.clone(), &[]);
    let alice = caller(&authenticator, "good").await.expect("a caller");
    let _ = caller(&authenticator, "bad").await;
    tokio::time::sleep(LIFETIMES.known).await;
    let _ = caller(&authenticator, "good").await;
    let _ = caller(&authenticator, "bad").await;
    let crowd = ReviewClass {
        flow: Flow::UnknownTokens,
        priority: Priority::New,
    };
    let renewal = ReviewClass {
        flow: alice.flow(),
        priority: Priority::Renewal,
    };
    let asked = cluster.classes.lock().expect("not poisoned").clone();
    assert_eq!(asked, [crowd, crowd, renewal, crowd]);
}

#[tokio::test(start_paused = true)]
async fn k19_a_full_queue_keeps_no_token_alive() {
    let cluster = Arc::new(MockCluster::allowing(|_, _| false));
    let authenticator = authenticator(cluster.clone(), &[]);
    caller(&authenticator, "alice").await.expect("a caller");
    tokio::time::sleep(LIFETIMES.known).await;
    cluster.is_away(Some(Unavailable::Busy));
    let busy = caller(&authenticator, "alice").await;
    assert!(matches!(
        busy,
        Err(AuthenticationError::Unavailable(Unavailable::Busy))
    ));
    // The API server's own failure does.
    cluster.is_away(Some(Unavailable::Deadline));
    caller(&authenticator, "alice")
        .await
        .expect("the old answer");
}
