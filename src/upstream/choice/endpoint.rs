//! One Prometheus of an upstream, and what is known of it.
//!
//! Discovery, health and the tries of requests write here, the choice reads: each value is an atomic of its own,
//! so that no request waits for another. Values that belong together may be read a moment apart, which at worst
//! makes one choice a little worse.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::uri::Authority;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::upstream::choice::affinity;
use crate::upstream::choice::load::{Load, Pressure};

/// How long an endpoint is avoided after the first bad sign. Doubled by each further one, until one request
/// succeeds.
const FIRST_MARK: Duration = Duration::from_secs(2);

/// At most this many times.
const MAX_DOUBLINGS: u32 = 5;

/// Whether Kubernetes would send requests there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Offer {
    /// Ready and not ending; also where nobody says.
    Ready,
    /// Not ready, or ending.
    Withdrawn,
}

/// What the last probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum ProbeResult {
    /// No probe has completed yet.
    Nothing,
    Ready,
    /// It says that it is not ready, as while it starts or ends.
    NotReady,
    /// It does not answer.
    Lost,
}

pub(in crate::upstream) struct Endpoint {
    name: String,
    /// Spreads callers; made of the name, so that a pod that comes back gets its callers back.
    hash: u64,
    /// Never empty. A pod of a dual-stack cluster has two.
    addresses: Box<[Authority]>,
    address: AtomicUsize,
    withdrawn: AtomicU8,
    found: AtomicU8,
    pressure: AtomicU8,
    /// Bits of seconds since 1970.
    oldest: AtomicU64,
    started: AtomicU64,
    /// Milliseconds after `born`; 0 if there is no mark.
    marked_until: AtomicU64,
    marks: AtomicU32,
    born: Instant,
    suspected: Notify,
    changed: Notify,
}

