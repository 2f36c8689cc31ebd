//! What operators see, and who else does not.

use http::StatusCode;
use standins::kubernetes::{Subject, User};

use support::client::{AGENT, Call, query};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::run;

/// The series of `/metrics`, without their values.
async fn series(cluster: &Cluster) -> Vec<String> {
    let metrics = Call::get(cluster.proxy.admin("/metrics")).send().await;
    let lines = metrics.text().lines().filter(|line| !line.starts_with('#'));
    let mut series: Vec<_> = lines
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect();
    series.sort_unstable();
    series
}

#[test]
fn h30_metrics_know_neither_users_nor_paths_nor_queries() {
    run(async {
        let cluster = Cluster::start().await;
        let ask = async |index: usize| {
            let (name, token) = (format!("user-5pQ9-{index}"), format!("token-5pQ9-{index}"));
            cluster.api.add_user(&token, User::named(&name));
            cluster
                .api
                .bind_role("team-a", &name, "ClusterRole/view", Subject::User(&name));
            for path in [
                query(&format!("metric_5pQ9_{index}")),
                format!("/api/v1/label/label_5pQ9_{index}/values"),
                format!("/api/v1/path-5pQ9-{index}"),
                format!(
                    "/clusters/c5pQ9{index}/api/v1/namespaces/n5pQ9/services/s/proxy{}",
                    query("up")
                ),
                query(&format!("up{{namespace=\"n5pq9-{index}\"}}")),
                query("up{"),
            ] {
                Call::get(cluster.proxy.url(&path))
                    .bearer(&token)
                    .send()
                    .await;
                Call::get(cluster.proxy.url(&path))
                    .cookie(&token)
                    .send()
                    .await;
            }
        };
        for index in 0..3 {
            ask(index).await;
        }
        let before = series(&cluster).await;
        for index in 3..40 {
            ask(index).await;
        }
        let after = series(&cluster).await;
        assert_eq!(before, after);
        assert!(after.len() > 50, "{after:?}");
        assert!(after.len() < 1500, "{}", after.len());
        let metrics = Call::get(cluster.proxy.admin("/metrics")).send().await;
        assert!(!metrics.text().contains("5pQ9") && !metrics.text().contains("5pq9"));
    });
}

#[test]
fn h30_the_listener_of_operators_and_that_of_callers_serve_nothing_of_each_other() {
    run(async {
        let cluster = Cluster::start().await;
        for path in ["/metrics", "/livez", "/readyz"] {
            let answer = Call::get(cluster.proxy.url(path))
                .bearer(VIEWER)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            assert!(!answer.text().contains("prom_rbac_proxy_"), "{path}");
        }
        for path in [
            query("secret"),
            "/api/v1/rules".to_owned(),
            "/-/ready".to_owned(),
        ] {
            let answer = Call::get(cluster.proxy.admin(&path))
                .bearer(VIEWER)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn an_audit_line_says_in_a_word_why_and_which_client_asked() {
    run(async {
        let cluster = Cluster::start().await;
        for (path, token, code) in [
            (query("up"), VIEWER, None),
            (query("up"), "not-a-token", Some("token_rejected")),
            (query("up{"), TEAM_A, Some("query_invalid")),
            (
                query("up{namespace=\"team-b\"}"),
                TEAM_A,
                Some("namespaces_denied"),
            ),
            ("/api/v1/none".to_owned(), VIEWER, Some("endpoint_unknown")),
        ] {
            let call = Call::get(cluster.proxy.url(&path)).bearer(token);
            let answer = call.send().await;
            let line = cluster.proxy.audit(&answer).await;
            assert_eq!(line["reason_code"].as_str(), code, "{line}");
            assert_eq!(line["reason"].is_string(), code.is_some(), "{line}");
            assert_eq!(line["user_agent"], AGENT, "{line}");
            assert_eq!(line["client"], "127.0.0.1", "{line}");
            assert!(line.get("groups").is_none(), "{line}");
            assert_eq!(line["uid"].is_string(), !line["caller"].is_null(), "{line}");
        }
    });
}

#[test]
fn an_audit_line_has_the_forwarded_client_and_the_groups_where_that_is_configured() {
    run(async {
        let keys = [
            ("LOGGING__TRUSTED_PROXIES", "[127.0.0.0/8]"),
            ("LOGGING__AUDIT_GROUPS", "true"),
        ];
        let cluster = Cluster::with(&keys).await;
        let call = Call::get(cluster.proxy.url(&query("up"))).bearer(VIEWER);
        // The first is whatever the client wrote.
        let call = call.header("x-forwarded-for", "203.0.113.1, 192.0.2.7");
        let line = cluster.proxy.audit(&call.send().await).await;
        assert_eq!(line["client"], "192.0.2.7", "{line}");
        let groups = serde_json::json!(["viewers", "system:authenticated"]);
        assert_eq!(line["groups"], groups, "{line}");
    });
}

#[test]
fn what_the_system_knows_of_the_process_is_among_the_metrics() {
    run(async {
        let cluster = Cluster::start().await;
        let metrics = Call::get(cluster.proxy.admin("/metrics")).send().await;
        let value = |name: &str| {
            let mut values = metrics.text().lines();
            let value = values.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.expect(name).parse::<f64>().expect("a number")
        };
        let resident = cluster.proxy.memory_kib("VmRSS") as f64 * 1024.0;
        let told = value("process_resident_memory_bytes");
        assert!(
            told > resident / 2.0 && told < resident * 2.0,
            "{told} of {resident}"
        );
        assert!(value("process_virtual_memory_bytes") >= told);
        assert!(value("process_cpu_seconds_total") > 0.0);
        let (open, most) = (value("process_open_fds"), value("process_max_fds"));
        assert!(open > 5.0 && open < most, "{open} of {most}");
        assert!(value("process_threads") >= 2.0);
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("after 1970");
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-2.0..60.0).contains(&age), "{age} s ago");
    });
}
