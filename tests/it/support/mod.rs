//! What every test needs: a cluster, a Prometheus with data, the proxy as a process, and a caller's side of
//! HTTP.

pub mod client;
pub mod cluster;
pub mod frames;
pub mod oracle;
pub mod proxy;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use standins::prometheus::{Connection, Data, Options, Prometheus, Scripted};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// The runtime of all tests: what they share outlives each of them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
});

/// Runs one test. None may take longer than a minute.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
    RUNTIME.block_on(async {
        tokio::time::timeout(LIMIT, test)
            .await
            .expect("the test took longer than a minute")
    })
}

/// Where tests keep files; kept between runs, so that blocks of data are made once an hour.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A file of this test run alone.
pub fn scratch(name: &str) -> PathBuf {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = folder().join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(format!("{number}-{name}"))
}

/// Whether a connection carried a query, and not just the proxy's probes.
pub fn is_query(connection: &Connection) -> bool {
    let received = &connection.received;
    received.windows(6).any(|part| part == b"query=")
}

/// Waits until the proxy has let go of a connection that carried a query.
pub async fn query_closed(upstream: &Scripted, limit: std::time::Duration) -> bool {
    let closed = |one: &Connection| one.closed.is_some() && is_query(one);
    upstream
        .wait_until(limit, |all| all.iter().any(closed))
        .await
}

/// A Prometheus that holds the series of all namespaces; one for all tests.
pub async fn prometheus() -> &'static Prometheus {
    static PROMETHEUS: OnceCell<Prometheus> = OnceCell::const_new();
    PROMETHEUS
        .get_or_init(|| async {
            Prometheus::start(Options::new(Data::everything(), folder()))
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
            let options = Options::new(data, folder());
            let prometheus = Prometheus::start(options).await.expect("Prometheus");
            let limit = std::time::Duration::from_secs(20);
            assert!(prometheus.wait_for_targets(3, limit).await, "scraped");
            prometheus
        })
        .await
}

/// All queries of Headlamp's Prometheus plugin, as its examples have them.
pub fn headlamp_queries() -> Vec<(String, String)> {
    let rows = headlamp_rows();
    let examples = rows.iter().flat_map(|row| {
        let more = row["more_examples"].as_array().into_iter().flatten();
        let examples = std::iter::once(&row["example"]).chain(more);
        examples.map(|example| (text(&row["id"]), text(example)))
    });
    examples.collect()
}

/// The first example of each.
pub fn headlamp_templates() -> Vec<(String, String)> {
    let rows = headlamp_rows();
    let firsts = rows
        .iter()
        .map(|row| (text(&row["id"]), text(&row["example"])));
    firsts.collect()
}

fn headlamp_rows() -> Vec<serde_json::Value> {
    let rows = include_str!("../../corpus/headlamp-queries.json");
    serde_json::from_str(rows).expect("a list in JSON")
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("a text").to_owned()
}
