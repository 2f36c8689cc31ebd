//! Which charts are refreshed, and by more than one viewer: only their answers are kept.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use super::key::{Hashing, Key};
use crate::prometheus::Live;

/// How many sets of charts are remembered.
const SETS: usize = 2048;

/// Charts of one set, on one cache line. One more makes the one forgotten that was asked for longest ago. With one
/// place instead of a set, two charts that meet in it would be forgotten at each other's refresh, for as long as both
/// are open.
const PLACES: usize = 8;

/// How long a chart counts as being refreshed, in seconds: a few of the plugin's intervals.
pub(super) const LATELY: u32 = 60;

/// When charts were asked for last.
#[derive(Debug)]
pub(super) struct Charts {
    sets: Box<[Set]>,
    hasher: Hashing,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; PLACES]);

/// What is known of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChartState {
    /// Whether the same was asked before, so that its answer may be kept already.
    pub(super) look: bool,
    /// Whether its answer is worth keeping.
    pub(super) keep: bool,
}

impl Charts {
    /// Knows of no chart yet.
    pub(super) fn new() -> Self {
        Self {
            sets: (0..SETS).map(|_| Set::default()).collect(),
            hasher: Hashing::default(),
        }
    }

    /// Notes that a chart was asked for.
    pub(super) fn asked(&self, key: &Key, live: Live) -> ChartState {
        let mut hasher = self.hasher.build_hasher();
        key.hash_chart(&mut hasher);
        let hash = hasher.finish();
        let set = &self.sets[hash as usize % SETS];
        set.asked((hash >> 40) as u32, live.end() as u32)
    }
}

impl Set {
    fn asked(&self, which: u32, end: u32) -> ChartState {
        let noted = |place: &AtomicU64| Chart(place.load(Ordering::Relaxed));
        let same = self.0.iter().find(|place| noted(place).is(which));
        let oldest = || {
            let age = |place: &&AtomicU64| end.saturating_sub(noted(place).end());
            self.0.iter().max_by_key(age)
        };
        let Some(place) = same.or_else(oldest) else {
            return ChartState::NEW;
        };
        // What another worker notes at the same time may be lost, which only makes one kept answer more or less.
        let (anew, standing) = noted(place).asked(which, end);
        if let Some(Chart(anew)) = anew {
            place.store(anew, Ordering::Relaxed);
        }
        standing
    }
}

impl ChartState {
    const NEW: Self = Self {
        look: false,
        keep: false,
    };
}

/// When a chart was asked for, in one word: 24 bits for the chart, 32 for the end that was asked for last, and a flag.
#[derive(Clone, Copy)]
struct Chart(u64);

impl Chart {
    const END: u32 = 8;
    const WHICH: u32 = 40;
    /// That end was asked for more than once.
    const AGAIN: u64 = 1;

    fn new(which: u32, end: u32) -> Self {
        Self(u64::from(which) << Self::WHICH | u64::from(end) << Self::END)
    }

    fn is(self, which: u32) -> bool {
        self.0 >> Self::WHICH == u64::from(which)
    }

    fn end(self) -> u32 {
        (self.0 >> Self::END) as u32
    }

    /// What to note instead, if anything, and what that means.
    fn asked(self, which: u32, end: u32) -> (Option<Self>, ChartState) {
        let last = self.end();
        let anew = Some(Self::new(which, end));
        let standing = |look, keep| ChartState { look, keep };
        let lately = end.wrapping_sub(last) <= LATELY || last.wrapping_sub(end) <= LATELY;
        if !self.is(which) || !lately {
            (anew, ChartState::NEW)
        } else if end == last {
            let again = self.0 | Self::AGAIN;
            (
                (again != self.0).then_some(Self(again)),
                standing(true, true),
            )
        } else if end.wrapping_sub(last) <= LATELY {
            let popular = self.0 & Self::AGAIN != 0;
            (anew, standing(false, popular))
        } else {
            // Somebody whose clock is behind.
            (None, standing(true, false))
        }
    }
}

#[cfg(test)]
#[path = "tests/charts.rs"]
mod tests;
