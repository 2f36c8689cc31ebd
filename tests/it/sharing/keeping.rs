use std::time::Duration;

use http::StatusCode;

use support::client::Call;
use support::cluster::{Cluster, TEAM_A, TEAM_A_AND_B, VIEWER};
use support::run;

use super::{HIT, HOUR, ask, now, range, status};

#[test]
fn the_third_viewer_of_a_chart_gets_what_the_second_got() {
    run(async {
        let cluster = Cluster::start().await;
        // Within one step of the grid, whatever time it is.
        let end = now() / 10 * 10;
        let mut bodies = Vec::new();
        for late in [1, 3, 5, 9] {
            let answer = ask(&cluster, &range("up", end + late, 60), VIEWER).await;
            bodies.push((status(&answer).map(str::to_owned), answer));
        }
        let hits: Vec<_> = bodies.iter().map(|(status, _)| status.as_deref()).collect();
        assert_eq!(hits, [None, None, HIT, HIT]);
        for (_, answer) in &bodies {
            assert_eq!(answer.text(), bodies[0].1.text());
        }
        let line = cluster.proxy.audit(&bodies[3].1).await;
        assert_eq!(line["answer"], "kept");
        assert!(line["upstream_ms"].is_null(), "{line}");
        let forwarded = cluster.forwarded();
        assert_eq!(forwarded.len(), 2);
        for seen in forwarded {
            let times = format!("&start={}&end={end}&step=60&", end - HOUR);
            assert!(seen.uri.contains(&times), "{}", seen.uri);
        }
        let kept = r#"prom_rbac_proxy_shared_answers_total{answer="kept"}"#;
        assert_eq!(cluster.proxy.metric(kept).await, 2.0);
        // An hour in steps of a minute, and the point at its beginning, for the two that were kept.
        let spared = "prom_rbac_proxy_spared_points_total";
        assert_eq!(cluster.proxy.metric(spared).await, 2.0 * 61.0);
        let held = r#"prom_rbac_proxy_shared_answers_held_bytes{upstream="default"}"#;
        assert!(cluster.proxy.metric(held).await > 500.0);
    });
}

#[test]
fn a_lone_viewer_is_asked_for_each_time_and_nothing_is_kept_of_it() {
    run(async {
        let cluster = Cluster::start().await;
        let end = now() / 10 * 10;
        for earlier in [40, 30, 20, 10, 0] {
            let answer = ask(&cluster, &range("up", end - earlier, 60), VIEWER).await;
            assert_eq!(status(&answer), None);
        }
        assert_eq!(cluster.forwarded().len(), 5);
        let held = r#"prom_rbac_proxy_shared_answers_held_bytes{upstream="default"}"#;
        assert_eq!(cluster.proxy.metric(held).await, 0.0);
    });
}

#[test]
fn nobody_gets_what_was_kept_for_who_may_see_more_or_less() {
    run(async {
        let cluster = Cluster::start().await;
        let path = range(
            "count(container_cpu_usage_seconds_total) by (namespace)",
            now() / 10 * 10,
            60,
        );
        for token in [VIEWER, TEAM_A, TEAM_A_AND_B] {
            let mut first = None;
            for _ in 0..3 {
                let answer = ask(&cluster, &path, token).await;
                let text = answer.text().to_owned();
                let hit = status(&answer) == HIT;
                let (before, _) = first.get_or_insert((text.clone(), hit));
                assert_eq!(*before, text);
                first = Some((text, hit));
            }
            let (text, hit) = first.expect("an answer");
            assert!(hit, "{token}");
            assert_eq!(text.contains("victim"), token == VIEWER, "{text}");
            assert_eq!(text.contains("team-b"), token != TEAM_A, "{text}");
        }
        assert_eq!(cluster.forwarded().len(), 6);
    });
}

#[test]
fn who_has_lost_a_permission_gets_nothing_that_is_kept() {
    run(async {
        let short = [
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", "100ms"),
            ("AUTHORIZATION__CACHE__DENIED_TTL", "0s"),
            ("AUTHORIZATION__CACHE__STALE_FOR", "0s"),
        ];
        let cluster = Cluster::with(&short).await;
        let path = range(r#"up{namespace="team-a"}"#, now() / 10 * 10, 60);
        for _ in 0..3 {
            ask(&cluster, &path, TEAM_A).await;
        }
        assert!(cluster.api.delete(
            "rolebindings.rbac.authorization.k8s.io",
            "team-a",
            "alice-view"
        ));
        // The other one's kept answer is to the same text.
        assert_eq!(status(&ask(&cluster, &path, TEAM_A_AND_B).await), HIT);
        let refused = loop {
            let call = Call::get(cluster.proxy.url(&path)).cookie(TEAM_A);
            let answer = call.send().await;
            if answer.status != StatusCode::OK {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(status(&refused), None);
        let again = Call::get(cluster.proxy.url(&path))
            .cookie(TEAM_A)
            .send()
            .await;
        assert_eq!(again.status, StatusCode::FORBIDDEN);
    });
}

#[test]
fn the_direct_door_gets_exact_times_and_nothing_that_is_kept() {
    run(async {
        let cluster = Cluster::start().await;
        let end = now() / 10 * 10 + 3;
        for _ in 0..3 {
            let call = Call::get(cluster.proxy.url(&range("up", end, 60))).bearer(VIEWER);
            let answer = call.send().await;
            assert_eq!((answer.status, status(&answer)), (StatusCode::OK, None));
        }
        let forwarded = cluster.forwarded();
        assert_eq!(forwarded.len(), 3);
        for seen in forwarded {
            assert!(seen.uri.contains(&format!("&end={end}&")), "{}", seen.uri);
        }
    });
}

#[test]
fn where_it_is_off_times_stay_and_nothing_is_kept() {
    run(async {
        let off = [
            ("UPSTREAMS__0__SHARING__ALIGN", "[]"),
            ("UPSTREAMS__0__SHARING__KEEP", "[]"),
        ];
        let cluster = Cluster::with(&off).await;
        let end = now() / 10 * 10 + 3;
        for _ in 0..3 {
            let answer = ask(&cluster, &range("up", end, 60), VIEWER).await;
            assert_eq!(status(&answer), None);
        }
        let forwarded = cluster.forwarded();
        assert_eq!(forwarded.len(), 3);
        for seen in forwarded {
            assert!(seen.uri.contains(&format!("&end={end}&")), "{}", seen.uri);
        }
    });
}

#[test]
fn a_past_range_and_a_point_in_time_are_left_as_they_are() {
    run(async {
        let cluster = Cluster::start().await;
        let past = range("up", now() - 2 * HOUR, 60);
        for path in [&*past, "/api/v1/query?query=up"] {
            for _ in 0..3 {
                assert_eq!(status(&ask(&cluster, path, VIEWER).await), None);
            }
        }
        assert_eq!(cluster.forwarded().len(), 6);
    });
}
