//! Access reviews: whether a caller may do one thing, in one namespace or in the whole cluster.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authorization::v1 as kubernetes;
use tokio::time::Instant;

use super::lifetimes::{Lifetimes, Term};
use crate::authn::{Caller, Digest, Digester};
use crate::cluster::metrics::ReviewMetrics;
use crate::cluster::review_cache::{Answer, Known, ReviewCache, Standing};
use crate::cluster::{Cluster, ClusterNamespaces, Priority, ReviewClass, Unavailable};
use crate::config::ResourceAttributes;
use crate::namespace::Namespace;
use crate::rbac::{Changes, Epoch, Place};

/// Reviews of one request under way at the same time.
pub(super) const CONCURRENT_REVIEWS: usize = 16;

impl fmt::Display for ResourceAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// Attributes with their part of the cache key.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) attributes: Arc<ResourceAttributes>,
    digest: Digest,
}

/// Asks access reviews, and caches each answer by everything that was asked.
pub(super) struct AccessReviews {
    cluster: Arc<dyn Cluster>,
    namespaces: ClusterNamespaces,
    lifetimes: Lifetimes,
    digester: Digester,
    changes: Option<Changes>,
    cache: ReviewCache<Key, Reviewed>,
}

/// The answer of an access review.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reviewed {
    pub(super) allowed: bool,
    /// When the review began: a later change may affect the answer.
    began: Epoch,
    /// When the answer arrived.
    pub(super) came: Instant,
    /// Since when every review has given this answer, with no change seen that may affect it.
    since: Instant,
    /// Whether only watched changes can make it wrong.
    pub(super) settled: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    caller: Digest,
    attributes: Digest,
    /// `None`: the whole cluster.
    namespace: Option<Namespace>,
}

impl Key {
    fn new(caller: &Caller, access: &Access, namespace: Option<&Namespace>) -> Self {
        Self {
            caller: caller.digest(),
            attributes: access.digest,
            namespace: namespace.cloned(),
        }
    }
}

impl AccessReviews {
    pub(super) fn new(
        cluster: Arc<dyn Cluster>,
        namespaces: ClusterNamespaces,
        lifetimes: Lifetimes,
        changes: Option<Changes>,
        metrics: ReviewMetrics,
    ) -> Self {
        let longest = lifetimes.longest() + lifetimes.stale;
        let cache = ReviewCache::new(lifetimes.capacity, longest, metrics);
        Self {
            cluster,
            namespaces,
            lifetimes,
            digester: Digester::new(),
            changes,
            cache,
        }
    }

    pub(super) fn access(&self, attributes: ResourceAttributes) -> Access {
        let ResourceAttributes {
            verb,
            group,
            resource,
            subresource,
        } = &attributes;
        let digest = self
            .digester
            .digest([verb, group, resource, subresource].map(|part| part.as_bytes()));
        Access {
            attributes: Arc::new(attributes),
            digest,
        }
    }

    /// Whether `caller` has the access in each of some namespaces: an answer for all of them, or an error.
    ///
    /// Once the API server has failed for one of them, the others are answered from the cache: each would wait as
    /// long.
    pub(super) async fn allowed_in(
        &self,
        caller: &Caller,
        access: &Access,
        namespaces: Vec<Namespace>,
    ) -> Result<Vec<(Namespace, Answer<Reviewed>)>, Unavailable> {
        // A chart names one, which needs no list of what is under way.
        if let [name] = &*namespaces {
            let answer = self.allowed(caller, access, Some(name)).await?;
            return Ok(vec![(name.clone(), answer)]);
        }
        let failed = &AtomicBool::new(false);
        stream::iter(namespaces)
            .map(|name| async move {
                let remembered = failed
                    .load(Ordering::Relaxed)
                    .then(|| {
                        let key = Key::new(caller, access, Some(&name));
                        let standing = |known: &_, now| {
                            let place = Place::Namespace(&name);
                            self.standing(caller, place, self.said(known), now)
                        };
                        self.cache.without_asking(&key, standing)
                    })
                    .flatten();
                let answer = match remembered {
                    Some(answer) => answer,
                    None => self.allowed(caller, access, Some(&name)).await?,
                };
                failed.fetch_or(answer.stale, Ordering::Relaxed);
                Ok((name, answer))
            })
            .buffer_unordered(CONCURRENT_REVIEWS)
            .try_collect()
            .await
    }

