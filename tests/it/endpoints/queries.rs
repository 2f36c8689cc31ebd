//! Queries end to end, against data of others: cases of section Q that need a Prometheus to be wrong.

use http::StatusCode;

use support::client::{Answer, Call, encoded, query};
use support::cluster::{Cluster, STRANGER, TEAM_A, VIEWER};
use support::oracle::{assert_no_leak, values};
use support::run;

async fn ask(cluster: &Cluster, token: &str, expression: &str) -> Answer {
    let call = Call::get(cluster.proxy.url(&query(expression)));
    call.bearer(token).send().await
}

/// Every way in which a query of team-a's could come to see others' series. None may, whatever else happens.
const PROBES: [&str; 46] = [
    "secret",
    r#"secret{namespace=~".*"}"#,
    r#"secret{namespace!="team-a"}"#,
    r#"secret{namespace!~"team-a"}"#,
    r#"secret{namespace=""}"#,
    r#"secret{namespace!~"^$"}"#,
    r#"{namespace=~".*"}"#,
    r#"{__name__="secret"}"#,
    r#"{__name__=~"secret|phi|target_info"}"#,
    r#"secret{namespace=~"team-a|"}"#,
    r#"secret{pod="nons"}"#,
    r#"secret{namespace=~"a)|(?:.*"}"#,
    r#"quantile(scalar(phi{namespace=~".+"}), label_replace(vector(0),"x","0","","") or label_replace(vector(1),"x","1","",""))"#,
    "topk(scalar(secret), up)",
    "topk by (a) ((scalar(secret)+1), up)",
    "bottomk(scalar(count(secret)), secret)",
    r#"count_values("x", secret)"#,
    "rate(secret[5m]) or secret",
    "sum_over_time(secret[5m:1m])",
    "max_over_time(secret[10m])",
    "last_over_time(secret[10m:1m])",
    "sum(up) or secret",
    "secret or phi",
    "up unless secret",
    "secret and on() secret",
    "absent(phi)",
    "scalar(phi)",
    "vector(scalar(phi))",
    "clamp_max(up * 0 + 1000, scalar(phi))",
    "clamp_max(up * 0 + 1000, scalar(secret{pod=\"nons\"}))",
    "secret #",
    "secret #\n{namespace=\"victim\"}",
    "secret{ # }\n}",
    "secret\r#\r\n",
    "secret offset 1m",
    "secret @ start()",
    "-secret",
    "+secret",
    "(secret)",
    "label_replace(secret, \"namespace\", \"victim\", \"\", \"\")",
    "label_join(secret, \"namespace\", \"\", \"pod\")",
    "group by (namespace, pod) (secret)",
    "count by (pod) ({__name__=~\".+\"})",
    "sort_desc(secret)",
    "secret > bool 1",
    "histogram_quantile(0.9, secret)",
];

#[test]
fn q01_to_q14_no_query_of_team_a_sees_what_is_of_others() {
    run(async {
        let cluster = Cluster::start().await;
        let mut answered = 0;
        for expression in PROBES {
            let answer = ask(&cluster, TEAM_A, expression).await;
            assert_no_leak(&answer, expression);
            answered += usize::from(answer.status.is_success());
        }
        assert!(answered > 35, "only {answered} were answered");
        // The same with what they must not see named: refused, not empty.
        let answer = ask(
            &cluster,
            TEAM_A,
            r#"quantile(scalar(phi{namespace="victim"}), up)"#,
        )
        .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        // The oracle can see a leak: whoever sees everything gets them.
        let everything = ask(&cluster, VIEWER, "secret or phi").await;
        for value in ["\"42\"", "\"99\"", "\"0.4242\""] {
            assert!(everything.text().contains(value), "{value}");
        }
    });
}

#[test]
fn q45_a_number_that_older_releases_cut_in_two_opens_nothing() {
    run(async {
        let cluster = Cluster::start().await;
        for expression in [
            "0x1e+decade",
            "sum by (namespace, pod) (0x1e+decade)",
            "0x1e+decade or up",
            "0xfe-decade == bool 0",
            "count(0x1E+decade) > 0x1e",
        ] {
            let answer = ask(&cluster, TEAM_A, expression).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{expression}");
            assert_no_leak(&answer, expression);
        }
        assert_eq!(cluster.forwarded().len(), 0);
        // With a space it is a sum, for all of them.
        let answer = ask(&cluster, TEAM_A, "0x1e +decade").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_no_leak(&answer, "a sum");
        // Before Prometheus 2.54 there is something to see, without the space too.
        let everything = ask(&cluster, VIEWER, "0x1e+decade").await;
        assert!(
            !everything.status.is_success() || everything.text().contains("\"72\""),
            "{}",
            everything.text()
        );
    });
}

