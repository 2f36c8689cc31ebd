//! The listeners, bound, and how they accept until the program ends.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Handle;

use super::StartError;
use super::current::Current;
use super::metrics::{Metrics, TlsListener};
use super::signals::Signals;
use crate::config::{Config, TlsFiles};
use crate::gateway::Gateway;
use crate::reload::Reloaded;
use crate::request::stack::Stack;
use crate::server::admin::{Admin, Readiness};
use crate::server::{self, ConnectionLimits, Listener, Workers};

/// Between failing readiness and closing the listeners: an endpoint controller needs this long to send no
/// more connections here.
const DRAIN_NOTICE: Duration = Duration::from_secs(2);

/// All that this program listens on.
pub(super) struct Listeners {
    admin: Listener<Admin>,
    service: Listener<Current<TowerToHyperService<Stack>>>,
    gateway: Option<Listener<Current<Gateway>>>,
}

/// What answers: one of each kind for each worker.
pub(super) struct Answering {
    pub(super) admin: Vec<Admin>,
    pub(super) service: Vec<Current<TowerToHyperService<Stack>>>,
    /// Used where there is a gateway.
    pub(super) gateway: Vec<Current<Gateway>>,
}

impl Listeners {
    /// Binds what the configuration names.
    pub(super) async fn bind(
        config: &Config,
        answering: Answering,
        limits: &Reloaded<ConnectionLimits>,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let open = &metrics.process.connections;
        let addresses = &config.listeners;
        let address = addresses.admin.address;
        // Not counted: the gauge is about callers.
        let uncounted = Default::default();
        let admin = Listener::bind(
            "admin",
            address,
            None,
            answering.admin,
            limits.clone(),
            uncounted,
        )
        .await?;
        let tls = tls_of(
            TlsListener::Service,
            addresses.service.tls.as_ref(),
            metrics,
        )?;
        let service = Listener::bind(
            "service",
            addresses.service.address,
            tls,
            answering.service,
            limits.clone(),
            open.clone(),
        )
        .await?;
        let gateway = match addresses.gateway.as_ref() {
            None => None,
            Some(gateway) => {
                let tls = tls_of(TlsListener::Gateway, gateway.tls.as_ref(), metrics)?;
                let (address, open) = (gateway.address, open.clone());
                let listener = Listener::bind(
                    "gateway",
                    address,
                    tls,
                    answering.gateway,
                    limits.clone(),
                    open,
                )
                .await?;
                Some(listener.like_an_api_server())
            }
        };
        Ok(Self {
            admin,
            service,
            gateway,
        })
    }

    /// Their names and addresses, as the log tells them.
    pub(super) fn description(&self) -> String {
        let mut told = vec![self.service.description()];
        told.extend(self.gateway.iter().map(Listener::description));
        told.push(self.admin.description());
        told.join(", ")
    }

    /// Accepts connections until a signal comes, and then drains for at most what `drain_timeout` says at that time.
    /// The admin listener answers to the very end, so that one can watch the draining.
    pub(super) async fn serve(
        self,
        workers: &Workers,
        mut signals: Signals,
        readiness: &Readiness,
        drain_timeout: impl Fn() -> Duration,
    ) {
        let (graceful, admin_graceful) = (GracefulShutdown::new(), GracefulShutdown::new());
        let (service, gateway) = (self.service, self.gateway);
        let serving = async {
            let mut accepting = Box::pin(async {
                tokio::select! {
                    () = service.accept(workers, &graceful) => {}
                    () = accept_gateway(gateway, workers, &graceful) => {}
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
            let drained = tokio::time::timeout(drain_timeout(), graceful.shutdown());
            let complete = !at_once
                && tokio::select! {
                    drained = drained => drained.is_ok(),
                    () = signals.next() => false,
                };
            tracing::info!(complete, "drained");
        };
        tokio::select! {
            () = serving => {}
            () = self.admin.accept(workers, &admin_graceful) => {}
        }
    }
}

/// Accepts connections where there is a gateway, and does nothing for ever where there is none.
async fn accept_gateway(
    listener: Option<Listener<Current<Gateway>>>,
    workers: &Workers,
    graceful: &GracefulShutdown,
) {
    match listener {
        Some(listener) => listener.accept(workers, graceful).await,
        None => std::future::pending().await,
    }
}

/// TLS of a listener, where it has any.
fn tls_of(
    listener: TlsListener,
    files: Option<&TlsFiles>,
    metrics: &Metrics,
) -> Result<Option<Reloaded<Arc<rustls::ServerConfig>>>, StartError> {
    let expires = || metrics.process.certificate(listener);
    let acceptor = files.map(|files| server::acceptor(files, &Handle::current(), expires()));
    let listener = listener.as_str();
    let failed = |source| StartError::Tls { listener, source };
    acceptor.transpose().map_err(failed)
}