    /// Whether `caller` may do it in `namespace`; `None` asks for the whole cluster. Nobody may where it is certain
    /// that there is no such namespace, and that is not asked: a caller could make up any number of names.
    pub(super) async fn allowed(
        &self,
        caller: &Caller,
        access: &Access,
        namespace: Option<&Namespace>,
    ) -> Result<Answer<Reviewed>, Unavailable> {
        let key = Key::new(caller, access, namespace);
        let arrived = self.now();
        let place = namespace.map_or(Place::Cluster, Place::Namespace);
        let standing = |known: &_, now| self.standing(caller, place, self.said(known), now);
        let ended = match self.cache.known(&key, standing) {
            Known::Fresh(answer) => return Ok(answer),
            Known::Ended(answer) => answer,
        };
        if namespace.is_some_and(|namespace| self.namespaces.lacks(namespace)) {
            let now = Instant::now();
            let denied = Reviewed {
                allowed: false,
                began: arrived,
                came: now,
                since: now,
                settled: false,
            };
            return Ok(Answer::new(denied, Duration::ZERO, Duration::ZERO));
        }
        // Boxed, as every request would have room for it.
        let ask = |ended| Box::pin(self.ask(caller, access, namespace, key.clone(), ended));
        let answer = ask(ended).await?;
        // A review that another request began may be older than a change that this request comes after. A new one is
        // not.
        if answer.value.began >= arrived || !self.touched_since(caller, place, answer.value.began) {
            return Ok(answer);
        }
        ask(None).await
    }

    /// Whether `caller` may do something else in Kubernetes, by a review that is not cached.
    pub(super) async fn may(
        &self,
        caller: &Caller,
        asked: kubernetes::ResourceAttributes,
    ) -> Result<bool, Unavailable> {
        let class = ReviewClass {
            flow: caller.flow(),
            priority: Priority::New,
        };
        let status = self.cluster.review_access(about(caller, asked), class);
        Ok(is_allowed(&status.await?))
    }

    /// The answer of a review: of the one under way, if there is one.
    async fn ask(
        &self,
        caller: &Caller,
        access: &Access,
        namespace: Option<&Namespace>,
        key: Key,
        ended: Option<Answer<Reviewed>>,
    ) -> Result<Answer<Reviewed>, Unavailable> {
        let lifetimes = self.lifetimes;
        let before = ended.as_ref().map(|answer| answer.value);
        let review = |remembered: Option<&Reviewed>| {
            let watched = lifetimes.watched > Duration::ZERO && self.all_watched();
            let began = self.now();
            let cluster = self.cluster.clone();
            let spec = spec(caller, &access.attributes, namespace);
            let class = ReviewClass {
                flow: caller.flow(),
                priority: Priority::of(remembered),
            };
            async move {
                let status = cluster.review_access(spec, class).await?;
                let allowed = is_allowed(&status);
                let came = Instant::now();
                let before = before.filter(|before| before.allowed == allowed);
                let since = before.map_or(came, |before| before.since);
                // A single answer may come from an API server that has not read all roles yet, or lags.
                let lasts = came.duration_since(since) >= lifetimes.allowed;
                let reviewed = Reviewed {
                    allowed,
                    began,
                    came,
                    since,
                    settled: watched && lasts && is_rbacs(&status),
                };
                let term = lifetimes.term(&reviewed);
                Ok(Answer {
                    value: reviewed,
                    fresh_until: term.longest(),
                    usable_until: term.until + lifetimes.stale,
                    stale: false,
                })
            }
        };
        self.cache.ask(key, ended, review).await
    }

