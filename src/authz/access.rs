//! Access reviews: whether a caller may do one thing, in one namespace or in the whole cluster.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1 as kubernetes;

use crate::authn::{Caller, Digest, Digester};
use crate::cluster::metrics::ReviewMetrics;
use crate::cluster::review_cache::{Answer, Dated, ReviewCache};
use crate::cluster::{Cluster, Unavailable};
use crate::config::ResourceAttributes;
use crate::namespace::Namespace;

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

/// Attributes with what they are known by in the cache.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) attributes: Arc<ResourceAttributes>,
    digest: Digest,
}

/// How long answers are kept.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// Of a permission.
    pub allowed: Duration,
    /// Of a denial.
    pub denied: Duration,
    /// Of either beyond that, while Kubernetes does not answer.
    pub stale: Duration,
    /// How many are kept.
    pub capacity: u64,
}

/// Asks, and remembers by everything that the question holds.
pub(super) struct AccessReviews {
    cluster: Arc<dyn Cluster>,
    lifetimes: Lifetimes,
    digester: Digester,
    cache: ReviewCache<Key, bool>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    caller: Digest,
    attributes: Digest,
    /// `None`: the whole cluster.
    namespace: Option<Namespace>,
}

impl AccessReviews {
    pub(super) fn new(
        cluster: Arc<dyn Cluster>,
        lifetimes: Lifetimes,
        metrics: ReviewMetrics,
    ) -> Self {
        let longest = lifetimes.allowed.max(lifetimes.denied) + lifetimes.stale;
        let cache = ReviewCache::new(lifetimes.capacity, longest, metrics);
        Self {
            cluster,
            lifetimes,
            digester: Digester::new(),
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

    /// Whether `caller` may do it in `namespace`; `None` asks for the whole cluster.
    pub(super) async fn allowed(
        &self,
        caller: &Caller,
        access: &Access,
        namespace: Option<&Namespace>,
    ) -> Result<Dated<bool>, Unavailable> {
        let key = Key {
            caller: caller.digest(),
            attributes: access.digest,
            namespace: namespace.cloned(),
        };
        let lifetimes = self.lifetimes;
        self.cache
            .answer(key, || {
                let cluster = self.cluster.clone();
                let spec = spec(caller, &access.attributes, namespace);
                async move {
                    let status = cluster.review_access(spec).await?;
                    // An authorizer may answer both; then somebody has said no.
                    let allowed = status.allowed && status.denied != Some(true);
                    let fresh_for = if allowed {
                        lifetimes.allowed
                    } else {
                        lifetimes.denied
                    };
                    Ok(Answer {
                        value: allowed,
                        fresh_for,
                        usable_for: fresh_for + lifetimes.stale,
                    })
                }
            })
            .await
    }

    pub(super) fn entries(&self) -> u64 {
        self.cache.entries()
    }
}

fn spec(
    caller: &Caller,
    attributes: &ResourceAttributes,
    namespace: Option<&Namespace>,
) -> kubernetes::SubjectAccessReviewSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let extra = caller.extra();
    kubernetes::SubjectAccessReviewSpec {
        user: Some(caller.username().to_owned()),
        uid: caller.uid().map(str::to_owned),
        groups: (!caller.groups().is_empty()).then(|| caller.groups().to_vec()),
        extra: (!extra.is_empty()).then(|| extra.clone()),
        resource_attributes: Some(kubernetes::ResourceAttributes {
            verb: some(&attributes.verb),
            group: some(&attributes.group),
            resource: some(&attributes.resource),
            subresource: some(&attributes.subresource),
            namespace: namespace.map(|namespace| namespace.as_str().to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}
