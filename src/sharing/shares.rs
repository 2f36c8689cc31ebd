//! What may be shared for a request, by the door that it came through and by what it asks.

use super::metrics::Unshared;
use crate::config;
use crate::door::Door;
use crate::prometheus::{Endpoint, Live, PrometheusRequest};

/// The configuration of sharing for one upstream.
#[derive(Debug)]
pub(super) struct Rules {
    join: Vec<Door>,
    align: Vec<Door>,
    keep: Vec<Door>,
    /// In seconds.
    grid: u64,
}

/// What may be shared for one request. `Rules::apply` decides all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub(super) join: Result<(), Unshared>,
    /// Its times, where a kept answer will do.
    pub(super) keep: Option<Live>,
    /// The points of each series that Prometheus need not compute if it is not asked.
    pub(super) points: u64,
}

impl Rules {
    pub(super) fn new(config: &config::Sharing) -> Self {
        Self {
            join: config.join.clone(),
            align: config.align.clone(),
            keep: config.keep.clone(),
            grid: config.grid.as_secs(),
        }
    }

    /// How long an answer is kept, in seconds.
    pub(super) fn lifetime(&self, live: Live) -> u64 {
        live.grid(self.grid)
    }

    /// Decides about a request that came through `door`, and moves its times to the grid where that is to be done.
    pub(super) fn apply(&self, request: &mut PrometheusRequest, door: Door) -> Shares {
        let (align, keep) = (self.align.contains(&door), self.keep.contains(&door));
        let now = || u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
        let mut live = (align || keep).then(|| request.live(now())).flatten();
        if let Some(live) = &mut live
            && align
        {
            *live = request.align(*live, self.grid);
        }
        Shares {
            join: if !self.join.contains(&door) {
                Err(Unshared::Off)
            } else if !is_joined(request.endpoint()) {
                Err(Unshared::Endpoint)
            } else {
                Ok(())
            },
            keep: live.filter(|_| keep),
            points: request.points(),
        }
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
