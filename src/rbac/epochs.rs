//! When each of many things last changed, in a fixed amount of memory.
//!
//! Things share slots by their hashes. When one of two in the same slot changes, both count as changed: that costs a
//! review, and a change is never missed.

#[cfg(not(loom))]
use std::sync;

use self::sync::atomic::{AtomicU64, Ordering};
use self::sync::{Mutex, PoisonError};
#[cfg(loom)]
use crate::model::sync;

/// A moment between two changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

#[derive(Debug)]
pub(super) struct Epochs {
    /// For each slot, the epoch that its last change began.
    slots: Box<[AtomicU64]>,
    /// The current epoch. All slots of the change that began it are written before it is.
    current: AtomicU64,
    /// Held by whoever writes. No reader takes it.
    writing: Mutex<()>,
}

impl Epochs {
    pub(super) fn new(slots: usize) -> Self {
        let slots = std::iter::repeat_with(|| AtomicU64::new(0)).take(slots.max(1));
        Self {
            slots: slots.collect(),
            current: AtomicU64::new(0),
            writing: Mutex::new(()),
        }
    }

    /// The current epoch. What is asked from now on sees every change that has begun one.
    pub(super) fn now(&self) -> Epoch {
        Epoch(self.current.load(Ordering::Acquire))
    }

    /// The slot of a hash.
    pub(super) fn slot(&self, hash: u64) -> usize {
        usize::try_from(hash % self.slots.len() as u64).unwrap_or_default()
    }

    /// Begins an epoch, as something in these slots has changed.
    pub(super) fn changed(&self, slots: impl IntoIterator<Item = usize>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.current.load(Ordering::Relaxed) + 1;
        for slot in slots {
            self.slots[slot].store(next, Ordering::Relaxed);
        }
        self.current.store(next, Ordering::Release);
    }

    /// Whether something in one of these slots has changed after `since`.
    pub(super) fn changed_since(
        &self,
        since: Epoch,
        slots: impl IntoIterator<Item = usize>,
    ) -> bool {
        self.now() > since
            && slots
                .into_iter()
                .any(|slot| self.slots[slot].load(Ordering::Relaxed) > since.0)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn k27_what_was_asked_before_a_change_has_changed_and_what_is_asked_after_it_has_not() {
        let epochs = Epochs::new(8);
        let before = epochs.now();
        assert!(!epochs.changed_since(before, [1, 2]));
        epochs.changed([1]);
        assert!(epochs.changed_since(before, [2, 1]));
        assert!(!epochs.changed_since(before, [2]));
        let after = epochs.now();
        assert!(!epochs.changed_since(after, [1]));
        epochs.changed([2, 1]);
        assert!(epochs.changed_since(after, [1]) && epochs.changed_since(after, [2]));
        assert_eq!((epochs.slot(8), epochs.slot(9)), (0, 1));
    }
}
