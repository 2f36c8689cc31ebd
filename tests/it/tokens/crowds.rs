//! Many callers, many tokens, at the same time.

use std::time::{Duration, Instant};

use http::StatusCode;
use standins::kubernetes::{Behaviour, Subject, User};

use support::client::{Answer, Call, query};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::oracle::values;
use support::run;

fn ask(cluster: &Cluster, token: &str) -> tokio::task::JoinHandle<Answer> {
    let call = Call::get(cluster.proxy.url(&query("secret")));
    tokio::spawn(call.bearer(token).send())
}

#[test]
fn t19_a_flood_of_unknown_tokens_reaches_kubernetes_a_few_at_a_time_and_known_callers_go_on() {
    const CONCURRENT: usize = 4;
    const DELAY: Duration = Duration::from_millis(150);
    run(async {
        let cluster = Cluster::with(&[
            ("KUBERNETES__CONCURRENT_REVIEWS", "4"),
            // A review that is given up frees its turn before Kubernetes has ended it.
            ("KUBERNETES__TIMEOUT", "30s"),
        ])
        .await;
        for token in [VIEWER, TEAM_A] {
            assert_eq!(
                ask(&cluster, token).await.expect("no panic").status,
                StatusCode::OK
            );
        }
        cluster.api.forget_requests();
        cluster.api.behave("tokenreviews", Behaviour::Delay(DELAY));
        let flood: Vec<_> = (0..600)
            .map(|index| ask(&cluster, &format!("random-token-{index}")))
            .collect();
        let mut slowest = Duration::ZERO;
        for _ in 0..10 {
            for token in [VIEWER, TEAM_A] {
                let begun = Instant::now();
                let answer = ask(&cluster, token).await.expect("no panic");
                assert_eq!(answer.status, StatusCode::OK);
                slowest = slowest.max(begun.elapsed());
            }
        }
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        let mut busy = 0;
        for call in flood {
            let answer = call.await.expect("no panic");
            match answer.status {
                StatusCode::TOO_MANY_REQUESTS => {
                    assert_eq!(answer.headers["retry-after"], "1");
                    busy += 1;
                }
                StatusCode::UNAUTHORIZED | StatusCode::SERVICE_UNAVAILABLE => {}
                status => panic!("{status}"),
            }
        }
        assert!(busy > 0, "nobody was told to wait");
        let mut times: Vec<_> = cluster
            .api
            .requests_for("tokenreviews")
            .iter()
            .map(|seen| seen.at)
            .collect();
        times.sort_unstable();
        for window in times.windows(CONCURRENT + 1) {
            let apart = window[CONCURRENT] - window[0];
            assert!(
                apart + Duration::from_millis(30) >= DELAY,
                "{} in {apart:?}",
                CONCURRENT + 1
            );
        }
    });
}

#[test]
fn t19_a_text_that_can_be_no_token_costs_no_review() {
    run(async {
        let cluster = Cluster::start().await;
        for token in ["a b", "a,b", "<script>", "\"", "%41", "{}"] {
            let answer = ask(&cluster, token).await.expect("no panic");
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token}");
        }
        assert_eq!(cluster.api.count("tokenreviews"), 0);
    });
}

#[test]
fn t20_the_first_of_many_leaves_and_the_others_get_the_one_review() {
    run(async {
        let cluster = Cluster::start().await;
        cluster
            .api
            .behave("tokenreviews", Behaviour::Delay(Duration::from_millis(700)));
        let first = ask(&cluster, VIEWER);
        assert!(
            cluster
                .api
                .wait_for_requests("tokenreviews", 1, Duration::from_secs(5))
                .await
        );
        let others: Vec<_> = (0..99).map(|_| ask(&cluster, VIEWER)).collect();
        // Once the others have come.
        let joined =
            r#"prom_rbac_proxy_review_cache_requests_total{review="token",result="joined"}"#;
        while cluster.proxy.metric(joined).await < 99.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        first.abort();
        for call in others {
            assert_eq!(call.await.expect("no panic").status, StatusCode::OK);
        }
        assert_eq!(cluster.api.count("tokenreviews"), 1);
    });
}

#[test]
fn t20_a_review_that_times_out_fails_those_who_wait_and_nobody_after() {
    run(async {
        let cluster = Cluster::with(&[("KUBERNETES__TIMEOUT", "400ms")]).await;
        cluster.api.behave_times("tokenreviews", 1, Behaviour::Hang);
        let waiting: Vec<_> = (0..20).map(|_| ask(&cluster, VIEWER)).collect();
        let mut failed = 0;
        for call in waiting {
            match call.await.expect("no panic").status {
                StatusCode::SERVICE_UNAVAILABLE => failed += 1,
                status => assert_eq!(status, StatusCode::OK),
            }
        }
        assert!(failed > 0);
        assert_eq!(
            ask(&cluster, VIEWER).await.expect("no panic").status,
            StatusCode::OK
        );
    });
}

#[test]
fn t21_a_thousand_requests_of_two_callers_are_never_mixed_up() {
    run(async {
        // Every answer ends at once, so that reviews are under way all the time.
        let cluster = Cluster::with(&[
            ("AUTHENTICATION__CACHE__TTL", "1ms"),
            ("AUTHENTICATION__CACHE__REJECTED_TTL", "1ms"),
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", "1ms"),
            ("AUTHORIZATION__CACHE__DENIED_TTL", "1ms"),
        ])
        .await;
        cluster.api.add_user("team-b-token", User::named("bob"));
        cluster.api.bind_role(
            "team-b",
            "bob-view",
            "ClusterRole/view",
            Subject::User("bob"),
        );
        let mut spread = 7_u64;
        for _ in 0..400 {
            spread = spread
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let delay = Behaviour::Delay(Duration::from_millis(spread >> 58));
            cluster.api.behave_times("tokenreviews", 1, delay.clone());
            cluster.api.behave_times("subjectaccessreviews", 1, delay);
        }
        let calls: Vec<_> = (0..1000)
            .map(|index| match (index * 7) % 13 % 2 {
                0 => (ask(&cluster, TEAM_A), "7"),
                _ => (ask(&cluster, "team-b-token"), "8"),
            })
            .collect();
        for (call, own) in calls {
            let answer = call.await.expect("no panic");
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert_eq!(values(&answer), [own]);
        }
        assert!(cluster.api.count("tokenreviews") > 2);
    });
}
