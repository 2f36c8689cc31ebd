//! Builds the authenticator and the authorizer from the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::StartError;
use crate::authz::{self, Authorizer, Policy};
use crate::cluster::metrics::ReviewsMetrics;
use crate::cluster::namespace_objects::NamespaceObjects;
use crate::cluster::{self, ClusterNamespaces, KubeCluster};
use crate::config::{self, Config, NamespaceSearch, RightsChanges};
use crate::promql;
use crate::rbac::metrics::RbacMetrics;
use crate::rbac::{self, Bindings, CandidateFinder, Changes};

/// What decides about callers; the same for `serve` and `explain`.
pub struct Authorization {
    pub cluster: KubeCluster,
    /// Decides what a caller may see.
    pub authorizer: Arc<Authorizer>,
    finder: CandidateFinder,
    /// Changes of rights, where those are watched.
    changes: Option<Changes>,
    /// What the gateway's list of namespaces shows, where it has one.
    pub(super) objects: Option<NamespaceObjects>,
    /// Where Kubernetes is, and who we are there.
    pub(super) client: kube::Config,
    /// Watches Kubernetes' objects.
    pub(super) watches: kube::Client,
}

impl Authorization {
    /// Builds it from the configuration, and begins to watch what it needs of the cluster.
    ///
    /// # Errors
    /// When there is no way to Kubernetes.
    pub async fn new(
        config: &Config,
        metrics: &ReviewsMetrics,
        rbac: &RbacMetrics,
    ) -> Result<Self, StartError> {
        let client = cluster::client_config(config.kubernetes.kubeconfig.as_deref()).await?;
        let cluster = reviews(&client, config)?;
        let namespaces = ClusterNamespaces::default();
        let watches = cluster::watch_client(&client)?;
        let listed = config.listeners.gateway.as_ref();
        let listed = listed.is_some_and(|gateway| gateway.namespace_list);
        let objects = listed.then(NamespaceObjects::default);
        let watch = cluster::watch_namespaces(watches.clone(), namespaces.clone(), objects.clone());
        tokio::spawn(watch);
        let rbac_watched = Rbac::watch(&config.authorization, &watches, rbac);
        let finder = rbac_watched.finder(namespaces);
        let changes = rbac_watched.changes();
        let authorizer = authorizer(config, &cluster, &finder, changes.as_ref(), metrics);
        Ok(Self {
            cluster,
            authorizer,
            finder,
            changes,
            objects,
            client,
            watches,
        })
    }

    /// The same for another configuration, with the same connections to Kubernetes and the same watches. Cached answers
    /// are kept only if everything that decides is as it was `before`.
    ///
    /// # Errors
    /// When the credentials cannot be used any longer.
    pub(super) fn following(
        &self,
        before: &Config,
        config: &Config,
        metrics: &ReviewsMetrics,
    ) -> Result<Self, StartError> {
        let same_kubernetes = before.kubernetes == config.kubernetes;
        let cluster = if same_kubernetes {
            self.cluster.clone()
        } else {
            reviews(&self.client, config)?
        };
        let authorizer = if same_kubernetes && decides_by(before) == decides_by(config) {
            self.authorizer.clone()
        } else {
            let changes = self.changes.as_ref();
            authorizer(config, &cluster, &self.finder, changes, metrics)
        };
        Ok(Self {
            cluster,
            authorizer,
            finder: self.finder.clone(),
            changes: self.changes.clone(),
            objects: self.objects.clone(),
            client: self.client.clone(),
            watches: self.watches.clone(),
        })
    }

    /// Applies watched changes of rights, for as long as the program runs. `answers` says how many answers a change may
    /// affect; they last for `lifetime`.
    pub(super) fn count_changes(
        &self,
        answers: impl Fn() -> u64 + Send + 'static,
        lifetime: Duration,
    ) {
        if let Some(changes) = self.changes.clone() {
            tokio::spawn(changes.drive(answers, lifetime));
        }
    }

    /// Waits for the first lists of the watches, for as long as a review may take.
    pub async fn watches_settled(&self) {
        let _ = tokio::time::timeout(self.cluster.timeout(), self.finder.settled()).await;
    }
}

