//! How long an answer waits for slow readers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long an answer waits for slow readers, in all.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The time for which slow readers are waited for.
#[derive(Default)]
pub(super) struct Grace {
    used: Duration,
    waiting: Option<Wait>,
}

struct Wait {
    since: Instant,
    until: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Grace {
    pub(super) fn is_over(&self) -> bool {
        self.used >= GRACE
    }

    /// Waits until then, or for what is left of it.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, until: Instant) -> Poll<()> {
        let now = Instant::now();
        if self
            .waiting
            .as_ref()
            .is_some_and(|wait| wait.until != until)
        {
            self.pause();
        }
        if self.is_over() || until <= now {
            self.pause();
            return Poll::Ready(());
        }
        let left = GRACE.saturating_sub(self.used);
        let wait = self.waiting.get_or_insert_with(|| Wait {
            since: now,
            until,
            sleep: Box::pin(tokio::time::sleep_until(until.min(now + left))),
        });
        ready!(wait.sleep.as_mut().poll(context));
        self.pause();
        Poll::Ready(())
    }

    pub(super) fn pause(&mut self) {
        if let Some(wait) = self.waiting.take() {
            self.used += wait.since.elapsed();
        }
    }
}
