//! A request's tries: on the first choice, and at most once more on another endpoint.
//!
//! This ends before the head of an answer is passed on, which waits for a small answer to be complete. A failure after
//! that reaches the caller as an error. Queries change nothing, so that sending one twice costs only its work, which
//! [`Budget`] bounds.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::UpstreamError;
use crate::upstream::choice::budget::Budget;
use crate::upstream::choice::choose::{Wanted, choose};
use crate::upstream::choice::endpoint::{Endpoint, ProbeResult};
use crate::upstream::choice::endpoints::Endpoints;
use crate::upstream::metrics::Retry;

/// A long query is silent, and so is a Prometheus whose process or node hangs. After this long without a byte the
/// endpoint is probed; if it does not answer the probe either, its requests go elsewhere. A timeout for each try
/// instead would send every long query twice.
const SUSPECTED_AFTER: Duration = Duration::from_secs(1);

/// How often a waiting request checks whether another endpoint is available.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The result of a try.
#[derive(Debug)]
pub(in crate::upstream) enum Outcome<A> {
    Answered(A),
    /// Another endpoint may do better; without one, this is what the caller gets.
    Elsewhere(Result<A, UpstreamError>),
    /// Another endpoint would not do better.
    Failed(UpstreamError),
}

/// Sends requests of one worker.
pub(in crate::upstream) struct Failover {
    budget: Budget,
}

impl Failover {
    pub(in crate::upstream) fn new() -> Self {
        Self {
            budget: Budget::new(),
        }
    }

    /// Tries once, and once more where that may help, until `deadline`.
    pub(in crate::upstream) async fn send<A, F>(
        &self,
        endpoints: &Endpoints,
        wanted: Wanted,
        deadline: Instant,
        attempt: impl Fn(&Endpoint) -> F,
    ) -> Result<A, UpstreamError>
    where
        F: Future<Output = Outcome<A>>,
    {
        self.budget.deposit();
        let chosen = choose(&endpoints.now(), wanted, None).cloned();
        let first = chosen.ok_or(UpstreamError::NoEndpoint)?;
        let instead = {
            let tried = pin!(attempt(&first));
            match watched(endpoints, &first, deadline, tried).await {
                Outcome::Answered(answer) => {
                    first.served();
                    return Ok(answer);
                }
                Outcome::Failed(error) => return Err(error),
                Outcome::Elsewhere(instead) => instead,
            }
        };
        first.mark();
        let Some(second) = choose(&endpoints.now(), wanted, Some(&first)).cloned() else {
            return instead;
        };
        let retried = |result| endpoints.metrics().retried(result);
        if !self.budget.withdraw() {
            retried(Retry::Refused);
            return instead;
        }
        // Its connection goes before the next is opened.
        drop(instead);
        // Boxed, as there seldom is one, so that not every request has room for it.
        let mut tried = Box::pin(attempt(&second));
        match watched(endpoints, &second, deadline, tried.as_mut()).await {
            Outcome::Answered(answer) => {
                second.served();
                retried(Retry::Answered);
                Ok(answer)
            }
            Outcome::Failed(error) => {
                retried(Retry::Failed);
                Err(error)
            }
            Outcome::Elsewhere(instead) => {
                second.mark();
                retried(Retry::Failed);
                instead
            }
        }
    }
}

/// Waits for a try until the deadline, or until its endpoint is lost while there is another.
async fn watched<A>(
    endpoints: &Endpoints,
    endpoint: &Endpoint,
    deadline: Instant,
    mut attempt: Pin<&mut impl Future<Output = Outcome<A>>>,
) -> Outcome<A> {
    let suspected = (Instant::now() + SUSPECTED_AFTER).min(deadline);
    if let Ok(outcome) = tokio::time::timeout_at(suspected, &mut attempt).await {
        return outcome;
    }
    let lost = async {
        loop {
            if endpoints.now().len() > 1 {
                endpoint.suspect();
                endpoint.lost().await;
                if another_is_ready(endpoints, endpoint) {
                    return;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        biased;
        outcome = &mut attempt => outcome,
        () = tokio::time::sleep_until(deadline) => Outcome::Failed(UpstreamError::Timeout),
        () = lost => Outcome::Elsewhere(Err(UpstreamError::Broken)),
    }
}

fn another_is_ready(endpoints: &Endpoints, than: &Endpoint) -> bool {
    let another = |one: &Endpoint| !std::ptr::eq(one, than) && one.found() == ProbeResult::Ready;
    endpoints.now().iter().any(|one| another(one))
}

#[cfg(test)]
mod tests;
