//! Kubernetes away, slow, and back.

use http::StatusCode;

use support::client::{Call, query};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::run;

#[test]
fn known_callers_go_on_while_kubernetes_is_away_and_new_ones_wait() {
    run(async {
        let cluster = Cluster::with(&[
            ("AUTHENTICATION__CACHE__TTL", "1ms"),
            ("AUTHENTICATION__CACHE__REJECTED_TTL", "1ms"),
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", "1ms"),
            ("AUTHORIZATION__CACHE__DENIED_TTL", "1ms"),
        ])
        .await;
        let ask = |token: &'static str| {
            Call::get(cluster.proxy.url(&query("vector(1)")))
                .bearer(token)
                .send()
        };
        assert_eq!(ask(VIEWER).await.status, StatusCode::OK);
        cluster.api.stop().await;
        for _ in 0..3 {
            assert_eq!(ask(VIEWER).await.status, StatusCode::OK);
        }
        let unknown = ask(TEAM_A).await;
        assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(unknown.headers["retry-after"], "1");
        assert!(
            unknown.message().contains("Kubernetes API server"),
            "{}",
            unknown.message()
        );
        cluster.api.start_again().await.expect("the same port");
        assert_eq!(ask(TEAM_A).await.status, StatusCode::OK);
        assert_eq!(ask(VIEWER).await.status, StatusCode::OK);
        assert!(
            cluster
                .proxy
                .metric(
                    r#"prom_rbac_proxy_review_cache_requests_total{review="token",result="stale"}"#
                )
                .await
                > 0.0
        );
    });
}

#[test]
fn readiness_needs_kubernetes_and_prometheus() {
    run(async {
        let (api, proxy) = Cluster::before("127.0.0.1:9".parse().expect("an address"), &[]).await;
        assert_eq!(
            Call::get(proxy.admin("/livez")).send().await.status,
            StatusCode::OK
        );
        let ready = Call::get(proxy.admin("/readyz")).send().await;
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            ready.text().contains("upstream default"),
            "{}",
            ready.text()
        );
        drop(api);
        let cluster = Cluster::start().await;
        let ready = Call::get(cluster.proxy.admin("/readyz")).send().await;
        assert_eq!((ready.status, ready.text()), (StatusCode::OK, "ok\n"));
    });
}

#[test]
fn metrics_come_in_the_format_that_is_asked_for() {
    run(async {
        let cluster = Cluster::start().await;
        let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let plain = "text/plain; version=0.0.4; charset=utf-8";
        for (accept, expected) in [
            ("application/openmetrics-text", openmetrics),
            ("*/*", plain),
        ] {
            let metrics = Call::get(cluster.proxy.admin("/metrics"));
            let metrics = metrics.header("accept", accept).send().await;
            assert_eq!(metrics.headers["content-type"], expected);
            let text = metrics.text();
            assert_eq!(text.ends_with("# EOF\n"), expected == openmetrics);
            assert_eq!(text.contains("\n# UNIT "), expected == openmetrics);
            let counter = "\n# TYPE prom_rbac_proxy_upstream_errors_total counter\n";
            assert_eq!(text.contains(counter), expected == plain, "{text}");
        }
    });
}

#[test]
fn one_dead_upstream_does_not_take_the_others_down() {
    run(async {
        for (needed, status) in [
            ("any", StatusCode::OK),
            ("all", StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let cluster = Cluster::with(&[
                ("READINESS__UPSTREAMS", needed),
                ("UPSTREAMS__1__NAME", "dead"),
                ("UPSTREAMS__1__PATH_PREFIX", "/dead"),
                ("UPSTREAMS__1__URL", "http://127.0.0.1:9"),
            ])
            .await;
            let ready = Call::get(cluster.proxy.admin("/readyz")).send().await;
            assert_eq!(ready.status, status, "{needed}");
            let named = ready.text().contains("upstream dead: ");
            assert_eq!(named, needed == "all", "{}", ready.text());
            let call = Call::get(cluster.proxy.url(&query("vector(1)"))).bearer(VIEWER);
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::OK);
            // Lines come in order: those before the audit line are there.
            cluster.proxy.audit(&answer).await;
            let log = cluster.proxy.log();
            let line = |message: &str| {
                let lines = log
                    .lines()
                    .filter_map(|line| serde_json::from_str(line).ok());
                let is_it = |line: &serde_json::Value| line["message"] == message;
                let found: Vec<_> = lines.filter(is_it).collect();
                assert_eq!(found.len(), 1, "{message}: {log}");
                found[0].clone()
            };
            let away = line("an upstream does not answer");
            assert_eq!(
                (&away["upstream"], &away["address"]),
                (&"dead".into(), &"127.0.0.1:9".into())
            );
            let cause = away["cause"].as_str().expect("a cause");
            assert!(cause.contains("refused"), "{cause}");
            let started = line("started");
            assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
            let told = started["upstreams"].as_str().expect("a text");
            assert!(told.ends_with("dead=http://127.0.0.1:9/"), "{told}");
            assert!(
                started["listeners"]
                    .as_str()
                    .expect("a text")
                    .contains("admin=127.0.0.1:")
            );
            let up = |name| format!("prom_rbac_proxy_upstream_up{{upstream=\"{name}\"}}");
            assert_eq!(cluster.proxy.metric(&up("default")).await, 1.0);
            assert_eq!(cluster.proxy.metric(&up("dead")).await, 0.0);
        }
    });
}
