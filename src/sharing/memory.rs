//! The memory of answers under way, bounded for all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much every answer may hold from the beginning, and the step by which that grows, in bytes.
pub(super) const PIECE: usize = 64 * 1024;

/// The memory of all answers under way.
#[derive(Debug)]
pub(super) struct Memory {
    taken: AtomicUsize,
    max: usize,
}

impl Memory {
    /// So many bytes.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            max,
        })
    }

    /// How many bytes are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A first piece; `None` when too little is left.
    pub(super) fn reserve(this: &Arc<Self>) -> Option<Reserved> {
        this.take().then(|| Reserved {
            memory: this.clone(),
            bytes: PIECE,
        })
    }

    fn take(&self) -> bool {
        let more = |taken: usize| taken.checked_add(PIECE).filter(|sum| *sum <= self.max);
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok()
    }
}

/// What one answer has taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Reserved {
    /// How many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes more, up to so many bytes in all; `false` when too little is left.
    pub(super) fn reach(&mut self, bytes: usize) -> bool {
        while self.bytes < bytes {
            if !self.memory.take() {
                return false;
            }
            self.bytes += PIECE;
        }
        true
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.memory.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
