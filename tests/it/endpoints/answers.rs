//! What of an answer passes.

use std::time::Duration;

use http::StatusCode;
use standins::prometheus::Scripted;

use support::client::{Answer, Call, encoded, query};
use support::cluster::{Cluster, TEAM_A, TEAM_A_AND_B, VIEWER};
use support::oracle::assert_no_leak;
use support::{prometheus, run};

async fn ask(cluster: &Cluster, token: &str, path: &str) -> Answer {
    Call::get(cluster.proxy.url(path))
        .bearer(token)
        .send()
        .await
}

/// Once all alerts of the test data fire.
async fn with_alerts() -> Cluster {
    let cluster = Cluster::start().await;
    for alert in ["VictimAlert", "SecretIsSet", "SecretsOfTheCluster"] {
        let limit = Duration::from_secs(20);
        assert!(
            prometheus::everything()
                .await
                .wait_for_alert(alert, limit)
                .await,
            "{alert}"
        );
    }
    cluster
}

#[test]
fn e14_rules_and_alerts_of_others_are_left_out_with_all_that_they_tell() {
    run(async {
        let cluster = with_alerts().await;
        let all = ask(&cluster, VIEWER, "/api/v1/alerts").await;
        assert!(
            all.text().contains("VictimAlert") && all.text().contains("VICTIMDATA"),
            "{}",
            all.text()
        );
        let all = ask(&cluster, VIEWER, "/api/v1/rules").await;
        assert!(all.text().contains("VictimAlert"), "{}", all.text());
        for path in [
            "/api/v1/rules".to_owned(),
            "/api/v1/alerts".to_owned(),
            "/api/v1/rules?type=alert".to_owned(),
            "/api/v1/rules?type=record".to_owned(),
            format!(
                "/api/v1/rules?{}",
                encoded(&[("type", "alert"), ("match[]", r#"{severity="page"}"#)])
            ),
            format!(
                "/api/v1/rules?{}",
                encoded(&[("rule_name[]", "VictimAlert")])
            ),
            format!(
                "/api/v1/rules?{}",
                encoded(&[("rule_group[]", "victim-rules")])
            ),
            format!(
                "/api/v1/rules?{}",
                encoded(&[("file[]", "/etc/prometheus/rules.yml")])
            ),
            "/api/v1/rules?exclude_alerts=true".to_owned(),
        ] {
            for encoding in ["identity", "gzip"] {
                let call = Call::get(cluster.proxy.url(&path)).bearer(TEAM_A);
                let answer = call.header("accept-encoding", encoding).send().await;
                assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
                assert_no_leak(&answer, &path);
                for other in [
                    "victim",
                    "SecretsOfTheCluster",
                    "cluster:secret:sum",
                    "all secrets",
                    "\"team-b\"",
                ] {
                    assert!(
                        !answer.text().contains(other),
                        "{path}: {other} in {}",
                        answer.text()
                    );
                }
            }
        }
        let own = ask(&cluster, TEAM_A, "/api/v1/alerts").await;
        assert!(
            own.text().contains("SecretIsSet") && own.text().contains("value 7"),
            "{}",
            own.text()
        );
    });
}

#[test]
fn e15_pages_tell_nothing_of_groups_that_are_hidden() {
    run(async {
        let cluster = Cluster::start().await;
        for parameters in [
            "group_limit=1",
            "group_limit=1&group_next_token=0000000000000000000000000000000000000000",
            "group_limit=0",
            "group_limit=-1",
        ] {
            let answer = ask(&cluster, TEAM_A, &format!("/api/v1/rules?{parameters}")).await;
            assert!(
                answer.status.is_success() || answer.status == StatusCode::BAD_REQUEST,
                "{parameters}"
            );
            assert_no_leak(&answer, parameters);
            assert!(
                !answer.text().contains("groupNextToken"),
                "{}",
                answer.text()
            );
        }
        // The double pages, as Prometheus 3 does.
        let body = r#"{"status":"success","data":{"groups":[],"groupNextToken":"5pQ9"}}"#;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
        let paged = format!("{head}{}\r\n\r\n{body}", body.len());
        let upstream = Scripted::answering(&paged).await.expect("an upstream");
        let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
        let url = proxy.url("/api/v1/rules?group_limit=1");
        let answer = Call::get(url).bearer(TEAM_A).send().await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.text().contains("5pQ9"), "{}", answer.text());
    });
}

#[test]
fn e14_an_answer_that_cannot_be_filtered_does_not_pass() {
    run(async {
        let plain = |body: &str, more: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n{body}"
            )
        };
        let victim = r#"{"labels":{"alertname":"VictimAlert","namespace":"victim"},"annotations":{"x":"VICTIMDATA"}}"#;
        for answer in [
            plain(&format!(r#"[{victim}]"#), ""),
            plain(&format!(r#"{{"status":"success","data":[{victim}]}}"#), ""),
            plain(
                &format!(r#"{{"status":"success","data":{{"alerts":{victim}}}}}"#),
                "",
            ),
            plain(
                &format!(r#"{{"status":"success","data":{{"alerts":[{victim}"#),
                "",
            ),
            plain(
                &format!(r#"{{"status":"success","data":{{"alerts":[]}},"more":{victim}}}"#),
                "",
            ),
            plain(
                &format!(r#"{{"data":{{"alerts":[]}},"data":{{"alerts":[{victim}]}}}}"#),
                "",
            ),
            plain(victim, "Content-Encoding: br\r\n"),
            plain(victim, "Content-Encoding: gzip\r\n"),
        ] {
            let upstream = Scripted::answering(&answer).await.expect("an upstream");
            let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
            let call = Call::get(proxy.url("/api/v1/alerts")).bearer(TEAM_A);
            // Refused, or cut in the middle.
            if let Ok(passed) = call.try_send().await {
                assert_no_leak(&passed, &answer);
            }
        }
    });
}

#[test]
fn e16_errors_repeat_label_sets_of_the_callers_own_only() {
    run(async {
        let cluster = Cluster::start().await;
        let answer = ask(&cluster, TEAM_A_AND_B, &query("secret + on() secret")).await;
        assert!(answer.status.is_client_error(), "{}", answer.text());
        let message = answer.message();
        assert!(message.contains("team-"), "{message}");
        assert_no_leak(&answer, "the error");
        assert!(!message.contains("victim"), "{message}");
        let everything = ask(&cluster, VIEWER, &query("secret + on() secret")).await;
        assert!(everything.status.is_client_error());
    });
}

#[test]
fn e17_statistics_and_limits_are_those_of_the_restricted_query() {
    run(async {
        let cluster = Cluster::start().await;
        for more in [
            "stats=all",
            "stats=5pQ9",
            "limit=1",
            "limit=-1",
            "limit=x",
            "limit=99999999999999999999",
        ] {
            let path = format!("{}&{more}", query("secret"));
            let answer = ask(&cluster, TEAM_A, &path).await;
            assert_no_leak(&answer, more);
            assert!(
                answer.status.is_success() || answer.status == StatusCode::BAD_REQUEST,
                "{more}"
            );
        }
        for seen in cluster.some_forwarded() {
            assert!(
                seen.uri.contains("namespace%3D%22team-a%22"),
                "{}",
                seen.uri
            );
        }
    });
}

#[test]
fn e20_a_redirect_is_not_followed_and_does_not_pass() {
    run(async {
        let trap = Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .expect("a trap");
        for (status, target) in [
            ("301 Moved Permanently", "/query?query=1".to_owned()),
            ("302 Found", trap.url()),
            ("303 See Other", trap.url()),
            (
                "307 Temporary Redirect",
                format!("{}/api/v1/query", trap.url()),
            ),
            ("308 Permanent Redirect", format!("//{}/", trap.address())),
            ("300 Multiple Choices", trap.url()),
            ("304 Not Modified", trap.url()),
        ] {
            let answer = format!(
                "HTTP/1.1 {status}\r\nLocation: {target}\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"
            );
            let upstream = Scripted::answering(&answer).await.expect("an upstream");
            let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
            for path in [
                query("up"),
                "/api/v1/metadata".to_owned(),
                "/-/healthy".to_owned(),
            ] {
                for token in [VIEWER, TEAM_A] {
                    let answer = Call::get(proxy.url(&path)).bearer(token).send().await;
                    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{status} {path}");
                    assert!(!answer.headers.contains_key("location"));
                }
            }
        }
        assert_eq!(trap.connections().len(), 0);
    });
}

#[test]
fn e14_e16_what_an_upstream_says_beside_its_error_does_not_pass() {
    run(async {
        let cluster = Cluster::start().await;
        let answer = ask(&cluster, TEAM_A, "/api/v1/metadata").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_no_leak(&answer, "metadata");
        for path in ["/api/v1/format_query", "/api/v1/parse_query"] {
            let answer = ask(
                &cluster,
                TEAM_A,
                &format!("{path}?{}", encoded(&[("query", "secret")])),
            )
            .await;
            assert_no_leak(&answer, path);
        }
    });
}
