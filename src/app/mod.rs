//! The composition root: makes everything that the configuration names, binds the listeners, runs until told
//! to end, and drains.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::authn::{self, Authenticator, Sources};
use crate::authz::{self, Authorizer, ClusterNamespaces, Policy};
use crate::cluster::{self, KubeCluster};
use crate::config::{Config, TlsFiles};
use crate::gateway::{self, ApiServer, Gateway};
use crate::prometheus::RequestLimits;
use crate::promql;
use crate::reload::Reloaded;
use crate::request::pipeline::{Pipeline, Shared};
use crate::request::record::Log;
use crate::request::stack::Stack;
use crate::server::admin::{Admin, Probe, Readiness};
use crate::server::{self, ConnectionLimits, Listener, Workers};
use crate::slots::{Bounds, Slots};
use crate::telemetry::ids::Numbers;
use crate::telemetry::metrics::{Metrics, Review};
use crate::telemetry::spans::{self, Exporter};
use crate::telemetry::{Lost, Telemetry};
use crate::upstream::{Upstream, Upstreams};

/// How long one look at Kubernetes or Prometheus may take when readiness is asked for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Between failing readiness and closing the listeners: an endpoint controller needs this long to send no
/// more connections here.
const DRAIN_NOTICE: Duration = Duration::from_secs(2);

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Kubernetes' configuration.
    #[error(transparent)]
    Kubernetes(#[from] cluster::ConfigError),
    /// An upstream.
    #[error(transparent)]
    Upstream(#[from] crate::upstream::SetupError),
    /// TLS of a listener.
    #[error("listeners.{listener}.tls cannot be used")]
    Tls {
        /// Which listener.
        listener: &'static str,
        /// Why.
        #[source]
        source: server::TlsError,
    },
    /// The API server behind the gateway.
    #[error(transparent)]
    Gateway(#[from] gateway::SetupError),
    /// Export of spans.
    #[error(transparent)]
    Spans(#[from] spans::SetupError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] server::BindError),
    /// Threads.
    #[error(transparent)]
    Workers(#[from] server::WorkersError),
    /// Signals.
    #[error("signals cannot be listened for")]
    Signals(#[source] std::io::Error),
}

/// What decides about callers; the same for `serve` and `explain`.
pub struct Authorization {
    /// Asks Kubernetes.
    pub cluster: KubeCluster,
    /// Decides what a caller may see.
    pub authorizer: Authorizer,
    namespaces: ClusterNamespaces,
    /// Where Kubernetes is, and who we are there.
    client: kube::Config,
    /// Watches Kubernetes' objects.
    watches: kube::Client,
}

impl Authorization {
    /// Makes it of the configuration, and begins to watch the cluster's namespaces.
    ///
    /// # Errors
    /// When there is no way to Kubernetes.
    pub async fn new(config: &Config, metrics: &Metrics) -> Result<Self, StartError> {
        let kubernetes = &config.kubernetes;
        let client = cluster::client_config(kubernetes.kubeconfig.as_deref()).await?;
        let concurrent = kubernetes.concurrent_reviews as usize;
        let cluster = KubeCluster::new(&client, Handle::current(), kubernetes.timeout, concurrent)?;
        let namespaces = ClusterNamespaces::default();
        let watches = cluster::watch_client(&client)?;
        tokio::spawn(cluster::watch_namespaces(watches.clone(), {
            let namespaces = namespaces.clone();
            move |names| namespaces.publish(names)
        }));
        let authorization = &config.authorization;
        let policy = Policy {
            attributes: authorization.attributes.clone(),
            namespace_label: authorization.namespace_label.clone(),
            metric_rules: authorization.metric_rules.clone(),
            query_limits: query_limits(config),
        };
        let lifetimes = authz::Lifetimes {
            allowed: authorization.cache.allowed_ttl,
            denied: authorization.cache.denied_ttl,
            stale: authorization.cache.stale_for,
            capacity: authorization.cache.capacity,
        };
        let authorizer = Authorizer::new(
            policy,
            lifetimes,
            Arc::new(cluster.clone()),
            namespaces.clone(),
            metrics,
        );
        Ok(Self {
            cluster,
            authorizer,
            namespaces,
            client,
            watches,
        })
    }

    /// Waits for the first list of the cluster's namespaces, for as long as a review may take.
    pub async fn namespaces_listed(&self) {
        let _ = tokio::time::timeout(self.cluster.timeout(), self.namespaces.listed()).await;
    }
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// When something that the configuration names cannot be used.
pub async fn serve(config: &Config, telemetry: &Telemetry) -> Result<(), StartError> {
    let metrics = Metrics::new();
    let runtime = Handle::current();
    let mut signals = Signals::listen()?;

    let Authorization {
        cluster,
        authorizer,
        client,
        watches,
        ..
    } = Authorization::new(config, &metrics).await?;
    let limits = &config.limits;
    let slots = |concurrent: u32| {
        let (concurrent, queued) = (concurrent as usize, limits.queued_per_caller as usize);
        Slots::new(Bounds {
            concurrent,
            queued,
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
        Arc::new(cluster.clone()),
        metrics.review(Review::Token),
        slots(limits.concurrent_per_caller),
    );
    let shared = Arc::new(Shared {
        authenticator,
        authorizer,
        limits: request_limits(config),
        max_body_bytes: limits.max_body_bytes,
        body_timeout: limits.header_timeout,
        slots: slots(limits.concurrent),
    });
    let upstreams: Vec<_> = config
        .upstreams
        .iter()
        .map(|upstream| Upstream::new(upstream, &runtime, &watches, &metrics))
        .collect::<Result<_, _>>()?;

    let (tracer, exporter) = Exporter::start(&config.tracing, &metrics)?.unzip();
    let workers = Workers::start(std::thread::available_parallelism().map_or(1, usize::from))?;
    let logging = &config.logging;
    let ids = Arc::new(Numbers::new());
    let stacks = (0..workers.count()).map(|_| {
        let upstreams = Upstreams::new(&upstreams, limits.max_duration);
        let lines = logging.audit.then(|| telemetry.lines().another());
        let log = Log::new(lines, logging.audit_query, metrics.clone());
        Stack::new(
            Pipeline::new(shared.clone(), upstreams),
            log,
            metrics.clone(),
            ids.clone(),
            tracer.clone(),
        )
    });
    let stacks: Vec<_> = stacks.collect();
    let gateways = match &config.listeners.gateway {
        None => None,
        Some(gateway) => {
            let api_server = ApiServer::new(&client)?;
            let gateway = gateway::Shared::new(
                api_server,
                gateway,
                shared.authenticator.clone(),
                &authentication.token_headers,
                metrics.clone(),
            );
            let of_worker = |stack: &Stack| Gateway::new(gateway.clone(), stack.clone());
            Some(stacks.iter().map(of_worker).collect::<Vec<_>>())
        }
    };

    let connection_limits = ConnectionLimits {
        header_timeout: limits.header_timeout,
        connections: limits.max_connections,
    };
    // Headlamp needs the gateway for more than its charts: it must not go away with Prometheus.
    let needed = match config.listeners.gateway {
        Some(_) => &[],
        None => &upstreams[..],
    };
    let probes = Dependencies {
        cluster,
        upstreams: Upstreams::new(needed, limits.max_duration),
        answered: false.into(),
    };
    let readiness = Readiness::new(Box::new(probes));
    let refresh = refresh_gauges(shared.clone(), metrics.clone(), telemetry.lines().lost());
    let admin = Admin::new(readiness.clone(), metrics.clone(), refresh);
    let admins = vec![admin; workers.count()];
    let address = config.listeners.admin.address;
    // Not counted: the gauge is about callers.
    let admin = Listener::bind(
        "admin",
        address,
        None,
        admins,
        connection_limits,
        Default::default(),
    )
    .await?;
    let service = &config.listeners.service;
    let tls = tls_of("service", service.tls.as_ref(), &runtime)?;
    let open = metrics.connections().clone();
    let service = Listener::bind(
        "service",
        service.address,
        tls,
        stacks,
        connection_limits,
        open,
    )
    .await?;

    let gateway = match config.listeners.gateway.as_ref().zip(gateways) {
        None => None,
        Some((gateway, gateways)) => {
            let tls = tls_of("gateway", gateway.tls.as_ref(), &runtime)?;
            let open = metrics.connections().clone();
            let (address, limits) = (gateway.address, connection_limits);
            let listener = Listener::bind("gateway", address, tls, gateways, limits, open).await?;
            Some(listener.like_an_api_server())
        }
    };

    let graceful = GracefulShutdown::new();
    let admin_graceful = GracefulShutdown::new();
    let serving = async {
        let mut accepting = Box::pin(async {
            tokio::select! {
                () = service.accept(&workers, &graceful) => {}
                () = accept_gateway(gateway, &workers, &graceful) => {}
            }
        });
        tokio::select! {
            () = &mut accepting => {}
            () = signals.next() => {}
        }
        readiness.drain();
        tracing::info!("draining");
        // Who asks twice does not want to wait.
        let at_once = tokio::select! {
            () = &mut accepting => false,
            () = tokio::time::sleep(DRAIN_NOTICE) => false,
            () = signals.next() => true,
        };
        // Closes the listeners.
        drop(accepting);
        let drained = tokio::time::timeout(limits.drain_timeout, graceful.shutdown());
        let complete = !at_once
            && tokio::select! {
                drained = drained => drained.is_ok(),
                () = signals.next() => false,
            };
        tracing::info!(complete, "drained");
    };
    // The admin listener answers to the very end, so that one can see how draining goes.
    tokio::select! {
        () = serving => {}
        () = admin.accept(&workers, &admin_graceful) => {}
    }
    if let Some(exporter) = exporter {
        exporter.finish().await;
    }
    Ok(())
}

/// TLS of a listener, where it has any.
fn tls_of(
    listener: &'static str,
    files: Option<&TlsFiles>,
    runtime: &Handle,
) -> Result<Option<Reloaded<Arc<rustls::ServerConfig>>>, StartError> {
    let acceptor = files.map(|files| server::acceptor(files, runtime));
    let failed = |source| StartError::Tls { listener, source };
    acceptor.transpose().map_err(failed)
}

/// What asks the program to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(StartError::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Accepts connections where there is a gateway, and does nothing for ever where there is none.
async fn accept_gateway(
    listener: Option<Listener<Gateway>>,
    workers: &Workers,
    graceful: &GracefulShutdown,
) {
    match listener {
        Some(listener) => listener.accept(workers, graceful).await,
        None => std::future::pending().await,
    }
}

/// What of the configuration bounds a request.
pub fn request_limits(config: &Config) -> RequestLimits {
    let limits = &config.limits;
    RequestLimits {
        max_query_bytes: limits.max_query_bytes,
        max_range: limits.max_range,
        max_points: limits.max_points,
    }
}

fn query_limits(config: &Config) -> promql::Limits {
    promql::Limits {
        max_bytes: config.limits.max_query_bytes,
        ..promql::Limits::default()
    }
}

fn refresh_gauges(
    shared: Arc<Shared>,
    metrics: Metrics,
    lost: Lost,
) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        metrics.review_entries(Review::Token, shared.authenticator.entries());
        metrics.review_entries(Review::Access, shared.authorizer.entries());
        let counted = metrics.audit_dropped();
        counted.inc_by(lost.count().saturating_sub(counted.get()));
    })
}

/// What readiness depends on.
struct Dependencies {
    cluster: KubeCluster,
    upstreams: Upstreams,
    /// Whether Kubernetes has answered once. It is not asked again: while it is away, known callers are
    /// served, and a replica that hides would not help the others.
    answered: std::sync::atomic::AtomicBool,
}

impl Probe for Dependencies {
    fn look(&self) -> BoxFuture<'_, Result<(), String>> {
        use std::sync::atomic::Ordering;
        Box::pin(async move {
            if !self.answered.load(Ordering::Relaxed) {
                match self.cluster.may_review().await {
                    Ok(true) => self.answered.store(true, Ordering::Relaxed),
                    Ok(false) => return Err(
                        "the proxy's ServiceAccount may not create tokenreviews and subjectaccessreviews".to_owned(),
                    ),
                    Err(unavailable) => return Err(unavailable.to_string()),
                }
            }
            for client in self.upstreams.iter() {
                let name = client.upstream().name();
                client
                    .probe(PROBE_TIMEOUT)
                    .await
                    .map_err(|error| format!("upstream {name}: {error}"))?;
            }
            Ok(())
        })
    }
}

/// Reads the configuration, with overrides from the environment.
///
/// # Errors
/// With every fault.
pub fn load(path: &Path) -> Result<Config, crate::config::LoadError> {
    Config::load(path, std::env::vars())
}
