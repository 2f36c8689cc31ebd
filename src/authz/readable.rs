//! All namespaces that a caller may read: the candidates, each reviewed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::access::{Access, AccessReviews};
use super::lifetimes::{Lifetimes, Term};
use crate::authn::{Caller, Digest};
use crate::cluster::Unavailable;
use crate::cluster::metrics::ReviewMetrics;
use crate::cluster::review_cache::{Answer, Known, ReviewCache};
use crate::namespace::NamespaceSet;
use crate::rbac::{CandidateFinder, Epoch, Place, Searched, Source};

/// How long a set counts in which a namespace is missing that only a binding has shown so far.
const UNSEEN: Duration = Duration::from_secs(1);

/// Finds all namespaces that a caller may read, once for all requests that wait for them.
pub(super) struct Readable {
    finder: CandidateFinder,
    reviews: Arc<AccessReviews>,
    access: Access,
    lifetimes: Lifetimes,
    patience: Duration,
    cache: ReviewCache<Digest, Found>,
}

/// The namespaces that a caller may read, and how many were searched.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// `None`: nothing.
    pub(super) namespaces: Option<NamespaceSet>,
    pub(super) searched: Searched,
    /// When the search began.
    began: Epoch,
    /// Until when it counts.
    pub(super) term: Term,
}

impl Readable {
    /// One search may take `patience`. Reviews that were answered by then are cached, so that the next attempt begins
    /// where this one ended.
    pub(super) fn new(
        finder: CandidateFinder,
        reviews: Arc<AccessReviews>,
        access: Access,
        lifetimes: Lifetimes,
        patience: Duration,
        metrics: ReviewMetrics,
    ) -> Self {
        let cache = ReviewCache::new(lifetimes.capacity, lifetimes.longest(), metrics);
        Self {
            finder,
            reviews,
            access,
            lifetimes,
            patience,
            cache,
        }
    }

    /// The set, and until when it counts.
    ///
    /// # Errors
    /// When it cannot be completed in time: never a smaller set instead.
    pub(super) async fn answer(&self, caller: &Caller) -> Result<Answer<Found>, Unavailable> {
        let arrived = self.reviews.now();
        let reviews = &self.reviews;
        let standing = |found: &Found, now| {
            reviews.standing(caller, Place::Anywhere, (found.began, found.term), now)
        };
        if let Known::Fresh(answer) = self.cache.known(&caller.digest(), standing) {
            return Ok(answer);
        }
        // Boxed, as for a single review.
        let search = || Box::pin(self.search(caller));
        let answer = search().await?;
        // As for a single review: another request's search may have begun before a change.
        let began = answer.value.began;
        if began >= arrived || !reviews.touched_since(caller, Place::Anywhere, began) {
            return Ok(answer);
        }
        search().await
    }

    /// The result of a search: of the one under way, if there is one.
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
    let watched = reviews.all_watched();
    let began = reviews.now();
    let candidates = finder.candidates(caller).await?;
    let searched = candidates.searched();
    let questions = candidates.into_questions();
    let unseen = questions.iter().any(|name| finder.namespaces().lacks(name));
    let reviewed = reviews.allowed_in(caller, access, questions).await?;
    let now = Instant::now();
    let allowed = || reviewed.iter().filter(|(_, answer)| answer.value.allowed);
    // Namespaces without a binding are not asked about. In a search of all, another authorizer may grant any of them.
    let settled = watched
        && searched.source == Source::Bindings
        && reviewed
            .iter()
            .all(|(_, answer)| answer.value.settled && !answer.stale);
    // A permission must not outlive its own answer by being part of a set, so the first to expire counts. While
    // Kubernetes does not answer, the set is built again from each namespace's cached answer: an old set would hold
    // permissions that are known to be gone.
    let granted = allowed()
        .map(|(_, answer)| reviews.term(answer))
        .reduce(Term::and);
    let mut term = if settled {
        // What it lacks ends with the denial.
        let all = reviewed.iter().map(|(_, answer)| reviews.term(answer));
        all.reduce(Term::and)
            .unwrap_or_else(|| Term::fixed(now + lifetimes.denied))
    } else {
        let short = if granted.is_some() {
            lifetimes.allowed
        } else {
            lifetimes.denied
        };
        granted
            .unwrap_or_else(|| Term::fixed(now + short))
            .by(now + short)
    };
    // A binding can be seen before the namespace that it is in.
    if unseen {
        term = term.by(now + UNSEEN);
    }
    Ok(Answer {
        value: Found {
            namespaces: NamespaceSet::new(allowed().map(|(name, _)| name.clone())),
            searched,
            began,
            term,
        },
        fresh_until: term.longest(),
        usable_until: term.longest(),
        stale: false,
    })
}
