//! Shared answers: one answer of Prometheus for several callers, after each request has been restricted.
//!
//! ```text
//! PrometheusRequest -> shares   what of it may be shared; its times on a grid
//! UpstreamRequest -> key -> kept                     one that was got a little earlier
//!                       -> table of requests under way
//!                             the first of its kind    flight     sent; its answer streamed from its connection
//!                             another one              waits for that; then all read one broadcast
//! ```
//!
//! What is shared is what Prometheus says, before filters and warnings, which are each caller's own. It is found by the
//! [`UpstreamRequest`], which only a permit leads to: two callers meet where what they may see has made the same text
//! of what they ask. Slots, deadlines and records stay each caller's own.
//!
//! All workers share the kept answers and the table, whose locks are held only for a lookup.
//!
//! [`UpstreamRequest`]: crate::upstream::request::UpstreamRequest

mod broadcast;
mod charts;
mod clients;
mod flight;
mod kept;
mod key;
mod memory;
pub mod metrics;
mod shares;

use std::sync::Arc;

use self::charts::Charts;
pub use self::clients::{Answered, Client, Clients};
use self::flight::Table;
use self::kept::Kept;
use self::memory::Memory;
pub use self::metrics::Answer;
use self::metrics::SharedMetrics;
use self::shares::Rules;
pub use self::shares::Shares;
use crate::config;

/// The share of the memory that answers under way may take; the rest is for kept answers.
const SHARE_UNDER_WAY: u64 = 4;

/// What all workers share of one upstream's answers.
#[derive(Debug)]
pub struct Sharing {
    rules: Rules,
    memory: Arc<Memory>,
    table: Arc<Table>,
    charts: Charts,
    kept: Arc<Kept>,
    metrics: SharedMetrics,
}

impl Sharing {
    /// Holds nothing yet.
    pub fn new(config: &config::Sharing, metrics: SharedMetrics) -> Arc<Self> {
        let under_way = config.max_bytes / SHARE_UNDER_WAY;
        let memory = Memory::new(usize::try_from(under_way).unwrap_or(usize::MAX));
        let kept = Kept::new(config.max_bytes - under_way, memory.clone());
        Arc::new(Self {
            rules: Rules::new(config),
            table: Table::new(memory.clone()),
            charts: Charts::new(),
            kept: Arc::new(kept),
            memory,
            metrics,
        })
    }

    /// Drops the kept answers, as nobody will look for them any more. Answers under way go on.
    pub fn clear(&self) {
        self.kept.clear();
    }

    /// Sets the gauge of the bytes that are held.
    pub fn refresh_gauges(&self) {
        self.metrics
            .held(self.memory.taken() as u64 + self.kept.bytes());
    }
}
