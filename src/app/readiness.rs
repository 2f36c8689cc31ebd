//! Whether all that requests need is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::cluster::KubeCluster;
use crate::server::admin::Probe;
use crate::upstream::Upstreams;

/// How long one look at Kubernetes or Prometheus may take when readiness is asked for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What readiness depends on.
pub(super) struct Dependencies {
    cluster: KubeCluster,
    upstreams: Upstreams,
    /// Whether Kubernetes has answered once. It is not asked again: while it is away, known callers are
    /// served, and a replica that hides would not help the others.
    answered: AtomicBool,
}

impl Dependencies {
    /// Kubernetes, and all of `upstreams`.
    pub(super) fn new(cluster: KubeCluster, upstreams: Upstreams) -> Self {
        Self {
            cluster,
            upstreams,
            answered: AtomicBool::new(false),
        }
    }
}

impl Probe for Dependencies {
    fn look(&self) -> BoxFuture<'_, Result<(), String>> {
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
