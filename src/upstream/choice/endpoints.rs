//! The current endpoints of an upstream. Requests read them without a lock; discovery replaces them as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use http::uri::Authority;

use crate::upstream::choice::endpoint::{Endpoint, Offer};
use crate::upstream::metrics::UpstreamMetrics;

#[derive(Debug)]
pub(in crate::upstream) struct Endpoints {
    now: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Whether the endpoints are known, even if there are none.
    searched: AtomicBool,
    metrics: UpstreamMetrics,
}

/// An endpoint as discovery sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) struct Discovered {
    /// The name of its pod, or its address.
    pub(in crate::upstream) name: String,
    /// Never empty.
    pub(in crate::upstream) addresses: Vec<Authority>,
    /// Whether it should get requests.
    pub(in crate::upstream) offer: Offer,
}

impl Endpoints {
    /// Starts with the endpoints that are known from the beginning.
    pub(in crate::upstream) fn new(known: Vec<Endpoint>, metrics: UpstreamMetrics) -> Self {
        let known: Vec<_> = known.into_iter().map(Arc::new).collect();
        Self {
            searched: AtomicBool::new(!known.is_empty()),
            now: ArcSwap::from_pointee(known),
            metrics,
        }
    }

    pub(in crate::upstream) fn now(&self) -> arc_swap::Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.now.load()
    }

    /// Whether the endpoints are known: Kubernetes has listed them, or the configuration names them.
    pub(in crate::upstream) fn are_searched(&self) -> bool {
        self.searched.load(Ordering::Acquire)
    }

    /// Replaces them. What is known of those that stay is kept. An empty list changes nothing: pods that are
    /// gone cannot be reached anyway, and one that is empty by mistake must not end all charts.
    pub(in crate::upstream) fn replace(&self, discovered: Vec<Discovered>) {
        self.searched.store(true, Ordering::Release);
        if discovered.is_empty() {
            return;
        }
        let before = self.now.load();
        let same = |endpoint: &Arc<Endpoint>, other: &Discovered| {
            endpoint.name() == other.name && endpoint.addresses() == other.addresses
        };
        let after = discovered.into_iter().map(|found| {
            match before.iter().find(|endpoint| same(endpoint, &found)) {
                Some(endpoint) => {
                    endpoint.offered(found.offer);
                    endpoint.clone()
                }
                None => Arc::new(Endpoint::new(found.name, found.addresses, found.offer)),
            }
        });
        self.now.store(Arc::new(after.collect()));
        self.report();
    }

    /// Brings the gauges up to date.
    pub(in crate::upstream) fn report(&self) {
        let now = self.now.load();
        let healthy = now.iter().filter(|endpoint| endpoint.is_healthy()).count();
        self.metrics.endpoints(healthy, now.len() - healthy);
    }

    pub(in crate::upstream) fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::choice::endpoint::ProbeResult;
    use crate::upstream::metrics::UpstreamsMetrics;

    fn discovered(name: &str, address: &str) -> Discovered {
        Discovered {
            name: name.to_owned(),
            addresses: vec![address.parse().expect("an address")],
            offer: Offer::Ready,
        }
    }

    #[test]
    fn what_is_known_of_an_endpoint_is_kept_while_it_stays_where_it_is() {
        let endpoints = Endpoints::new(Vec::new(), UpstreamsMetrics::default().of("default"));
        endpoints.replace(vec![
            discovered("a", "10.0.0.1:1"),
            discovered("b", "10.0.0.2:1"),
        ]);
        for endpoint in endpoints.now().iter() {
            endpoint.observe(ProbeResult::Ready);
        }
        let mut ending = discovered("a", "10.0.0.1:1");
        ending.offer = Offer::Withdrawn;
        endpoints.replace(vec![ending, discovered("b", "10.0.0.3:1")]);
        let now = endpoints.now();
        assert_eq!(now[0].found(), ProbeResult::Ready);
        assert!(now[0].is_withdrawn());
        assert_eq!(
            now[1].found(),
            ProbeResult::Nothing,
            "another address, another process"
        );
    }

    #[test]
    fn an_empty_list_keeps_the_last_known() {
        let endpoints = Endpoints::new(Vec::new(), UpstreamsMetrics::default().of("default"));
        endpoints.replace(vec![discovered("a", "10.0.0.1:1")]);
        endpoints.replace(Vec::new());
        assert_eq!(endpoints.now().len(), 1);
    }
}
