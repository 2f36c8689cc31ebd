//! All namespaces that a caller may read: those of the cluster, each reviewed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::access::{Access, AccessReviews, Lifetimes};
use crate::authn::{Caller, Digest};
use crate::cluster::Unavailable;
use crate::cluster::metrics::ReviewMetrics;
use crate::cluster::review_cache::{Answer, ReviewCache};
use crate::namespace::{Namespace, NamespaceSet};

/// Reviews of one computation under way at the same time.
const CONCURRENT_REVIEWS: usize = 16;

/// How long one computation may take. Reviews that were answered by then are remembered, so that the next
/// attempt begins where this one ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// The namespaces of the cluster as a watch last saw them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ClusterNamespaces(Arc<Names>);

#[derive(Debug, Default)]
struct Names {
    known: ArcSwapOption<Vec<Namespace>>,
    listed: Notify,
}

impl ClusterNamespaces {
    /// Replaces what is known.
    pub fn publish(&self, names: Vec<Namespace>) {
        self.0.known.store(Some(Arc::new(names)));
        self.0.listed.notify_waiters();
    }

    /// What is known. `None` until the first list has come.
    fn known(&self) -> Option<Arc<Vec<Namespace>>> {
        self.0.known.load_full()
    }

    /// Waits until the first list has come.
    pub async fn listed(&self) {
        let listed = self.0.listed.notified();
        if self.known().is_none() {
            listed.await;
        }
    }
}

/// Finds what a caller may read, once for all who wait for it.
pub(super) struct Readable {
    namespaces: ClusterNamespaces,
    reviews: Arc<AccessReviews>,
    access: Access,
    lifetimes: Lifetimes,
    cache: ReviewCache<Digest, Option<NamespaceSet>>,
}

impl Readable {
    pub(super) fn new(
        namespaces: ClusterNamespaces,
        reviews: Arc<AccessReviews>,
        access: Access,
        lifetimes: Lifetimes,
        metrics: ReviewMetrics,
    ) -> Self {
        let cache = ReviewCache::new(
            lifetimes.capacity,
            lifetimes.allowed + lifetimes.stale,
            metrics,
        );
        Self {
            namespaces,
            reviews,
            access,
            lifetimes,
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
            .answer(caller.digest(), || {
                let (caller, access) = (caller.clone(), self.access.clone());
                let (namespaces, reviews) = (self.namespaces.clone(), self.reviews.clone());
                let lifetimes = self.lifetimes;
                async move {
                    let computation = compute(&caller, &access, &namespaces, &reviews, lifetimes);
                    tokio::time::timeout(PATIENCE, computation)
                        .await
                        .unwrap_or(Err(Unavailable::Deadline))
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
    let reviewed: Vec<_> = stream::iter(names.to_vec())
        .map(|name| async move {
            let answer = reviews.allowed(caller, access, Some(&name)).await?;
            Ok::<_, Unavailable>((name, answer))
        })
        .buffer_unordered(CONCURRENT_REVIEWS)
        .try_collect()
        .await?;
    let now = Instant::now();
    let allowed = || reviewed.iter().filter(|(_, answer)| answer.value);
    // A permission must not outlive its own answer because it was counted into a set.
    let fresh_for = allowed()
        .map(|(_, answer)| answer.fresh_until.saturating_duration_since(now))
        .min()
        .unwrap_or(lifetimes.denied)
        .min(lifetimes.allowed);
    let set = NamespaceSet::new(allowed().map(|(name, _)| name.clone()));
    Ok(Answer {
        value: set,
        fresh_for,
        usable_for: fresh_for + lifetimes.stale,
    })
}
