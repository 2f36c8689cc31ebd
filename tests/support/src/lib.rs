//! What the suites, the benchmarks and the demo have in common: the proxy as a process, a caller, a cluster with
//! callers in it, and where files are kept. What surrounds the proxy is in `standins`.

pub mod client;
pub mod cluster;
pub mod files;
pub mod frames;
pub mod headlamp;
pub mod kubectl;
pub mod metrics;
pub mod oracle;
pub mod prometheus;
pub mod proxy;

use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Runtime;

pub use files::{cache, scratch};

/// Nothing that is waited for takes longer.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The runtime of all tests: what they share outlives each of them.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
    });
    &RUNTIME
}

/// Runs one test. None may take longer than a minute.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    run_within(Duration::from_secs(60), test)
}

/// Runs one test that does the same some thousand times, which takes its time on a machine that is busy.
pub fn run_within<T>(limit: Duration, test: impl Future<Output = T>) -> T {
    runtime().block_on(async {
        tokio::time::timeout(limit, test)
            .await
            .unwrap_or_else(|_| panic!("the test took longer than {limit:?}"))
    })
}

/// Waits for something that is expected within [`LIMIT`].
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}
