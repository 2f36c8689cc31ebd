//! Ties a caller to an endpoint, by a number that is the same in every replica of this program.
//!
//! Not the digest that caches use, whose key differs from process to process: behind two replicas a caller
//! would get each chart from another Prometheus in turn.

use crate::telemetry::ids::mix;

/// Ties the requests of a caller together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity(u64);

impl Affinity {
    /// The affinity of a user's name.
    pub fn of(username: &str) -> Self {
        Self(hash(username.as_bytes()))
    }

    /// A number from this caller and an endpoint's hash, evenly spread between 0 and 1, both excluded.
    pub(in crate::upstream) fn with(self, endpoint: u64) -> f64 {
        const BITS: u32 = 53;
        let mixed = mix(self.0 ^ endpoint.rotate_left(32)) >> (u64::BITS - BITS);
        (mixed as f64 + 0.5) / (1_u64 << BITS) as f64
    }
}

/// FNV-1a, whose result never changes; the standard library's hasher does not promise that. It need not be hard to
/// guess: by choosing a name one could only choose a Prometheus.
pub(in crate::upstream) fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}
