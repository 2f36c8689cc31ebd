//! Which endpoint of an upstream a request goes to. `docs/upstreams.md` tells operators the same.
//!
//! First what speaks against an endpoint is weighed; only those with the least against them are left:
//!
//! | against it                                                            | weight |
//! | --------------------------------------------------------------------- | -----: |
//! | its last probe failed, or it said that it is not ready                | 32     |
//! | requests failed there a moment ago                                    | 16     |
//! | Kubernetes says not ready or ending, or it was not probed yet         | 8      |
//! | all its query slots are taken                                         | 4      |
//! | it lacks the start of the asked range, and another one has more of it | 2      |
//! | its process started within the asked range, so there is a gap         | 1      |
//!
//! Each weight is more than all below it together. No endpoint is ever excluded: when everything speaks against
//! all of them, health is more likely to be wrong than each Prometheus.
//!
//! Among those left, rendezvous hashing ties a caller to one: each endpoint draws a number from the caller's name
//! and its own, and the lowest wins. So a caller's charts come from one Prometheus, callers spread evenly, and
//! when an endpoint comes or goes, only its own callers move. The numbers of a busy endpoint are raised, which
//! moves a share of its callers; moving all would only make the next one busy.

use std::sync::Arc;

use crate::upstream::choice::affinity::Affinity;
use crate::upstream::choice::endpoint::{Endpoint, ProbeResult};
use crate::upstream::choice::load::Pressure;

const NOT_READY: u32 = 32;
const MARKED: u32 = 16;
const WITHDRAWN: u32 = 8;
const FULL: u32 = 4;
const LACKS_START: u32 = 2;
const GAP: u32 = 1;

/// Two replicas write their first block minutes apart, and no chart shows that.
const START_TOLERANCE: f64 = 300.0;

/// How far a query without a range looks back: the usual window of a rate, in seconds.
const LOOKBACK: f64 = 300.0;

/// The shares of a busy and of a full endpoint in the draw.
const BUSY_SHARE: f64 = 0.5;
const FULL_SHARE: f64 = 0.2;

/// What the choice for a request depends on.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) struct Wanted {
    /// Whose request it is.
    pub(in crate::upstream) affinity: Affinity,
    /// The start of the asked range, in seconds since 1970. `None`: about now.
    pub(in crate::upstream) start: Option<f64>,
}

/// Chooses one that is not `except`. `None` if there is no other.
pub(in crate::upstream) fn choose<'e>(
    endpoints: &'e [Arc<Endpoint>],
    wanted: Wanted,
    except: Option<&Endpoint>,
) -> Option<&'e Arc<Endpoint>> {
    let but = |endpoint: &Endpoint| !except.is_some_and(|except| std::ptr::eq(except, endpoint));
    if let [only] = endpoints {
        return but(only).then_some(only);
    }
    let start = wanted.start.unwrap_or_else(lookback_start);
    let usable = endpoints.iter().filter(|endpoint| health(endpoint) == 0);
    let best = usable
        .map(|endpoint| endpoint.oldest())
        .fold(f64::INFINITY, f64::min);
    let enough = start.max(best) + START_TOLERANCE;
    let mut chosen: Option<(u32, f64, &Arc<Endpoint>)> = None;
    for endpoint in endpoints.iter().filter(|endpoint| but(endpoint)) {
        let against = health(endpoint)
            + weight(endpoint.pressure() == Pressure::Full, FULL)
            + weight(endpoint.oldest() > enough, LACKS_START)
            + weight(endpoint.started() > start, GAP);
        let drawn = drawn(endpoint, wanted.affinity);
        let better = chosen.is_none_or(|(least, lowest, _)| {
            against < least || (against == least && drawn < lowest)
        });
        if better {
            chosen = Some((against, drawn, endpoint));
        }
    }
    chosen.map(|(_, _, endpoint)| endpoint)
}

/// The weights against an endpoint that do not depend on the request.
fn health(endpoint: &Endpoint) -> u32 {
    let found = endpoint.found();
    weight(
        matches!(found, ProbeResult::NotReady | ProbeResult::Lost),
        NOT_READY,
    ) + weight(endpoint.is_marked(), MARKED)
        + weight(
            endpoint.is_withdrawn() || found == ProbeResult::Nothing,
            WITHDRAWN,
        )
}

fn weight(holds: bool, weight: u32) -> u32 {
    if holds { weight } else { 0 }
}

/// The number that an endpoint draws: exponentially distributed, so that dividing by a share gives that share
/// of the wins.
fn drawn(endpoint: &Endpoint, affinity: Affinity) -> f64 {
    let share = match endpoint.pressure() {
        Pressure::None => 1.0,
        Pressure::Busy => BUSY_SHARE,
        Pressure::Full => FULL_SHARE,
    };
    -affinity.with(endpoint.hash()).ln() / share
}

fn lookback_start() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64() - LOOKBACK
}

#[cfg(test)]
mod tests;
