//! Each door, with each kind of caller.

use http::StatusCode;

use support::client::{Call, chart, query};
use support::cluster::{Cluster, STRANGER, TEAM_A, VIEWER, service_door};
use support::{prometheus, run};

#[test]
fn a_cluster_wide_viewer_gets_every_query_of_the_plugin_as_prometheus_answers_it() {
    run(async {
        let cluster = Cluster::start().await;
        let headlamp = cluster.headlamp().await;
        let prometheus = prometheus::everything().await;
        let queries = support::headlamp::queries();
        assert!(queries.len() >= 82);
        let mut lines = 0;
        for (id, expression) in queries {
            let path = chart(&expression, "345");
            let (status, expected) = prometheus.get(&path).await.expect("Prometheus");
            assert_eq!(status, StatusCode::OK, "{id}: {expected}");
            lines += usize::from(!expected.contains("\"result\":[]"));
            let direct = Call::get(cluster.proxy.url(&path))
                .bearer(VIEWER)
                .send()
                .await;
            assert_eq!(
                (direct.status, direct.text()),
                (StatusCode::OK, &*expected),
                "{id}"
            );
            let url = format!("{}/clusters/main{}", headlamp.url(), service_door(&path));
            let service = Call::get(url)
                .cookie(VIEWER)
                .header("accept-encoding", "identity")
                .send()
                .await;
            assert_eq!(
                (service.status, service.text()),
                (StatusCode::OK, &*expected),
                "{id}"
            );
        }
        assert!(lines > 60, "only {lines} queries have data");
    });
}

