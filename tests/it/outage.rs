//! Kubernetes away, slow, and back.

use http::StatusCode;

use crate::support::client::{Call, query};
use crate::support::cluster::{Cluster, TEAM_A, VIEWER};
use crate::support::run;

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
        let metrics = Call::get(cluster.proxy.admin("/metrics")).send().await;
        assert!(metrics.text().ends_with("# EOF\n"));
        assert!(
            metrics.headers["content-type"]
                .to_str()
                .expect("text")
                .starts_with("application/openmetrics-text")
        );
    });
}
