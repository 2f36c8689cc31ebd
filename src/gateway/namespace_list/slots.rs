//! How many watches may be open. They last for up to an hour, so they have slots of their own: in those of requests,
//! they would leave none for charts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use crate::authn::Digest;

/// Watches of one caller: a few tabs, and a few programs.
const OF_A_CALLER: usize = 32;

/// Watches of all callers; each takes a few KiB.
const OF_ALL: usize = 10_000;

/// The slots. The lock is taken when a watch begins and when it ends.
#[derive(Clone)]
pub(super) struct WatchSlots(Arc<Taken>);

struct Taken {
    by_caller: Mutex<HashMap<Digest, usize>>,
    open: Gauge,
}

/// A slot; free again when dropped.
pub(super) struct WatchSlot {
    watch_slots: WatchSlots,
    caller: Digest,
}

impl WatchSlots {
    /// `open` shows how many are taken.
    pub(super) fn new(open: Gauge) -> Self {
        Self(Arc::new(Taken {
            by_caller: Mutex::default(),
            open,
        }))
    }

    /// Takes one. `None` when the caller has enough, or there is none left.
    pub(super) fn take(&self, caller: Digest) -> Option<WatchSlot> {
        let mut taken = self.0.lock();
        let all = usize::try_from(self.0.open.get()).unwrap_or(usize::MAX);
        let own = taken.get(&caller).copied().unwrap_or_default();
        if all >= OF_ALL || own >= OF_A_CALLER {
            return None;
        }
        taken.insert(caller, own + 1);
        self.0.open.inc();
        Some(WatchSlot {
            watch_slots: self.clone(),
            caller,
        })
    }
}

impl Taken {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.by_caller
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatchSlot {
    fn drop(&mut self) {
        let mut taken = self.watch_slots.0.lock();
        self.watch_slots.0.open.dec();
        if let Entry::Occupied(mut own) = taken.entry(self.caller) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}