    /// Whether answers end by watched changes as well as by age.
    pub(super) fn watches_changes(&self) -> bool {
        self.changes.is_some()
    }

    /// The current epoch of changes.
    pub(super) fn now(&self) -> Epoch {
        self.changes
            .as_ref()
            .map_or_else(Epoch::default, Changes::now)
    }

    /// Whether every change of RBAC is watched now.
    pub(super) fn all_watched(&self) -> bool {
        let now = Instant::now();
        self.told_until(now) == Some(now)
    }

    /// Up to when every change of RBAC was seen.
    pub(super) fn told_until(&self, now: Instant) -> Option<Instant> {
        self.changes.as_ref()?.told_until(now)
    }

    /// When `answer` expires, as far as is known now.
    pub(super) fn term(&self, answer: &Answer<Reviewed>) -> Term {
        if answer.stale {
            return Term::fixed(answer.fresh_until);
        }
        self.lifetimes.term(&answer.value)
    }

    fn said(&self, reviewed: &Reviewed) -> (Epoch, Term) {
        (reviewed.began, self.lifetimes.term(reviewed))
    }

    /// Whether an answer about `caller` and `place` that was asked at `began` and holds for `term` still counts.
    pub(super) fn standing(
        &self,
        caller: &Caller,
        place: Place<'_>,
        (began, term): (Epoch, Term),
        now: Instant,
    ) -> Standing {
        // Read before the changes are looked at: what was seen by then is in them.
        let counts = term.counts(now, || self.told_until(now));
        if self.touched_since(caller, place, began) {
            Standing::Changed
        } else if counts {
            Standing::Holds
        } else {
            Standing::Ended
        }
    }

    /// Whether a change after `since` may affect an answer about `caller` and `place`.
    pub(super) fn touched_since(&self, caller: &Caller, place: Place<'_>, since: Epoch) -> bool {
        let changes = self.changes.as_ref();
        changes.is_some_and(|changes| changes.touched(caller, place, since))
    }

    pub(super) fn entries(&self) -> u64 {
        self.cache.entries()
    }
}

/// An authorizer may answer both allowed and denied; then it is denied.
fn is_allowed(status: &kubernetes::SubjectAccessReviewStatus) -> bool {
    status.allowed && status.denied != Some(true)
}

/// Whether RBAC alone decided, as far as the review tells. The authorizers are asked one after the other until one
/// decides, and each adds a line to a denial's reason.
fn is_rbacs(status: &kubernetes::SubjectAccessReviewStatus) -> bool {
    let empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    let reason = status.reason.as_deref().unwrap_or_default();
    let decided = if status.allowed {
        reason.starts_with("RBAC: allowed by ")
    } else {
        reason.lines().all(|line| line.starts_with("RBAC: "))
    };
    decided && status.denied != Some(true) && empty(&status.evaluation_error)
}

fn spec(
    caller: &Caller,
    attributes: &ResourceAttributes,
    namespace: Option<&Namespace>,
) -> kubernetes::SubjectAccessReviewSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let asked = kubernetes::ResourceAttributes {
        verb: some(&attributes.verb),
        group: some(&attributes.group),
        resource: some(&attributes.resource),
        subresource: some(&attributes.subresource),
        namespace: namespace.map(|namespace| namespace.as_str().to_owned()),
        ..Default::default()
    };
    about(caller, asked)
}

/// The question whether `caller` may do what is `asked`.
fn about(
    caller: &Caller,
    asked: kubernetes::ResourceAttributes,
) -> kubernetes::SubjectAccessReviewSpec {
    let extra = caller.extra();
    kubernetes::SubjectAccessReviewSpec {
        user: Some(caller.username().to_owned()),
        uid: caller.uid().map(str::to_owned),
        groups: (!caller.groups().is_empty()).then(|| caller.groups().to_vec()),
        extra: (!extra.is_empty()).then(|| extra.clone()),
        resource_attributes: Some(asked),
        ..Default::default()
    }
}
