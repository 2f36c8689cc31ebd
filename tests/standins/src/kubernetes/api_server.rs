//! The handle on a running API server.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use super::authentication::{TokenRequest, Tokens, User};
use super::control::{Behaviour, Controls, Recorded, Records, ReviewAnswer, lock};
use super::kinds::Kind;
use super::store::Store;
use super::{Cluster, Inner, manifests, pipeline, watches};
use crate::tls::{CertificateAuthority, Issued};
use crate::{connect, random, serve};

const DEFAULT_ROLES: &str = include_str!("default_roles.yaml");

/// How an API server starts. The default is what a test needs that names nothing.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kinds beside those of the table. Default: none.
    pub kinds: Vec<Kind>,
    /// How many changes watches may lag behind before their version is too old. Default: 1000.
    pub history: usize,
    /// How often a watch that allows them gets bookmarks. Default: 60 s.
    pub bookmark_every: Duration,
    /// Whether `sendInitialEvents` works. Default: no, as recorded with etcd 3.4.
    pub streaming_lists: bool,
    /// Concurrent HTTP/2 streams of one connection. Default: 250, as Go's.
    pub max_concurrent_streams: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            history: 1000,
            bookmark_every: Duration::from_secs(60),
            streaming_lists: false,
            max_concurrent_streams: 250,
        }
    }
}

/// A running API server. Dropping it closes its port and cuts its connections.
pub struct ApiServer {
    pub(super) inner: Arc<Inner>,
    authority: CertificateAuthority,
    identity: Issued,
    address: SocketAddr,
    max_concurrent_streams: u32,
    listener: Mutex<Option<serve::Listener>>,
    admin_token: String,
}

