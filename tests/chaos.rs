//! What callers notice while Prometheus, Kubernetes or the proxy itself fails: the real binary before real
//! Prometheus processes, under constant load from many callers. Each case prints `case NAME requests N failed M`.
//!
//! The cases are short here. With `CHAOS_LONG=1`, as `make chaos` runs them, each phase is ten times as long, and no
//! two cases run at the same time.

#![allow(unreachable_pub, reason = "a test is a crate that nobody reaches into")]

/// An upstream that answers what no Prometheus does.
#[path = "chaos/answers.rs"]
mod answers;
/// Where Prometheus is found, and which one is asked.
#[path = "chaos/discovery.rs"]
mod discovery;
/// Callers at work.
#[path = "chaos/load.rs"]
mod load;
/// What goes away and comes back.
#[path = "chaos/outages.rs"]
mod outages;
/// A connection that breaks.
#[path = "chaos/relay.rs"]
mod relay;
/// A Prometheus that is killed and started again.
#[path = "chaos/replica.rs"]
mod replica;
/// The proxy and its certificate are replaced.
#[path = "chaos/restarts.rs"]
mod restarts;
/// Load for ten minutes.
#[path = "chaos/soak.rs"]
mod soak;
/// The cluster around them.
#[path = "chaos/stage.rs"]
mod stage;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Runs one case; the long ones one after the other.
pub fn run(case: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = is_long().then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    run_for(Duration::from_secs(if is_long() { 300 } else { 60 }), case);
}

/// Runs one case that may take this long.
pub fn run_for(limit: Duration, case: impl Future<Output = ()>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ended = tokio::time::timeout(limit, case).await;
        ended.expect("the case took too long");
    });
    runtime.shutdown_background();
}

/// Whether there is time.
pub fn is_long() -> bool {
    std::env::var_os("CHAOS_LONG").is_some_and(|value| value == "1")
}

/// Lets the load go on for a phase.
pub async fn phase(milliseconds: u64) {
    let times = if is_long() { 10 } else { 1 };
    tokio::time::sleep(Duration::from_millis(milliseconds * times)).await;
}
