//! The backoff before a watch of Kubernetes objects is started again.
//!
//! kube's own backoff grows to a minute: after an outage of half that time the API server would be back unnoticed, and
//! requests would go to pods that are gone. Two small requests every few seconds do not burden an API server.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

/// The first pause, and the longest. Each is twice the one before.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);

/// After a watch has worked for this long, the first pause is used again.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Growing pauses, each shortened at random by up to a half, so that replicas do not retry at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    attempts: u32,
    last: Option<Instant>,
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now - last > FORGOTTEN) {
            self.attempts = 0;
        }
        self.last = Some(now);
        let whole = FIRST.saturating_mul(1 << self.attempts.min(8)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        // Without a random number it is the longest pause.
        Some(whole.mul_f64(1.0 - random_share() / 2.0))
    }
}

/// A random number from 0 to 1, so that replicas do not all act at the same moment; 0 where there is no randomness.
pub(crate) fn random_share() -> f64 {
    let mut chance = [0; 2];
    let _ = SystemRandom::new().fill(&mut chance);
    f64::from(u16::from_ne_bytes(chance)) / f64::from(u16::MAX)
}

impl Backoff for Pauses {
    /// Does nothing: it is called for each event, and a list that is going to be refused begins with one.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use kube::runtime::WatchStreamExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_five_seconds_and_are_cut_by_up_to_a_half() {
        for _ in 0..100 {
            let pauses: Vec<_> = Pauses::default().take(100).collect();
            for (pause, whole) in pauses.iter().zip([500, 1000, 2000, 4000, 5000, 5000]) {
                let whole = Duration::from_millis(whole);
                assert!(*pause <= whole && *pause >= whole / 2, "{pause:?}");
            }
            assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_watches_do_not_pause_for_the_same_time() {
        let (one, other): (Vec<_>, Vec<_>) = (
            Pauses::default().take(8).collect(),
            Pauses::default().take(8).collect(),
        );
        assert_ne!(one, other);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_has_worked_for_a_while_begins_with_the_first_pause() {
        let mut pauses = Pauses::default();
        for _ in 0..8 {
            let pause = pauses.next().expect("without end");
            tokio::time::advance(pause).await;
        }
        assert!(pauses.next() > Some(FIRST));
        tokio::time::advance(FORGOTTEN + LONGEST).await;
        assert!(pauses.next() <= Some(FIRST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_begins_and_is_refused_each_time_is_tried_ever_less_often() {
        let events = stream::iter([Ok(()), Err(())]).cycle();
        let start = Instant::now();
        let paused = events.backoff(Pauses::default());
        let refused = paused.filter(|event| std::future::ready(event.is_err()));
        refused.take(11).collect::<Vec<_>>().await;
        // Ten pauses: 0.5, 1, 2, 4 and six times 5 seconds, each cut by up to a half.
        assert!(start.elapsed() >= Duration::from_millis(37_500 / 2));
        assert!(start.elapsed() <= Duration::from_millis(37_600));
    }
}
