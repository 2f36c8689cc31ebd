//! The composition root: makes everything that the configuration names, binds the listeners, runs until told
//! to end, and drains.

mod authorization;
mod listeners;
mod metrics;
mod readiness;
mod signals;

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

pub use self::authorization::Authorization;
use self::listeners::{Answering, Listeners};
use self::metrics::Metrics;
use self::readiness::Dependencies;
use self::signals::Signals;
use crate::authn::{self, Authenticator, Sources};
use crate::cluster::{self, KubeCluster, metrics::Review};
use crate::config::{self, Config};
use crate::gateway::{self, ApiServer, Gateway, NamespaceListParts, NamespaceLists};
use crate::prometheus::RequestLimits;
use crate::request::Entrance;
use crate::request::form::FormLayer;
use crate::request::record::{Log, Recorder};
use crate::request::stack::{Shared, Stack, stack};
use crate::server::admin::{Admin, Readiness};
use crate::server::{self, Workers};
use crate::sharing::{Clients, Sharing};
use crate::slots::{Bounds, Slots};
use crate::telemetry::Telemetry;
use crate::telemetry::ids::Numbers;
use crate::telemetry::spans::{self, Exporter, Tracer};
use crate::upstream::{Upstream, Upstreams};

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Kubernetes(#[from] cluster::ConfigError),
    #[error(transparent)]
    Upstream(#[from] crate::upstream::SetupError),
    /// TLS of a listener.
    #[error("listeners.{listener}.tls cannot be used")]
    Tls {
        listener: &'static str,
        #[source]
        source: server::TlsError,
    },
    /// The API server behind the gateway.
    #[error(transparent)]
    Gateway(#[from] gateway::SetupError),
    #[error(transparent)]
    Spans(#[from] spans::SetupError),
    #[error(transparent)]
    Bind(#[from] server::BindError),
    #[error(transparent)]
    Workers(#[from] server::WorkersError),
    #[error("signals cannot be listened for")]
    Signals(#[source] std::io::Error),
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// When something that the configuration names cannot be used.
pub async fn serve(config: &Config, telemetry: &Telemetry) -> Result<(), StartError> {
    let metrics = Metrics::default();
    let signals = Signals::listen()?;
    let authorization = Authorization::new(config, &metrics.reviews, &metrics.rbac).await?;
    let shared = shared(config, &authorization, &metrics);
    let upstreams = upstreams(config, &authorization, &metrics)?;
    let sharing = sharing(config, &upstreams, &metrics);
    let lost = metrics.process.spans_dropped.clone();
    let (tracer, exporter) = Exporter::start(&config.tracing, lost)?.unzip();
    let workers = Workers::start(std::thread::available_parallelism().map_or(1, usize::from))?;
    let workshop = Workshop {
        config,
        shared: &shared,
        upstreams: &sharing,
        metrics: &metrics,
        telemetry,
        ids: Arc::new(Numbers::new()),
        tracer,
        gateway: gateway(config, &authorization, &shared, &metrics)?,
    };
    let (service, gateways): (_, Vec<_>) = (0..workers.count()).map(|_| workshop.worker()).unzip();
    let watched = Arc::new(Upstreams::new(&upstreams));
    let watching = watched.clone();
    Handle::current().spawn(async move { watching.watch().await });
    let dependencies = dependencies(config, authorization.cluster, watched);
    let readiness = Readiness::new(Box::new(dependencies));
    let refresh = refresh_gauges(shared.clone(), sharing, metrics.clone(), telemetry);
    let admin = Admin::new(readiness.clone(), metrics.exposition(), refresh);
    let answering = Answering {
        admin: vec![admin; workers.count()],
        service,
        gateway: gateways.into_iter().collect(),
    };
    let listeners = Listeners::bind(config, answering, &metrics).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listeners = listeners.told(),
        upstreams = upstreams_told(config),
        "started"
    );
    let drain_timeout = config.limits.drain_timeout;
    listeners
        .serve(&workers, signals, &readiness, drain_timeout)
        .await;
    if let Some(exporter) = exporter {
        exporter.finish().await;
    }
    Ok(())
}

/// The upstreams and where they are, as the log tells them.
fn upstreams_told(config: &Config) -> String {
    let upstreams = config.upstreams.iter();
    let told = upstreams.map(|upstream| format!("{}={}", upstream.name, upstream.address));
    told.collect::<Vec<_>>().join(", ")
}

/// What decides about requests, and bounds them, on all workers.
fn shared(config: &Config, authorization: &Authorization, metrics: &Metrics) -> Shared {
    let limits = &config.limits;
    let slots = |concurrent: u32| {
        Slots::new(Bounds {
            concurrent: concurrent as usize,
            queued: limits.queued_per_caller as usize,
            patience: limits.queue_timeout,
        })
    };
    let authentication = &config.authentication;
    let authenticator = Authenticator::new(
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
        slots(limits.concurrent_per_caller),
    );
    Shared {
        authenticator,
        authorizer: authorization.authorizer.clone(),
        review_timeout: config.kubernetes.request_timeout,
        limits: request_limits(config),
        form: FormLayer {
            max_bytes: limits.max_body_bytes,
            timeout: limits.header_timeout,
        },
        slots: slots(limits.concurrent),
    }
}

/// The upstreams, whose endpoints are found and probed from now on.
fn upstreams(
    config: &Config,
    authorization: &Authorization,
    metrics: &Metrics,
) -> Result<Vec<Arc<Upstream>>, StartError> {
    let (runtime, watches) = (Handle::current(), &authorization.watches);
    let upstreams = config.upstreams.iter();
    let upstreams = upstreams
        .map(|upstream| Upstream::new(upstream, &runtime, watches, &metrics.upstreams))
        .collect::<Result<_, _>>()?;
    Ok(upstreams)
}

/// The upstreams, each beside what workers share of its answers.
fn sharing(
    config: &Config,
    upstreams: &[Arc<Upstream>],
    metrics: &Metrics,
) -> Vec<(Arc<Upstream>, Arc<Sharing>)> {
    let sharing = |(upstream, config): (&Arc<Upstream>, &config::Upstream)| {
        let sharing = Sharing::new(&config.sharing, metrics.sharing.of(&config.name));
        (upstream.clone(), sharing)
    };
    upstreams
        .iter()
        .zip(&config.upstreams)
        .map(sharing)
        .collect()
}

/// What the gateways of all workers share, where there is a gateway.
fn gateway(
    config: &Config,
    authorization: &Authorization,
    shared: &Shared,
    metrics: &Metrics,
) -> Result<Option<Arc<gateway::Shared>>, StartError> {
    let Some(gateway) = &config.listeners.gateway else {
        return Ok(None);
    };
    let namespace_lists = authorization.objects.clone().map(|objects| {
        let parts = NamespaceListParts {
            objects,
            authenticator: shared.authenticator.clone(),
            authorizer: shared.authorizer.clone(),
            review_timeout: shared.review_timeout,
            slots: shared.slots.clone(),
        };
        NamespaceLists::new(parts, &metrics.gateway)
    });
    Ok(Some(gateway::Shared::new(
        ApiServer::new(&authorization.client)?,
        gateway,
        shared.authenticator.clone(),
        &config.authentication.token_headers,
        namespace_lists,
        metrics.gateway.clone(),
    )))
}

/// Makes what answers on each worker.
struct Workshop<'a> {
    config: &'a Config,
    shared: &'a Shared,
    upstreams: &'a [(Arc<Upstream>, Arc<Sharing>)],
    metrics: &'a Metrics,
    telemetry: &'a Telemetry,
    ids: Arc<Numbers>,
    tracer: Option<Tracer>,
    gateway: Option<Arc<gateway::Shared>>,
}

impl Workshop<'_> {
    /// The stack of the service listener, and what stands at the gateway, over connections of their own.
    fn worker(&self) -> (Stack, Option<Gateway>) {
        let upstreams = Clients::new(self.upstreams, self.config.limits.max_duration);
        let logging = &self.config.logging;
        let lines = logging.audit.then(|| self.telemetry.lines().another());
        let log = Log::new(lines, logging.audit_query, self.metrics.requests.clone());
        let recorder = Recorder::new(log, self.ids.clone(), self.tracer.clone());
        let stack = |entrance| {
            let (upstreams, recorder) = (upstreams.clone(), recorder.clone());
            stack(self.shared, upstreams, recorder, entrance)
        };
        let gateway = self.gateway.as_ref().map(|shared| {
            let stack = stack(Entrance::Gateway);
            Gateway::new(shared.clone(), stack, recorder.clone())
        });
        (stack(Entrance::Service), gateway)
    }
}

/// What readiness depends on. Headlamp needs the gateway for more than its charts: it must not go away with
/// Prometheus.
fn dependencies(config: &Config, cluster: KubeCluster, upstreams: Arc<Upstreams>) -> Dependencies {
    let needed = match config.listeners.gateway {
        Some(_) => None,
        None => Some(config.readiness.upstreams),
    };
    Dependencies::new(cluster, upstreams, needed)
}

/// Brings gauges up to date that are read rather than counted.
fn refresh_gauges(
    shared: Shared,
    sharing: Vec<(Arc<Upstream>, Arc<Sharing>)>,
    metrics: Metrics,
    telemetry: &Telemetry,
) -> Arc<dyn Fn() + Send + Sync> {
    let lost = telemetry.lines().lost();
    Arc::new(move || {
        let reviews = &metrics.reviews;
        reviews.entries(Review::Token, shared.authenticator.entries());
        reviews.entries(Review::Access, shared.authorizer.entries());
        for (_, sharing) in &sharing {
            sharing.refresh_gauges();
        }
        let counted = &metrics.process.lines_dropped;
        counted.inc_by(lost.count().saturating_sub(counted.get()));
    })
}

/// What of the configuration bounds a request.
pub fn request_limits(config: &Config) -> RequestLimits {
    let limits = &config.limits;
    RequestLimits {
        max_query_bytes: limits.max_query_bytes,
        max_selectors: limits.max_selectors,
        max_parameters: limits.max_parameters,
        max_parameter_bytes: limits.max_parameter_bytes,
        max_range: limits.max_range,
        max_points: limits.max_points,
        namespace_parameters: config.authorization.namespace_parameters.clone(),
    }
}

/// Reads the configuration, with overrides from the environment.
///
/// # Errors
/// With every fault.
#[allow(clippy::disallowed_methods, reason = "the one place")]
pub fn load(path: &Path) -> Result<Config, crate::config::LoadError> {
    Config::load(path, std::env::vars())
}