impl ApiServer {
    /// Starts on a free loopback port, with the namespaces, roles and bindings of a fresh
    /// cluster and one administrator.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let authority = CertificateAuthority::new("kubernetes");
        let identity = authority.issue(&[
            "localhost",
            "127.0.0.1",
            "kubernetes",
            "kubernetes.default.svc",
        ]);
        let inner = Arc::new(Inner {
            cluster: Arc::new(Mutex::new(Cluster {
                store: Store::new(&options.kinds, options.history),
                tokens: Tokens::default(),
            })),
            controls: Controls::default(),
            records: Records::default(),
            watches: watches::Settings {
                bookmark_every: options.bookmark_every,
                streaming_lists: options.streaming_lists,
            },
            client: connect::unverified(),
        });
        let mut server = Self {
            inner,
            authority,
            identity,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            max_concurrent_streams: options.max_concurrent_streams,
            listener: Mutex::new(None),
            admin_token: format!("admin-{}", random::uuid()),
        };
        server.furnish();
        let listener = server.listen().await?;
        server.address = listener.address();
        *lock(&server.listener) = Some(listener);
        Ok(server)
    }

    fn furnish(&self) {
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            self.create_namespace(name, &[]);
        }
        let roles = manifests::parse(DEFAULT_ROLES, "the default roles").expect("they are YAML");
        for mut role in roles {
            role["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
            self.apply(role);
        }
        self.add_user(
            &self.admin_token,
            User {
                groups: vec!["system:masters".to_owned()],
                ..User::named("kubernetes-admin")
            },
        );
    }

    async fn listen(&self) -> io::Result<serve::Listener> {
        let inner = Arc::clone(&self.inner);
        let settings = serve::Settings {
            address: self.address,
            tls: Some(self.identity.server_config()),
            max_concurrent_streams: self.max_concurrent_streams,
        };
        serve::serve(settings, move |request, peer| {
            pipeline::answer(Arc::clone(&inner), request, peer)
        })
        .await
    }

    /// Closes the port and cuts every connection, watches and tunnels included. Objects, tokens
    /// and records stay.
    pub async fn stop(&self) {
        let listener = lock(&self.listener).take();
        if let Some(listener) = listener {
            listener.stop().await;
        }
    }

    /// Listens again, on the port it had.
    ///
    /// # Errors
    /// If another process has taken the port.
    pub async fn start_again(&self) -> io::Result<()> {
        let listener = self.listen().await?;
        *lock(&self.listener) = Some(listener);
        Ok(())
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority that signed the serving certificate, for others that callers are to trust.
    pub fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// That authority's certificate.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// A token of a member of `system:masters`.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// A kubeconfig with this token, as JSON, which YAML readers accept.
    pub fn kubeconfig(&self, token: &str) -> String {
        let authority = base64::engine::general_purpose::STANDARD.encode(self.ca_pem());
        let server = json!({"server": self.url(), "certificate-authority-data": authority});
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "main", "cluster": server}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "main", "context": {"cluster": "main", "user": "user"}}],
            "current-context": "main",
        });
        format!("{config:#}\n")
    }

    /// Writes that kubeconfig to a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path, token: &str) -> io::Result<()> {
        std::fs::write(path, self.kubeconfig(token))
    }

    /// Makes a token known as that user's; `system:authenticated` is added to the groups.
    pub fn add_user(&self, token: &str, user: User) {
        lock(&self.inner.cluster).tokens.add_user(token, user);
    }

    /// Makes a token, static or issued, invalid.
    pub fn revoke_token(&self, token: &str) {
        lock(&self.inner.cluster).tokens.remove(token);
    }

    /// Issues a token for a ServiceAccount.
    ///
    /// # Panics
    /// If there is no such ServiceAccount.
    pub fn create_token(&self, namespace: &str, account: &str, request: &TokenRequest) -> String {
        let account = self
            .object("serviceaccounts", namespace, account)
            .expect("the ServiceAccount exists");
        lock(&self.inner.cluster).tokens.issue(&account, request).0
    }

    /// Makes requests for the target behave, until taken back. A target is `*`, a path prefix
    /// (`/version`), a resource (`tokenreviews`, `services/proxy`) or a verb and a resource
    /// (`watch namespaces`). The newest rule for a request counts.
    pub fn behave(&self, target: &str, behaviour: Behaviour) {
        self.inner.controls.set(target, behaviour, None);
    }

    /// As [`ApiServer::behave`], for the next `times` requests (at least one).
    pub fn behave_times(&self, target: &str, times: usize, behaviour: Behaviour) {
        let times = Some(times.max(1));
        self.inner.controls.set(target, behaviour, times);
    }

    /// Takes back all rules set for this very target; `*` takes back all there are.
    pub fn behave_normally(&self, target: &str) {
        self.inner.controls.clear(target);
    }

    /// Lets a function make the `status` of TokenReviews from their `spec`; `None` ends that.
    pub fn answer_token_reviews(&self, answer: Option<ReviewAnswer>) {
        *lock(&self.inner.controls.token_reviews) = answer;
    }

    /// Lets a function make the `status` of SubjectAccessReviews; `None` ends that.
    pub fn answer_access_reviews(&self, answer: Option<ReviewAnswer>) {
        *lock(&self.inner.controls.access_reviews) = answer;
    }

    /// All requests so far, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.inner.records.all()
    }

    /// The requests so far for a target.
    pub fn requests_for(&self, target: &str) -> Vec<Recorded> {
        let mut all = self.inner.records.all();
        all.retain(|recorded| super::control::is_meant(target, &recorded.info));
        all
    }

    /// How many requests for a target have come so far.
    pub fn count(&self, target: &str) -> usize {
        self.inner.records.count(target)
    }

    /// Forgets all recorded requests.
    pub fn forget_requests(&self) {
        self.inner.records.forget();
    }

    /// Waits until `count` requests for the target have come; false if `limit` is over first.
    pub async fn wait_for_requests(&self, target: &str, count: usize, limit: Duration) -> bool {
        self.inner.records.reached(target, count, limit).await
    }

    /// Forgets the history, so that watches from any older version get 410 `Expired`, those that
    /// are open as well.
    pub fn compact_history(&self) {
        lock(&self.inner.cluster).store.compact();
    }

    /// What the server thinks of an access: allowed, and the reason it gives.
    pub fn may(&self, user: &User, attributes: &Value) -> (bool, String) {
        use super::store::text;
        let attributes = super::rbac::Attributes {
            verb: text(&attributes["verb"]),
            group: text(&attributes["group"]),
            resource: text(&attributes["resource"]),
            subresource: text(&attributes["subresource"]),
            namespace: text(&attributes["namespace"]),
            name: text(&attributes["name"]),
            path: attributes["path"].as_str().map(str::to_owned),
        };
        let decision = super::rbac::authorize(&lock(&self.inner.cluster).store, user, &attributes);
        (decision.allowed, decision.reason)
    }
}
