//! The Prometheus processes that tests share, and what upstreams in their place have seen.

use std::time::Duration;

use standins::prometheus::{Connection, Data, Options, Prometheus, Scripted};
use tokio::sync::OnceCell;

use crate::cache;

/// A Prometheus that holds the series of all namespaces; one for all tests.
pub async fn everything() -> &'static Prometheus {
    static PROMETHEUS: OnceCell<Prometheus> = OnceCell::const_new();
    PROMETHEUS
        .get_or_init(|| async {
            Prometheus::start(Options::new(Data::everything(), cache()))
                .await
                .expect("Prometheus")
        })
        .await
}

/// One that scrapes; one for all tests, once it has scraped all its targets.
pub async fn scraping() -> &'static Prometheus {
    static PROMETHEUS: OnceCell<Prometheus> = OnceCell::const_new();
    PROMETHEUS
        .get_or_init(|| async {
            let data = Data::nothing().scraping(["team-a", "victim"]);
            let options = Options::new(data, cache());
            let prometheus = Prometheus::start(options).await.expect("Prometheus");
            let limit = Duration::from_secs(20);
            assert!(prometheus.wait_for_targets(3, limit).await, "scraped");
            prometheus
        })
        .await
}

/// The series of team-a, by the labels that the shipped configuration names.
pub fn of_team_a() -> Data {
    Data::only(["team-a"])
        .counting("keda_", "exported_namespace")
        .counting("capi_cluster_", "cluster_namespace")
}

/// Whether a connection carried a query, and not just the proxy's probes.
pub fn is_query(connection: &Connection) -> bool {
    let received = &connection.received;
    received.windows(6).any(|part| part == b"query=")
}

/// Waits until the proxy has let go of a connection that carried a query.
pub async fn query_closed(upstream: &Scripted, limit: Duration) -> bool {
    let closed = |one: &Connection| one.closed.is_some() && is_query(one);
    upstream
        .wait_until(limit, |all| all.iter().any(closed))
        .await
}
