//! Up to when no change of RBAC can have gone unseen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::Watched;

/// Values of `until`: not everything was ever watched at once; everything is watched now.
const NEVER: u64 = 0;
const NOW: u64 = u64::MAX;

/// Which watches are running. Readers take no lock.
#[derive(Debug)]
pub(super) struct Coverage {
    base: Instant,
    /// [`NEVER`], [`NOW`], or one more than the milliseconds after `base`.
    until: AtomicU64,
    /// In the order of [`Watched::ALL`].
    going_on: Mutex<[bool; Watched::ALL.len()]>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            until: AtomicU64::new(NEVER),
            going_on: Mutex::default(),
        }
    }
}

impl Coverage {
    /// A resource has been listed and all changes so far were reported, or its watch has ended.
    pub(super) fn watched(&self, resource: Watched, goes_on: bool) {
        let mut going_on = self.going_on.lock().unwrap_or_else(PoisonError::into_inner);
        let before = going_on.iter().all(|one| *one);
        going_on[resource as usize] = goes_on;
        match (before, going_on.iter().all(|one| *one)) {
            (false, true) => self.until.store(NOW, Ordering::Release),
            (true, false) => {
                let passed = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(NEVER);
                self.until.store(passed + 1, Ordering::Release);
            }
            _ => {}
        }
    }

    /// `now` while everything is watched; else when that ended. `None`: it never was.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        match self.until.load(Ordering::Acquire) {
            NEVER => None,
            NOW => Some(now),
            passed => Some(self.base + Duration::from_millis(passed - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn k27_everything_counts_as_seen_while_all_are_watched_and_up_to_the_first_loss() {
        let coverage = Coverage::default();
        let until = || coverage.until(Instant::now());
        for resource in Watched::ALL {
            assert_eq!(until(), None, "without {resource:?}");
            coverage.watched(*resource, true);
        }
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(until(), Some(Instant::now()));
        let lost = Instant::now();
        for resource in [Watched::Roles, Watched::RoleBindings] {
            coverage.watched(resource, false);
            tokio::time::advance(Duration::from_secs(7)).await;
            assert_eq!(until(), Some(lost));
        }
        coverage.watched(Watched::Roles, true);
        assert_eq!(until(), Some(lost), "one is missing still");
        coverage.watched(Watched::RoleBindings, true);
        assert_eq!(until(), Some(Instant::now()));
    }
}