/// The watches of RBAC.
struct Rbac {
    /// The bindings, as the watches know them. `None`: RBAC is not watched.
    known: Option<(Bindings, Changes)>,
    /// Whether the bindings say where to search.
    searched: bool,
    metrics: RbacMetrics,
}

impl Rbac {
    /// Begins to watch what the configuration needs.
    fn watch(
        authorization: &config::Authorization,
        client: &kube::Client,
        metrics: &RbacMetrics,
    ) -> Self {
        let searched = authorization.namespaces == NamespaceSearch::Bindings;
        let watched = authorization.changes == RightsChanges::Watch;
        let known = (searched || watched).then(|| {
            let changes = Changes::default();
            let bindings = Bindings::new(changes.clone(), metrics.clone());
            let (client, known, counted) = (client.clone(), bindings.clone(), metrics.clone());
            tokio::spawn(rbac::watch_role_bindings(client, known, counted));
            (bindings, changes)
        });
        if let Some((bindings, _)) = known.as_ref().filter(|_| watched) {
            let (client, known, counted) = (client.clone(), bindings.clone(), metrics.clone());
            tokio::spawn(rbac::watch_roles(client, known, counted));
        }
        Self {
            known,
            searched,
            metrics: metrics.clone(),
        }
    }

    fn finder(&self, namespaces: ClusterNamespaces) -> CandidateFinder {
        let bindings = self.known.as_ref().filter(|_| self.searched);
        let bindings = bindings.map(|(bindings, _)| bindings.clone());
        CandidateFinder::new(namespaces, bindings, self.metrics.clone())
    }

    fn changes(&self) -> Option<Changes> {
        self.known.as_ref().map(|(_, changes)| changes.clone())
    }
}

/// Asks reviews through `client`.
fn reviews(client: &kube::Config, config: &Config) -> Result<KubeCluster, StartError> {
    let kubernetes = &config.kubernetes;
    let concurrent = kubernetes.concurrent_reviews as usize;
    let runtime = Handle::current();
    let cluster = KubeCluster::new(client, runtime, kubernetes.timeout, concurrent)?;
    Ok(cluster)
}

/// An authorizer with an empty cache that asks `cluster`.
fn authorizer(
    config: &Config,
    cluster: &KubeCluster,
    finder: &CandidateFinder,
    changes: Option<&Changes>,
    metrics: &ReviewsMetrics,
) -> Arc<Authorizer> {
    let (policy, lifetimes) = decides_by(config);
    Arc::new(Authorizer::new(
        policy,
        lifetimes,
        Arc::new(cluster.clone()),
        finder.clone(),
        changes.cloned(),
        metrics,
    ))
}

/// All of a configuration that an authorizer depends on, besides its way to Kubernetes.
fn decides_by(config: &Config) -> (Policy, authz::Lifetimes) {
    let authorization = &config.authorization;
    let policy = Policy {
        attributes: authorization.attributes.clone(),
        namespace_label: authorization.namespace_label.clone(),
        metric_rules: authorization.metric_rules.clone(),
        query_limits: query_limits(config),
        max_namespaces: config.limits.max_namespaces,
        // Before it come, one after the other, the token and the whole cluster.
        patience: config.kubernetes.request_timeout / 2,
    };
    let lifetimes = authz::Lifetimes {
        allowed: authorization.cache.allowed_ttl,
        denied: authorization.cache.denied_ttl,
        watched: authorization.cache.watched_ttl,
        stale: authorization.cache.stale_for,
        capacity: authorization.cache.capacity,
    };
    (policy, lifetimes)
}

fn query_limits(config: &Config) -> promql::Limits {
    let limits = &config.limits;
    promql::Limits {
        max_bytes: limits.max_query_bytes,
        max_depth: limits.query.max_depth,
        max_operators: limits.query.max_operators,
        max_selectors: limits.query.max_selectors,
        max_pattern_size: limits.query.max_pattern_size,
        ..promql::Limits::default()
    }
}
