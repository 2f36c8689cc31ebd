//! Answers that several callers get, between the restriction of a request and Prometheus.
//!
//! ```text
//! UpstreamRequest -> key -> table of requests under way
//!                             the first of its kind    flight     sent; its answer streamed from its connection
//!                             another one              waits for that; then all read one broadcast
//! ```
//!
//! What is shared is what Prometheus says, before filters and warnings, which are each caller's own. It is found by the
//! [`UpstreamRequest`], which only a permit leads to: two callers meet where what they may see has made the same text of
//! what they ask. Places, deadlines and records stay each caller's own.
//!
//! All workers share the table, whose locks are held for as long as a look at it takes.

mod broadcast;
mod clients;
mod flight;
mod key;
pub mod metrics;

pub use self::clients::{Answered, Client, Clients};
pub use self::metrics::Answer;

use std::sync::Arc;

use self::broadcast::Memory;
use self::flight::Table;
use self::metrics::SharedMetrics;
use crate::config;
use crate::door::Door;
use crate::prometheus::Endpoint;

/// What of the memory answers under way may take: the rest is for those that are kept.
const SHARE_UNDER_WAY: usize = 4;

/// What all workers share of one upstream's answers.
#[derive(Debug)]
pub struct Sharing {
    join: Vec<Door>,
    memory: Arc<Memory>,
    table: Arc<Table>,
    metrics: SharedMetrics,
}

impl Sharing {
    /// Holds nothing yet.
    pub fn new(config: &config::Sharing, metrics: SharedMetrics) -> Arc<Self> {
        let memory = Memory::new(config.max_bytes / SHARE_UNDER_WAY);
        Arc::new(Self {
            join: config.join.clone(),
            table: Table::new(memory.clone()),
            memory,
            metrics,
        })
    }

    /// Sets the gauge of the bytes that are held.
    pub fn refresh_gauges(&self) {
        self.metrics.held(self.memory.taken());
    }
}

/// Whether requests for it are joined: those that have Prometheus read series, or a whole list, for a JSON answer.
/// Federation is for another Prometheus, alone and large; what is missing here costs nothing.
fn is_joined(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::Query
            | Endpoint::QueryRange
            | Endpoint::QueryExemplars
            | Endpoint::Series
            | Endpoint::Labels
            | Endpoint::LabelValues
            | Endpoint::Rules
            | Endpoint::Alerts
            | Endpoint::Metadata
            | Endpoint::Targets
            | Endpoint::TargetsMetadata
            | Endpoint::TsdbStatus
    )
}
