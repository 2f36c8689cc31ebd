//! All namespaces that a caller may read: those of the cluster, each reviewed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::access::{Access, AccessReviews, Lifetimes};
use crate::authn::{Caller, Digest};
use crate::cluster::metrics::ReviewMetrics;
use crate::cluster::review_cache::{Answer, ReviewCache};
use crate::cluster::{ClusterNamespaces, Unavailable};
use crate::namespace::NamespaceSet;

/// Finds what a caller may read, once for all who wait for it.
pub(super) struct Readable {
    namespaces: ClusterNamespaces,
    reviews: Arc<AccessReviews>,
    access: Access,
    lifetimes: Lifetimes,
    patience: Duration,
    cache: ReviewCache<Digest, Option<NamespaceSet>>,
}

impl Readable {
    /// One computation may take `patience`. Reviews that were answered by then are remembered, so that the next
    /// attempt begins where this one ended.
    pub(super) fn new(
        namespaces: ClusterNamespaces,
        reviews: Arc<AccessReviews>,
        access: Access,
        lifetimes: Lifetimes,
        patience: Duration,
        metrics: ReviewMetrics,
    ) -> Self {
        let cache = ReviewCache::new(lifetimes.capacity, lifetimes.allowed, metrics);
        Self {
            namespaces,
            reviews,
            access,
            lifetimes,
            patience,
            cache,
        }
    }

    /// The set. `None` when it is empty.
    ///
    /// # Errors
    /// When it cannot be completed in time: never a smaller set instead.
    pub(super) async fn of(&self, caller: &Caller) -> Result<Option<NamespaceSet>, Unavailable> {
        let answer = self
            .cache
            .answer(caller.digest(), |_| {
                let (caller, access) = (caller.clone(), self.access.clone());
                let (namespaces, reviews) = (self.namespaces.clone(), self.reviews.clone());
                let (lifetimes, patience) = (self.lifetimes, self.patience);
                async move {
                    let computation = compute(&caller, &access, &namespaces, &reviews, lifetimes);
                    tokio::time::timeout(patience, computation)
                        .await
                        .unwrap_or(Err(Unavailable::OutOfTime))
                }
            })
            .await?;
        Ok(answer.value)
    }
}

async fn compute(
    caller: &Caller,
    access: &Access,
    namespaces: &ClusterNamespaces,
    reviews: &AccessReviews,
    lifetimes: Lifetimes,
) -> Result<Answer<Option<NamespaceSet>>, Unavailable> {
    let names = namespaces.known().ok_or(Unavailable::NamespacesUnknown)?;
    let reviewed = reviews.allowed_in(caller, access, names.to_vec()).await?;
    let now = Instant::now();
    let allowed = || reviewed.iter().filter(|(_, answer)| answer.value);
    // A permission must not outlive its own answer because it was counted into a set, so the oldest counts. While
    // Kubernetes does not answer the set is made anew of what is remembered of each namespace: an old set would hold
    // what is known to be gone.
    let fresh_until = allowed().map(|(_, answer)| answer.fresh_until);
    let fresh_until = fresh_until.min().unwrap_or(now + lifetimes.denied);
    Ok(Answer {
        value: NamespaceSet::new(allowed().map(|(name, _)| name.clone())),
        fresh_until,
        usable_until: fresh_until,
        stale: false,
    })
}