#[test]
fn nobody_who_is_refused_reaches_prometheus() {
    run(async {
        let cluster = Cluster::start().await;
        let path = query("up");
        let stranger = Call::get(cluster.proxy.url(&path))
            .bearer(STRANGER)
            .send()
            .await;
        assert_eq!(stranger.status, StatusCode::FORBIDDEN);
        assert!(
            stranger.message().contains("RoleBinding"),
            "{}",
            stranger.message()
        );
        let nobody = Call::get(cluster.proxy.url(&path)).send().await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
        assert_eq!(nobody.headers["www-authenticate"], "Bearer");
        assert!(
            nobody.message().contains("Authorization: Bearer"),
            "{}",
            nobody.message()
        );
        let unknown = Call::get(cluster.proxy.url("/api/v1/write"))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        assert!(
            unknown.message().contains("leave the subpath empty"),
            "{}",
            unknown.message()
        );
        let method = Call::new(http::Method::DELETE, cluster.proxy.url(&path))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(
            (method.status, &method.headers["allow"]),
            (
                StatusCode::METHOD_NOT_ALLOWED,
                &http::HeaderValue::from_static("GET, POST")
            )
        );
        for path in [
            "/api/v1/x/../query",
            "//api/v1/query",
            "/api/v1/query%2fx",
            "/api/v1/query;x",
            "/api/v1/query%0a",
        ] {
            let answer = Call::get(cluster.proxy.url(path))
                .bearer(VIEWER)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn a_path_in_each_of_its_forms_comes_to_the_same() {
    run(async {
        let cluster = Cluster::start().await;
        let path = query("sum(kube_pod_info)");
        for prefix in [
            "",
            "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy",
            "/api/v1/namespaces/monitoring/pods/http:prom-rbac-proxy-0:9090/proxy",
            "/clusters/main/api/v1/namespaces/monitoring/services/prom-rbac-proxy:http/proxy",
        ] {
            let answer = Call::get(cluster.proxy.url(&format!("{prefix}{path}")))
                .bearer(VIEWER)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{prefix}");
        }
        let targets: Vec<_> = cluster
            .forwarded()
            .iter()
            .map(|seen| seen.uri.split('?').next().expect("a path").to_owned())
            .collect();
        assert_eq!(targets, ["/api/v1/query"; 4]);
    });
}

#[test]
fn the_autodetect_probe_answers_everybody_who_may_see_something() {
    run(async {
        let cluster = Cluster::start().await;
        for token in [VIEWER, TEAM_A] {
            let answer = Call::get(cluster.proxy.url(&chart("up", "345")))
                .bearer(token)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
        let healthy = Call::get(cluster.proxy.url("/-/healthy"))
            .cookie(TEAM_A)
            .send()
            .await;
        assert_eq!(healthy.status, StatusCode::OK);
    });
}

#[test]
fn a_thousand_requests_of_one_new_caller_are_two_reviews() {
    run(async {
        let cluster = Cluster::start().await;
        let calls = (0..1000).map(|_| {
            let call = Call::get(cluster.proxy.url(&query("vector(1)"))).bearer(VIEWER);
            tokio::spawn(call.send())
        });
        let calls: Vec<_> = calls.collect();
        for call in calls {
            assert_eq!(call.await.expect("no panic").status, StatusCode::OK);
        }
        assert_eq!(cluster.api.count("tokenreviews"), 1);
        assert_eq!(cluster.api.count("subjectaccessreviews"), 1);
    });
}

#[test]
fn an_audit_line_says_who_what_and_how_it_went() {
    run(async {
        let cluster = Cluster::start().await;
        let answer = Call::get(cluster.proxy.url(&query("kube_pod_info")))
            .cookie(TEAM_A)
            .send()
            .await;
        let line = cluster.proxy.audit(&answer).await;
        let expected = serde_json::json!({
            "caller": "alice", "door": "service", "endpoint": "query", "method": "GET", "decision": "namespaces",
            "namespaces_granted": ["team-a"], "namespaces_granted_count": 1, "query": "kube_pod_info", "status": 200,
            "outcome": "complete", "bytes": answer.body.len(),
        });
        for (key, value) in expected.as_object().expect("an object") {
            assert_eq!(&line[key], value, "{key} in {line}");
        }
        let counted = r#"prom_rbac_proxy_requests_total{door="service",endpoint="query",decision="namespaces",status_class="2xx"}"#;
        assert_eq!(cluster.proxy.metric(counted).await, 1.0);
    });
}

#[test]
fn a_trace_and_the_times_of_its_parts_can_be_found_again() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    run(async {
        let cluster = Cluster::start().await;
        let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
        let call = || {
            Call::get(cluster.proxy.url(&query("kube_pod_info")))
                .bearer(TEAM_A)
                .header("traceparent", &traceparent)
                .send()
        };
        let first = cluster.proxy.audit(&call().await).await;
        assert_eq!(first["trace_id"], TRACE);
        assert!(
            first["kubernetes_ms"].as_f64().is_some_and(|ms| ms > 0.0),
            "{first}"
        );
        let second = cluster.proxy.audit(&call().await).await;
        assert!(second["kubernetes_ms"].is_null(), "all is known: {second}");
        assert!(second["upstream_ms"].as_f64().is_some_and(|ms| ms > 0.0));

        let metrics = Call::get(cluster.proxy.admin("/metrics"))
            .header("accept", "application/openmetrics-text")
            .send()
            .await;
        let exemplar = format!("# {{trace_id=\"{TRACE}\"}}");
        assert!(metrics.text().contains(&exemplar), "{}", metrics.text());
        let restricted = "prom_rbac_proxy_restricted_queries_total";
        assert_eq!(cluster.proxy.metric(restricted).await, 2.0);
        // Without the waiting, which takes longer than a test's millisecond.
        let own = "prom_rbac_proxy_own_duration_seconds";
        assert_eq!(cluster.proxy.metric(&format!("{own}_count")).await, 2.0);
        let total =
            "prom_rbac_proxy_request_duration_seconds_sum{door=\"direct\",endpoint=\"query\"}";
        let own = cluster.proxy.metric(&format!("{own}_sum")).await;
        assert!(own < cluster.proxy.metric(total).await);
    });
}
