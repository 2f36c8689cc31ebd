//! Ids of requests, traces and spans, and the mixing of numbers behind them. They need not be secret.

use std::sync::atomic::{AtomicU64, Ordering};

/// What SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014) adds for each number.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64: similar numbers become very different, and no two become equal. The same on every
/// machine and in every release.
pub fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Distinct numbers that look random, from a random start, so that two replicas do not produce the same ones.
#[derive(Debug)]
pub struct Numbers(AtomicU64);

impl Numbers {
    /// Starts at a random number.
    ///
    /// # Panics
    /// When the operating system has no random numbers to give.
    pub fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let first = ring::rand::generate::<[u8; 8]>(&random)
            .expect("the operating system gives random numbers");
        Self(AtomicU64::new(u64::from_ne_bytes(first.expose())))
    }

    pub fn next(&self) -> u64 {
        mix(self.0.fetch_add(STEP, Ordering::Relaxed))
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::new()
    }
}
