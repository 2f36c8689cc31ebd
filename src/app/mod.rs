//! The composition root: makes everything that the configuration names, binds the listeners, runs until told
//! to end, and drains. Another configuration takes the place of the one that runs.

mod authorization;
mod composition;
mod current;
mod differences;
mod listeners;
pub mod metrics;
mod readiness;
mod reloader;
mod signals;

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

pub use self::authorization::Authorization;
use self::composition::{Composition, Lasting, LastingWorker};
use self::current::Current;
use self::listeners::{Answering, Listeners};
use self::metrics::Metrics;
use self::readiness::Dependencies;
use self::reloader::Reloader;
use self::signals::Signals;
use crate::cluster;
use crate::config::{self, Config};
use crate::gateway::{self, ApiServer, Connections};
use crate::prometheus::RequestLimits;
use crate::reload::Reloaded;
use crate::server::admin::{Admin, Readiness};
use crate::server::{self, Workers};
use crate::telemetry::ids::Numbers;
use crate::telemetry::spans::{self, Exporter};
use crate::telemetry::{self, Telemetry};

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

/// Serves until SIGTERM or SIGINT, then drains. What changes in the file at `path` is taken meanwhile.
///
/// # Errors
/// When something that the configuration names cannot be used.
pub async fn serve(config: &Config, path: &Path, telemetry: &Telemetry) -> Result<(), StartError> {
    let metrics = Metrics::default();
    let (signals, hangup) = (Signals::listen()?, signals::hangup()?);
    let authorization = Authorization::new(config, &metrics.reviews, &metrics.rbac).await?;
    let lost = metrics.process.spans_dropped.clone();
    let (tracer, exporter) = Exporter::start(&config.tracing, lost)?.unzip();
    let workers = Workers::start(std::thread::available_parallelism().map_or(1, usize::from))?;
    let lasting = Lasting {
        metrics: metrics.clone(),
        ids: Arc::new(Numbers::new()),
        tracer,
        workers: lasting_workers(config, &authorization, telemetry, workers.count())?,
    };
    let mut first = Composition::new(config, authorization, None, &lasting)?;
    first.watch();
    let running = Reloaded::new(first);
    let current = running.clone();
    let answers = move || current.now().authorization.authorizer.entries();
    let lifetime = config.authorization.cache.allowed_ttl;
    running.now().authorization.count_changes(answers, lifetime);
    let limits = Reloaded::new(composition::connection_limits(config));
    let readiness = Readiness::new(Box::new(Dependencies::new(running.clone())));
    let refresh = refresh_gauges(running.clone(), metrics.clone(), telemetry);
    let admin = Admin::new(readiness.clone(), metrics.exposition(), refresh);
    let answering = Answering {
        admin: vec![admin; workers.count()],
        service: Current::on_each(workers.count(), &running, Composition::service),
        gateway: Current::on_each(workers.count(), &running, Composition::gateway),
    };
    let listeners = Listeners::bind(config, answering, &limits, &metrics).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listeners = listeners.description(),
        upstreams = upstreams_told(config),
        "started"
    );
    let reloader = Reloader {
        path: path.to_owned(),
        hangup,
        running: running.clone(),
        limits,
        filter: telemetry.filter().clone(),
        lasting,
    };
    Handle::current().spawn(reloader.run());
    let drain_timeout = || running.now().config.limits.drain_timeout;
    listeners
        .serve(&workers, signals, &readiness, drain_timeout)
        .await;
    if let Some(exporter) = exporter {
        exporter.finish().await;
    }
    Ok(())
}

/// What each worker has for as long as the program runs.
fn lasting_workers(
    config: &Config,
    authorization: &Authorization,
    telemetry: &Telemetry,
    count: usize,
) -> Result<Vec<LastingWorker>, StartError> {
    let api_server = match &config.listeners.gateway {
        Some(_) => Some(Arc::new(ApiServer::new(&authorization.client)?)),
        None => None,
    };
    let worker = |_| LastingWorker {
        lines: telemetry.lines().another(),
        api_server: (api_server.clone()).map(|server| Arc::new(Connections::new(server))),
    };
    Ok((0..count).map(worker).collect())
}

/// The upstreams and where they are, as the log tells them.
fn upstreams_told(config: &Config) -> String {
    let upstreams = config.upstreams.iter();
    let told = upstreams.map(|upstream| format!("{}={}", upstream.name, upstream.address));
    told.collect::<Vec<_>>().join(", ")
}

/// Brings gauges up to date that are read rather than counted.
fn refresh_gauges(
    running: Reloaded<Composition>,
    metrics: Metrics,
    telemetry: &Telemetry,
) -> Arc<dyn Fn() + Send + Sync> {
    let lost = telemetry.lines().lost();
    Arc::new(move || {
        running.now().refresh_gauges(&metrics);
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

/// Why there is no configuration to work with.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Config(#[from] config::LoadError),
    #[error(transparent)]
    Level(#[from] telemetry::LevelError),
}

/// Reads the configuration, with overrides from the environment.
///
/// # Errors
/// With every fault.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let text = std::fs::read_to_string(path).map_err(|source| config::LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text)
}

/// The same, of what was read from its file.
#[allow(clippy::disallowed_methods, reason = "the one place")]
fn parse(text: &str) -> Result<Config, LoadError> {
    let config = Config::parse(text, std::env::vars())?;
    telemetry::filter(&config.logging.level)?;
    Ok(config)
}
