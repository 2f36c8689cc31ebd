//! All that one configuration makes, and how another one takes its place.

mod parts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;

use super::metrics::Metrics;
use super::{Authorization, StartError};
use crate::cluster::KubeCluster;
use crate::cluster::metrics::Review;
use crate::config::{self, Config};
use crate::gateway::{self, Connections, Gateway, NamespaceLists};
use crate::request::Entrance;
use crate::request::record::{Log, Recorder};
use crate::request::stack::{Shared, Stack, stack};
use crate::server::ConnectionLimits;
use crate::sharing::{Clients, Sharing};
use crate::telemetry::Lines;
use crate::telemetry::ids::Numbers;
use crate::telemetry::spans::Tracer;
use crate::upstream::{Upstream, Upstreams};

/// How long to wait for a new upstream before requests are sent there. One that does not answer by then is treated like
/// one that fails later.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

/// What outlasts a configuration.
pub(super) struct Lasting {
    pub(super) metrics: Metrics,
    pub(super) ids: Arc<Numbers>,
    pub(super) tracer: Option<Tracer>,
    pub(super) workers: Vec<LastingWorker>,
}

/// What outlasts a configuration on one worker.
pub(super) struct LastingWorker {
    /// Where its audit lines go.
    pub(super) lines: Lines,
    /// Its connections to the API server behind the gateway, where there is one.
    pub(super) api_server: Option<Arc<Connections>>,
}

/// What one configuration makes. Requests hold what they need of it. When it is dropped, its watches and probes end.
pub(super) struct Composition {
    pub(super) config: Config,
    pub(super) authorization: Authorization,
    shared: Shared,
    namespace_lists: Option<NamespaceLists>,
    upstreams: Vec<Provided>,
    presence: Arc<Upstreams>,
    workers: Vec<Clients>,
    service: Vec<TowerToHyperService<Stack>>,
    gateway: Vec<Gateway>,
    /// The names of upstreams of earlier configurations.
    gone: BTreeSet<String>,
    watch: JoinSet<()>,
}

/// An upstream, what is shared of its answers, and what looks after it.
#[derive(Clone)]
struct Provided {
    upstream: Arc<Upstream>,
    sharing: Arc<Sharing>,
    _tasks: Arc<JoinSet<()>>,
}

impl Composition {
    /// Builds what `config` says; requests do not use it yet. `before` is the composition that it is to replace.
    ///
    /// # Errors
    /// When something that the configuration names cannot be used.
    pub(super) fn new(
        config: &Config,
        authorization: Authorization,
        before: Option<&Self>,
        lasting: &Lasting,
    ) -> Result<Self, StartError> {
        let metrics = &lasting.metrics;
        let shared = parts::shared(config, &authorization, before, metrics);
        let upstreams = parts::upstreams(config, &authorization, before, metrics)?;
        let known: Vec<_> = upstreams.iter().map(|one| one.upstream.clone()).collect();
        let presence = match before {
            Some(before) => before.presence.following(&known),
            None => Upstreams::new(&known),
        };
        let mut made = Self {
            workers: parts::clients(config, &upstreams, before, lasting.workers.len()),
            gone: parts::gone(config, before),
            config: config.clone(),
            namespace_lists: parts::namespace_lists(
                config,
                &authorization,
                &shared,
                before,
                metrics,
            ),
            authorization,
            shared,
            upstreams,
            presence: Arc::new(presence),
            service: Vec::new(),
            gateway: Vec::new(),
            watch: JoinSet::new(),
        };
        (made.service, made.gateway) = made.answering(lasting);
        Ok(made)
    }

    /// What answers at the service listener, one for each worker.
    pub(super) fn service(&self) -> &[TowerToHyperService<Stack>] {
        &self.service
    }

    /// What answers at the gateway, one for each worker; empty where there is no gateway.
    pub(super) fn gateway(&self) -> &[Gateway] {
        &self.gateway
    }

    pub(super) fn cluster(&self) -> &KubeCluster {
        &self.authorization.cluster
    }

    pub(super) fn presence(&self) -> &Arc<Upstreams> {
        &self.presence
    }

    /// Begins to check the upstreams.
    pub(super) fn watch(&mut self) {
        let presence = self.presence.clone();
        self.watch.spawn(async move { presence.watch().await });
    }

    /// Waits until upstreams that are new have been found and answer, for a few seconds.
    pub(super) async fn found(&self) {
        self.presence.found(FOUND_WITHIN).await;
    }

    /// Drops what nobody will ask for any more, now that `next` has replaced this.
    pub(super) fn superseded_by(&self, next: &Self) {
        for Provided { sharing, .. } in &self.upstreams {
            let mut kept = next.upstreams.iter();
            if !kept.any(|other| Arc::ptr_eq(&other.sharing, sharing)) {
                sharing.clear();
            }
        }
        if !parts::same_namespace_lists(&self.config, &next.config)
            && let Some(lists) = &self.namespace_lists
        {
            lists.end_watches();
        }
        // Upstreams of the same name have the same gauges.
        next.upstreams.iter().for_each(|one| one.upstream.report());
    }

    /// Brings gauges up to date that are read rather than counted.
    pub(super) fn refresh_gauges(&self, metrics: &Metrics) {
        let reviews = &metrics.reviews;
        reviews.entries(Review::Token, self.shared.authenticator.entries());
        reviews.entries(Review::Access, self.shared.authorizer.entries());
        for Provided { sharing, .. } in &self.upstreams {
            sharing.refresh_gauges();
        }
        // Each time, as requests of theirs still under way may set them once more.
        for name in &self.gone {
            metrics.upstreams.forget(name);
            metrics.sharing.forget(name);
        }
    }

    /// The upstream that is configured just so.
    fn provided(&self, upstream: &config::Upstream) -> Option<Provided> {
        let place = self
            .config
            .upstreams
            .iter()
            .position(|one| one == upstream)?;
        self.upstreams.get(place).cloned()
    }

    /// What answers on each worker.
    fn answering(&self, lasting: &Lasting) -> (Vec<TowerToHyperService<Stack>>, Vec<Gateway>) {
        let config = &self.config;
        let metrics = &lasting.metrics;
        let gateway = config.listeners.gateway.as_ref().map(|gateway| {
            gateway::Shared::new(
                gateway,
                self.shared.authenticator.clone(),
                &config.authentication.token_headers,
                self.namespace_lists.clone(),
                metrics.gateway.clone(),
            )
        });
        let mut answering = (Vec::new(), Vec::new());
        for (worker, clients) in lasting.workers.iter().zip(&self.workers) {
            let lines = config.logging.audit.then(|| worker.lines.clone());
            let log = Log::new(lines, &config.logging, metrics.requests.clone());
            let recorder = Recorder::new(log, lasting.ids.clone(), lasting.tracer.clone());
            let stack = |entrance| stack(&self.shared, clients.clone(), recorder.clone(), entrance);
            answering
                .0
                .push(TowerToHyperService::new(stack(Entrance::Service)));
            if let Some((shared, connections)) = gateway.as_ref().zip(worker.api_server.as_ref()) {
                let (shared, connections) = (shared.clone(), connections.clone());
                let stack = stack(Entrance::Gateway);
                let gateway = Gateway::new(shared, connections, stack, recorder.clone());
                answering.1.push(gateway);
            }
        }
        answering
    }
}

/// What of a configuration bounds connections.
pub(super) fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        header_timeout: config.limits.header_timeout,
        connections: config.limits.max_connections,
    }
}