#[test]
fn q03_exemplars_of_others_do_not_come_along() {
    run(async {
        let cluster = Cluster::start().await;
        for expression in ["topk(scalar(secret),up)", r#"{__name__=~".+"}"#] {
            let pairs = [("query", expression), ("start", "0"), ("end", "4000000000")];
            let url = cluster
                .proxy
                .url(&format!("/api/v1/query_exemplars?{}", encoded(&pairs)));
            let answer = Call::get(url).bearer(TEAM_A).send().await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert_no_leak(&answer, expression);
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
fn q06_q07_info_without_a_namespace_is_refused_to_whoever_sees_some() {
    run(async {
        let cluster = Cluster::start().await;
        for expression in [
            r#"info(label_replace(http_requests_total{namespace="team-a"},"instance","v:1","",""))"#,
            r#"info(up,{k8s="x"})"#,
            r#"info(up,{__name__=~".+_info"})"#,
            "info(up,{})",
            "sum(info(up))",
            "INFO(up)",
            "info (up)",
            "info#\n(up)",
        ] {
            let answer = ask(&cluster, TEAM_A, expression).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{expression}: {}",
                answer.text()
            );
            assert_no_leak(&answer, expression);
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn q08_whoever_sees_nothing_is_refused_before_anything_is_written() {
    run(async {
        let cluster = Cluster::start().await;
        for path in [
            query("secret"),
            query(r#"secret{namespace=""}"#),
            query(r#"secret{pod="nons"}"#),
            query("1"),
            format!("/api/v1/series?{}", encoded(&[("match[]", "secret")])),
            "/api/v1/labels".to_owned(),
            "/api/v1/label/pod/values".to_owned(),
            format!("/federate?{}", encoded(&[("match[]", "secret")])),
            "/api/v1/rules".to_owned(),
            "/api/v1/alerts".to_owned(),
            "/api/v1/metadata".to_owned(),
            "/api/v1/status/buildinfo".to_owned(),
            "/-/healthy".to_owned(),
        ] {
            let answer = Call::get(cluster.proxy.url(&path))
                .bearer(STRANGER)
                .send()
                .await;
            assert_eq!(
                answer.status,
                StatusCode::FORBIDDEN,
                "{path}: {}",
                answer.text()
            );
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn q15_a_series_selector_is_one_selector_and_nothing_else() {
    run(async {
        let cluster = Cluster::start().await;
        for selector in [
            "secret or phi",
            "secret[5m]",
            "(secret)",
            "+secret",
            "-secret",
            "secret offset 5m",
            "secret @ 1",
            "topk(1,secret)",
            "1",
            "\"x\"",
            "secret, phi",
            "secret phi",
            "secret{} or phi{}",
            "rate(secret[5m])",
            "secret == 42",
        ] {
            for path in [
                "/api/v1/series",
                "/api/v1/labels",
                "/api/v1/label/pod/values",
                "/federate",
            ] {
                let url = cluster
                    .proxy
                    .url(&format!("{path}?{}", encoded(&[("match[]", selector)])));
                let answer = Call::get(url).bearer(TEAM_A).send().await;
                assert_eq!(
                    answer.status,
                    StatusCode::BAD_REQUEST,
                    "{path} {selector}: {}",
                    answer.text()
                );
            }
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn q16_each_of_several_selectors_is_restricted_and_one_bad_one_refuses_all() {
    run(async {
        let cluster = Cluster::start().await;
        let ask = |path: &str, selectors: &[&str]| {
            let pairs: Vec<_> = selectors.iter().map(|&one| ("match[]", one)).collect();
            let url = cluster.proxy.url(&format!("{path}?{}", encoded(&pairs)));
            Call::get(url).bearer(TEAM_A).send()
        };
        for path in [
            "/api/v1/series",
            "/api/v1/label/pod/values",
            "/federate",
            "/api/v1/labels",
        ] {
            let answer = ask(
                path,
                &[
                    "up",
                    "secret",
                    r#"{namespace=~".+"}"#,
                    "phi",
                    r#"{__name__=~".+"}"#,
                ],
            )
            .await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            assert_no_leak(&answer, path);
            let sent = cluster.forwarded().pop().expect("sent");
            // Five, and two rules beside each of those without a name.
            let selectors = sent.uri.matches("match%5B%5D=").count();
            let confined = sent.uri.matches("namespace%3D%22team-a%22").count();
            assert_eq!((selectors, confined), (9, 9), "{}", sent.uri);
        }
        cluster.upstream.forget();
        for (selectors, status) in [
            (["up", "secret[5m]"], StatusCode::BAD_REQUEST),
            (["up", ""], StatusCode::BAD_REQUEST),
            (
                ["up", r#"secret{namespace="victim"}"#],
                StatusCode::FORBIDDEN,
            ),
            ([r#"{namespace="victim"}"#, "up"], StatusCode::FORBIDDEN),
        ] {
            let answer = ask("/api/v1/series", &selectors).await;
            assert_eq!(answer.status, status, "{selectors:?}: {}", answer.text());
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn q17_without_a_selector_there_is_one_of_ours() {
    run(async {
        let cluster = Cluster::start().await;
        for (path, status) in [
            ("/api/v1/labels", StatusCode::OK),
            ("/api/v1/label/pod/values", StatusCode::OK),
            ("/api/v1/label/__name__/values", StatusCode::OK),
            ("/api/v1/label/k8s_cluster_name/values", StatusCode::OK),
            ("/federate", StatusCode::OK),
        ] {
            for parameters in [
                "",
                "?match=secret",
                "?match[0]=secret",
                "?match%5B%5D%00=x",
                "?match[]=",
                "?Match[]=secret",
            ] {
                let answer = Call::get(cluster.proxy.url(&format!("{path}{parameters}")))
                    .bearer(TEAM_A)
                    .send()
                    .await;
                assert_no_leak(&answer, path);
                assert!(
                    !answer.text().contains("k8s_cluster_name\""),
                    "{}",
                    answer.text()
                );
                if parameters == "?match[]=" || parameters.contains("%00") {
                    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}{parameters}");
                } else {
                    assert_eq!(
                        answer.status,
                        status,
                        "{path}{parameters}: {}",
                        answer.text()
                    );
                }
            }
        }
        for seen in cluster.some_forwarded() {
            assert!(
                seen.uri
                    .contains("match%5B%5D=%7Bnamespace%3D%22team-a%22%7D"),
                "{}",
                seen.uri
            );
        }
        // Prometheus refuses this without a selector; it does not become everything either.
        let answer = Call::get(cluster.proxy.url("/api/v1/series"))
            .bearer(TEAM_A)
            .send()
            .await;
        assert_no_leak(&answer, "series");
    });
}

#[test]
fn q18_only_what_we_wrote_is_sent() {
    run(async {
        let cluster = Cluster::start().await;
        for expression in [
            "up\u{c}",
            "up\u{a0}",
            "\u{feff}up",
            "up\u{2028}",
            "up\0",
            "exp(NaN)",
            "1e400",
            "up{a=~\"(?=x)\"}",
        ] {
            cluster.upstream.forget();
            let answer = ask(&cluster, TEAM_A, expression).await;
            assert_no_leak(&answer, expression);
            for seen in cluster.forwarded() {
                assert!(
                    !seen.uri.contains("%0C")
                        && !seen.uri.contains("%C2%A0")
                        && !seen.uri.contains("%EF%BB"),
                    "{}",
                    seen.uri
                );
            }
        }
        let spaced = ask(&cluster, TEAM_A, "  secret  # all of it\n").await;
        assert_eq!(values(&spaced), ["7"]);
        let sent = cluster.forwarded().pop().expect("sent");
        assert!(!sent.uri.contains("all"), "{}", sent.uri);
    });
}

#[test]
fn q41_a_label_that_is_written_into_a_result_opens_nothing() {
    run(async {
        let cluster = Cluster::start().await;
        let written = r#"label_replace(secret,"namespace","victim","","")"#;
        let answer = ask(&cluster, TEAM_A, written).await;
        assert_eq!(values(&answer), ["7"]);
        let joined = format!("{written} * on(namespace) group_left secret");
        assert_no_leak(&ask(&cluster, TEAM_A, &joined).await, &joined);
    });
}