impl Endpoint {
    /// An endpoint of which nothing is known yet.
    ///
    /// # Panics
    /// Without an address.
    pub(in crate::upstream) fn new(name: String, addresses: Vec<Authority>, offer: Offer) -> Self {
        assert!(!addresses.is_empty(), "an endpoint is somewhere");
        Self {
            hash: affinity::hash(name.as_bytes()),
            name,
            addresses: addresses.into(),
            address: AtomicUsize::new(0),
            withdrawn: AtomicU8::new(offer as u8),
            found: AtomicU8::new(ProbeResult::Nothing as u8),
            pressure: AtomicU8::new(Pressure::None as u8),
            oldest: AtomicU64::new(f64::INFINITY.to_bits()),
            started: AtomicU64::new(f64::INFINITY.to_bits()),
            marked_until: AtomicU64::new(0),
            marks: AtomicU32::new(0),
            born: Instant::now(),
            suspected: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// The name of its pod, or its address.
    pub(in crate::upstream) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::upstream) fn hash(&self) -> u64 {
        self.hash
    }

    pub(in crate::upstream) fn addresses(&self) -> &[Authority] {
        &self.addresses
    }

    /// The address that is used now.
    pub(in crate::upstream) fn authority(&self) -> &Authority {
        &self.addresses[self.address.load(Relaxed) % self.addresses.len()]
    }

    /// Switches to the next address when this one cannot be connected to.
    pub(in crate::upstream) fn next_address(&self) {
        self.address.fetch_add(1, Relaxed);
    }

    /// Stores what Kubernetes says.
    pub(in crate::upstream) fn offered(&self, offer: Offer) {
        self.withdrawn.store(offer as u8, Relaxed);
    }

    pub(in crate::upstream) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Relaxed) == Offer::Withdrawn as u8
    }

    /// Stores what a probe found.
    pub(in crate::upstream) fn observe(&self, found: ProbeResult) {
        self.found.store(found as u8, Relaxed);
        self.changed.notify_waiters();
    }

    pub(in crate::upstream) fn found(&self) -> ProbeResult {
        match self.found.load(Relaxed) {
            0 => ProbeResult::Nothing,
            1 => ProbeResult::Ready,
            2 => ProbeResult::NotReady,
            _ => ProbeResult::Lost,
        }
    }

    /// Stores what its metrics say.
    pub(in crate::upstream) fn observe_load(&self, load: &Load) {
        let pressure = load.pressure(self.pressure());
        self.pressure.store(pressure as u8, Relaxed);
        let store = |place: &AtomicU64, value: Option<f64>| {
            place.store(value.unwrap_or(f64::INFINITY).to_bits(), Relaxed);
        };
        store(&self.oldest, load.oldest);
        store(&self.started, load.started);
    }

    pub(in crate::upstream) fn pressure(&self) -> Pressure {
        match self.pressure.load(Relaxed) {
            0 => Pressure::None,
            1 => Pressure::Busy,
            _ => Pressure::Full,
        }
    }

    /// The time of its oldest sample, in seconds since 1970; infinity where it is not known, as if it had no samples.
    pub(in crate::upstream) fn oldest(&self) -> f64 {
        f64::from_bits(self.oldest.load(Relaxed))
    }

    /// When its process started, as [`Self::oldest`].
    pub(in crate::upstream) fn started(&self) -> f64 {
        f64::from_bits(self.started.load(Relaxed))
    }

    /// A request came back with a bad sign: it is avoided for a while, and probed at once.
    pub(in crate::upstream) fn mark(&self) {
        if self.is_marked() {
            // One outage is one sign, however many requests it hits.
            return;
        }
        let doublings = self.marks.fetch_add(1, Relaxed).min(MAX_DOUBLINGS);
        let until = self.born.elapsed() + FIRST_MARK * 2_u32.pow(doublings);
        self.marked_until.store(until.as_millis() as u64, Relaxed);
        self.suspect();
    }

    pub(in crate::upstream) fn is_marked(&self) -> bool {
        let until = self.marked_until.load(Relaxed);
        until != 0 && (self.born.elapsed().as_millis() as u64) < until
    }

    /// A request was answered.
    pub(in crate::upstream) fn served(&self) {
        // Read first: a write would take the line from the other workers for each request.
        if self.marks.load(Relaxed) != 0 && !self.is_marked() {
            self.marks.store(0, Relaxed);
        }
    }

    /// Whether requests are best sent here.
    pub(in crate::upstream) fn is_healthy(&self) -> bool {
        self.found() == ProbeResult::Ready && !self.is_marked()
    }

    /// Asks for a probe now.
    pub(in crate::upstream) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Waits until a probe is asked for.
    pub(in crate::upstream) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    /// Waits until a probe finds that it is lost.
    pub(in crate::upstream) async fn lost(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Subscribe before checking, so that no change falls between the two.
            changed.as_mut().enable();
            if self.found() == ProbeResult::Lost {
                return;
            }
            changed.await;
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("addresses", &self.addresses)
            .field("found", &self.found())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        let address = Authority::from_static("10.0.0.1:9090");
        Endpoint::new("prometheus-0".to_owned(), vec![address], Offer::Ready)
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_ends_and_lasts_longer_each_time_until_a_request_succeeds() {
        let endpoint = endpoint();
        let mut lasted = Vec::new();
        for round in 0..9 {
            if round == 8 {
                endpoint.served();
            }
            endpoint.mark();
            endpoint.mark();
            let begun = Instant::now();
            while endpoint.is_marked() {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
            lasted.push(begun.elapsed().as_millis() / 1000);
        }
        assert_eq!(lasted, [2, 4, 8, 16, 32, 64, 64, 64, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_asks_for_a_probe() {
        let endpoint = endpoint();
        endpoint.mark();
        let asked = tokio::time::timeout(Duration::from_secs(1), endpoint.suspected()).await;
        assert!(asked.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_hears_that_it_is_lost_and_of_nothing_less() {
        let endpoint = endpoint();
        let mut lost = Box::pin(endpoint.lost());
        for found in [ProbeResult::Ready, ProbeResult::NotReady] {
            endpoint.observe(found);
            let heard = tokio::time::timeout(Duration::from_secs(1), &mut lost).await;
            assert!(heard.is_err(), "{found:?}");
        }
        endpoint.observe(ProbeResult::Lost);
        let heard = tokio::time::timeout(Duration::from_secs(1), &mut lost).await;
        assert!(heard.is_ok());
    }
}
