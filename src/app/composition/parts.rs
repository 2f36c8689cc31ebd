//! The parts of a composition. Each is taken over from the composition before if all that it depends on is the same, so
//! that its connections and what it remembers stay; else it is made anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::{Composition, Provided};
use crate::app::metrics::Metrics;
use crate::app::{Authorization, StartError, request_limits};
use crate::authn::{self, Authenticator, Sources};
use crate::cluster::metrics::Review;
use crate::config::{self, Config};
use crate::gateway::{NamespaceListParts, NamespaceLists};
use crate::request::form::FormLayer;
use crate::request::stack::Shared;
use crate::sharing::{Clients, Sharing};
use crate::slots::{Bounds, Slots};
use crate::upstream::Upstream;

/// What decides about requests, and limits them, on all workers.
pub(super) fn shared(
    config: &Config,
    authorization: &Authorization,
    before: Option<&Composition>,
    metrics: &Metrics,
) -> Shared {
    let limits = &config.limits;
    let same_bounds = |of: fn(&Config) -> Bounds| {
        let same = move |before: &&Composition| of(&before.config) == of(config);
        before.filter(same)
    };
    let known = same_bounds(caller_bounds).filter(|before| {
        let (before, now) = (&before.config, config);
        before.authentication == now.authentication && before.kubernetes == now.kubernetes
    });
    let authenticator = match known {
        Some(before) => before.shared.authenticator.clone(),
        None => authenticator(config, authorization, metrics),
    };
    let slots = match same_bounds(total_bounds) {
        Some(before) => before.shared.slots.clone(),
        None => Slots::new(total_bounds(config)),
    };
    Shared {
        authenticator,
        authorizer: authorization.authorizer.clone(),
        review_timeout: config.kubernetes.request_timeout,
        limits: request_limits(config),
        form: FormLayer {
            max_bytes: limits.max_body_bytes,
            timeout: limits.header_timeout,
        },
        slots,
    }
}

/// An authenticator with an empty cache.
fn authenticator(
    config: &Config,
    authorization: &Authorization,
    metrics: &Metrics,
) -> Arc<Authenticator> {
    let authentication = &config.authentication;
    Authenticator::new(
        Sources {
            headers: authentication.token_headers.clone(),
            headlamp_cookie: authentication.headlamp_cookie,
        },
        authentication.audiences.clone(),
        authn::Lifetimes {
            known: authentication.cache.ttl,
            rejected: authentication.cache.rejected_ttl,
            stale: authentication.cache.stale_for,
            capacity: authentication.cache.capacity,
        },
        Arc::new(authorization.cluster.clone()),
        metrics.reviews.of(Review::Token),
        Slots::new(caller_bounds(config)),
    )
}

/// Slots for the requests of one caller.
fn caller_bounds(config: &Config) -> Bounds {
    bounds(config, config.limits.concurrent_per_caller)
}

/// Slots for the requests of all callers.
fn total_bounds(config: &Config) -> Bounds {
    bounds(config, config.limits.concurrent)
}

fn bounds(config: &Config, concurrent: u32) -> Bounds {
    Bounds {
        concurrent: concurrent as usize,
        queued: config.limits.queued_per_caller as usize,
        patience: config.limits.queue_timeout,
    }
}

/// What answers for namespaces at the gateway, where the configuration wants that.
pub(super) fn namespace_lists(
    config: &Config,
    authorization: &Authorization,
    shared: &Shared,
    before: Option<&Composition>,
    metrics: &Metrics,
) -> Option<NamespaceLists> {
    if let Some(before) = before
        && same_namespace_lists(&before.config, config)
    {
        return before.namespace_lists.clone();
    }
    let objects = authorization.objects.clone()?;
    let parts = NamespaceListParts {
        objects,
        authenticator: shared.authenticator.clone(),
        authorizer: shared.authorizer.clone(),
        review_timeout: shared.review_timeout,
        slots: shared.slots.clone(),
    };
    Some(NamespaceLists::new(parts, &metrics.gateway))
}

/// Whether namespaces are listed as before, so that watches go on.
pub(super) fn same_namespace_lists(before: &Config, config: &Config) -> bool {
    before.kubernetes == config.kubernetes
        && before.authentication == config.authentication
        && before.authorization == config.authorization
        && before.limits == config.limits
}

/// The upstreams, whose endpoints are found and probed from now on. One that is as it was stays; what is shared of its
/// answers too, if what callers may see of it is decided as it was.
pub(super) fn upstreams(
    config: &Config,
    authorization: &Authorization,
    before: Option<&Composition>,
    metrics: &Metrics,
) -> Result<Vec<Provided>, StartError> {
    let provide = |upstream: &config::Upstream| {
        let same = before.and_then(|before| before.provided(upstream));
        if let Some(same) = &same
            && before.is_some_and(|before| before.config.authorization == config.authorization)
        {
            return Ok(same.clone());
        }
        let sharing = Sharing::new(&upstream.sharing, metrics.sharing.of(&upstream.name));
        if let Some(same) = same {
            return Ok(Provided { sharing, ..same });
        }
        let made = Upstream::new(upstream, &Handle::current(), &metrics.upstreams)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(made.clone().look_after(authorization.watches.clone()));
        Ok(Provided {
            upstream: made,
            sharing,
            _tasks: Arc::new(tasks),
        })
    };
    config.upstreams.iter().map(provide).collect()
}

/// Each worker's clients of the upstreams.
pub(super) fn clients(
    config: &Config,
    upstreams: &[Provided],
    before: Option<&Composition>,
    workers: usize,
) -> Vec<Clients> {
    let upstreams = upstreams.iter();
    let upstreams = upstreams.map(|one| (one.upstream.clone(), one.sharing.clone()));
    let upstreams: Vec<_> = upstreams.collect();
    let longest = config.limits.max_duration;
    let client = |worker: usize| match before {
        Some(before) => before.workers[worker].following(&upstreams, longest),
        None => Clients::new(&upstreams, longest),
    };
    (0..workers).map(client).collect()
}

/// The names of upstreams that were removed.
pub(super) fn gone(config: &Config, before: Option<&Composition>) -> BTreeSet<String> {
    let Some(before) = before else {
        return BTreeSet::new();
    };
    let mut gone = before.gone.clone();
    gone.extend(before.config.upstreams.iter().map(|one| one.name.clone()));
    for upstream in &config.upstreams {
        gone.remove(&upstream.name);
    }
    gone
}
