//! All namespaces that a caller may read: the candidates, each reviewed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::access::{Access, AccessReviews, Lifetimes};
use crate::authn::{Caller, Digest};
use crate::cluster::Unavailable;
use crate::cluster::metrics::ReviewMetrics;
use crate::cluster::review_cache::{Answer, Known, ReviewCache};
use crate::namespace::NamespaceSet;
use crate::rbac::{CandidateFinder, Epoch, Place, Searched};

/// How long a set serves in which a namespace is missing because only a binding in it was seen.
const UNSEEN: Duration = Duration::from_secs(1);

/// Finds what a caller may read, once for all who wait for it.
pub(super) struct Readable {
    finder: CandidateFinder,
    reviews: Arc<AccessReviews>,
    access: Access,
    lifetimes: Lifetimes,
    patience: Duration,
    cache: ReviewCache<Digest, Found>,
}

/// What a caller may read, and among how many it was searched.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// `None`: nothing.
    pub(super) namespaces: Option<NamespaceSet>,
    pub(super) searched: Searched,
    /// When the search began.
    began: Epoch,
}

impl Readable {
    /// One computation may take `patience`. Reviews that were answered by then are remembered, so that the next
    /// attempt begins where this one ended.
    pub(super) fn new(
        finder: CandidateFinder,
        reviews: Arc<AccessReviews>,
        access: Access,
        lifetimes: Lifetimes,
        patience: Duration,
        metrics: ReviewMetrics,
    ) -> Self {
        let cache = ReviewCache::new(lifetimes.capacity, lifetimes.allowed, metrics);
        Self {
            finder,
            reviews,
            access,
            lifetimes,
            patience,
            cache,
        }
    }

    /// The set, and until when it serves.
    ///
    /// # Errors
    /// When it cannot be completed in time: never a smaller set instead.
    pub(super) async fn answer(&self, caller: &Caller) -> Result<Answer<Found>, Unavailable> {
        let arrived = self.reviews.now();
        let valid = |found: &Found| {
            let touched = self
                .reviews
                .touched_since(caller, Place::Anywhere, found.began);
            !touched
        };
        if let Known::Fresh(answer) = self.cache.known(&caller.digest(), valid) {
            return Ok(answer);
        }
        let answer = self.search(caller).await?;
        // As for a single review: another request's search may have begun before a change.
        if answer.value.began >= arrived || valid(&answer.value) {
            return Ok(answer);
        }
        self.search(caller).await
    }

    /// What a search finds, one that is under way if there is one.
    async fn search(&self, caller: &Caller) -> Result<Answer<Found>, Unavailable> {
        let search = |_: Option<&Found>| {
            let (caller, access) = (caller.clone(), self.access.clone());
            let (finder, reviews) = (self.finder.clone(), self.reviews.clone());
            let (lifetimes, patience) = (self.lifetimes, self.patience);
            async move {
                let computation = compute(&caller, &access, &finder, &reviews, lifetimes);
                tokio::time::timeout(patience, computation)
                    .await
                    .unwrap_or(Err(Unavailable::OutOfTime))
            }
        };
        self.cache.ask(caller.digest(), None, search).await
    }
}

async fn compute(
    caller: &Caller,
    access: &Access,
    finder: &CandidateFinder,
    reviews: &AccessReviews,
    lifetimes: Lifetimes,
) -> Result<Answer<Found>, Unavailable> {
    let began = reviews.now();
    let candidates = finder.candidates(caller).await?;
    let searched = candidates.searched();
    let questions = candidates.into_questions();
    // A binding can be seen before the namespace that it is in.
    let unseen = questions.iter().any(|name| finder.namespaces().lacks(name));
    let reviewed = reviews.allowed_in(caller, access, questions).await?;
    let now = Instant::now();
    let allowed = || reviewed.iter().filter(|(_, answer)| answer.value.allowed);
    // A permission must not outlive its own answer because it was counted into a set, so the oldest counts. While
    // Kubernetes does not answer the set is made anew of what is remembered of each namespace: an old set would hold
    // what is known to be gone.
    let fresh_until = allowed().map(|(_, answer)| answer.fresh_until);
    let mut fresh_until = fresh_until.min().unwrap_or(now + lifetimes.denied);
    if unseen {
        fresh_until = fresh_until.min(now + UNSEEN);
    }
    Ok(Answer {
        value: Found {
            namespaces: NamespaceSet::new(allowed().map(|(name, _)| name.clone())),
            searched,
            began,
        },
        fresh_until,
        usable_until: fresh_until,
        stale: false,
    })
}
