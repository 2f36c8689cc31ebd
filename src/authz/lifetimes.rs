//! How long answers of reviews count: by their age, and for longer while all changes that could make them wrong are
//! watched.

use std::time::Duration;

use tokio::time::Instant;

use super::access::Reviewed;

/// How long answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a permission.
    pub allowed: Duration,
    /// Of a denial.
    pub denied: Duration,
    /// Of either while every change of RBAC is watched, once RBAC has given it for as long as `allowed`. Never shortens
    /// these.
    pub watched: Duration,
    /// Of either after it has expired, while Kubernetes does not answer.
    pub stale: Duration,
    /// How many are kept.
    pub capacity: u64,
}

impl Lifetimes {
    /// The longest that an answer serves without being asked again.
    pub(super) fn longest(&self) -> Duration {
        self.allowed.max(self.denied).max(self.watched)
    }

    /// Until when an answer serves.
    pub(super) fn term(&self, reviewed: &Reviewed) -> Term {
        let short = if reviewed.allowed {
            self.allowed
        } else {
            self.denied
        };
        let watched = match reviewed.settled {
            // A lifetime of zero: not cached.
            true if short > Duration::ZERO => self.watched.max(short),
            _ => short,
        };
        Term {
            until: reviewed.came + short,
            watched_until: reviewed.came + watched,
            grace: short,
        }
    }
}

/// Until when an answer counts, or a result of several answers.
///
/// A watch vouches for an answer until the watch is lost. From then on the answer counts as if it had been given at
/// that moment: it has `grace` left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// Until then in any case.
    pub(super) until: Instant,
    /// Until then while all is watched; not before `until`, unless made of several.
    pub(super) watched_until: Instant,
    /// How long it counts after the watch was lost.
    pub(super) grace: Duration,
}

impl Term {
    /// Until then, whatever is watched.
    pub(super) fn fixed(until: Instant) -> Self {
        Self {
            until,
            watched_until: until,
            grace: Duration::ZERO,
        }
    }

    /// As long as both count.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            until: self.until.min(other.until),
            watched_until: self.watched_until.min(other.watched_until),
            grace: self.grace.min(other.grace),
        }
    }

    /// No longer than that.
    pub(super) fn by(self, end: Instant) -> Self {
        Self {
            until: self.until.min(end),
            watched_until: self.watched_until.min(end),
            ..self
        }
    }

    /// Whether it counts now; `told_until` says up to when every change was seen.
    pub(super) fn counts(
        &self,
        now: Instant,
        told_until: impl FnOnce() -> Option<Instant>,
    ) -> bool {
        now < self.until || now < self.end(told_until())
    }

    /// When it ends if every change was seen up to `told_until`, as far as is known now.
    pub(super) fn end(&self, told_until: Option<Instant>) -> Instant {
        let watched = told_until.map(|told| (told + self.grace).min(self.watched_until));
        watched.map_or(self.until, |watched| watched.max(self.until))
    }

    /// When it ends if nothing is lost.
    pub(super) fn longest(&self) -> Instant {
        self.until.max(self.watched_until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn term(start: Instant, (until, watched, grace): (u64, u64, u64)) -> Term {
        Term {
            until: start + Duration::from_secs(until),
            watched_until: start + Duration::from_secs(until + watched),
            grace: Duration::from_secs(grace),
        }
    }

    proptest! {
        /// What was made of several never outlives one of them, wherever a watch ends.
        #[test]
        fn k27_what_several_say_together_ends_with_the_first_of_them(
            parts in prop::collection::vec((0..100_u64, 0..400_u64, 0..100_u64), 1..6),
            told in prop::option::of(0..600_u64),
            cap in 0..600_u64,
        ) {
            let start = Instant::now();
            let told = told.map(|told| start + Duration::from_secs(told));
            let parts: Vec<_> = parts.into_iter().map(|part| term(start, part)).collect();
            let together = parts.iter().copied().reduce(Term::and).expect("one");
            let first = parts.iter().map(|part| part.end(told)).min().expect("one");
            prop_assert!(together.end(told) <= first);
            prop_assert!(together.end(told) <= together.longest());
            let cap = start + Duration::from_secs(cap);
            prop_assert!(together.by(cap).end(told) <= cap.min(first));
        }
    }

    #[test]
    fn k27_a_watch_that_is_lost_has_vouched_up_to_then() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let term = term(start, (60, 240, 60));
        for (told, end) in [
            (None, 60),
            (Some(0), 60),
            (Some(100), 160),
            (Some(290), 300),
        ] {
            assert_eq!(term.end(told.map(at)), at(end), "{told:?}");
        }
        assert_eq!(Term::fixed(at(7)).end(Some(at(100))), at(7));
    }
}
