//! etcd, the API server and the controller manager, with what a cluster has before anything is deployed.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use standins::tls::CertificateAuthority;
use tokio::sync::Mutex;

use super::administrator::{ADMIN, Administrator};
use super::api::{Credentials, Http};
use super::issuer::Issuer;
use super::programs::{self, Program};
use support::client::Answer;
use support::files::run_folder;

/// Where the API server is. The ports are those of this network namespace.
pub const URL: &str = "https://127.0.0.1:6443";
const ETCD: &str = "http://127.0.0.1:2379";
/// In no list of loopback addresses: the API server publishes it in Endpoints.
const ADVERTISED: &str = "10.77.0.1";

/// In which time a review is answered.
const ANSWERED: Duration = Duration::from_secs(5);

/// The controllers that the suite needs. None that would notice that the node has no kubelet.
const CONTROLLERS: &str = "clusterrole-aggregation-controller,endpoints-controller,endpointslice-controller,\
    serviceaccount-controller,root-ca-certificate-publisher-controller,namespace-controller,\
    deployment-controller,replicaset-controller,garbage-collector-controller";

/// A user of a static token, whose name is the token.
pub const TOKEN_USERS: [&str; 2] = [ADMIN, "token-user"];

/// The cluster.
pub struct Cluster {
    pub http: Http,
    administrator: Administrator,
    pub authority: CertificateAuthority,
    pub issuer: Issuer,
    running: Mutex<Running>,
    _etcd: Program,
}

struct Running {
    api_server: Option<Program>,
    /// From when to when it was starting.
    starts: Vec<(Timestamp, Timestamp)>,
    controllers: Option<Program>,
}

impl Cluster {
    /// Starts everything, and waits until the API server is ready and the built-in roles are there.
    pub async fn start() -> Self {
        let authority = CertificateAuthority::new("real-ca");
        let issuer = Issuer::start(&authority).await;
        write_files(&authority, &issuer);
        let data = run_folder().join("etcd");
        let etcd = Program::start(
            "etcd",
            &programs::etcd(),
            &[
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls={ETCD}"),
                format!("--advertise-client-urls={ETCD}"),
                "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
                "--log-level=warn".to_owned(),
            ],
        );
        let http = Http::new(authority.pem());
        let cluster = Self {
            http: http.clone(),
            administrator: Administrator { http, url: URL },
            authority,
            issuer,
            running: Mutex::new(Running {
                api_server: None,
                starts: Vec::new(),
                controllers: None,
            }),
            _etcd: etcd,
        };
        cluster.start_api_server().await;
        cluster.start_controllers(URL).await;
        cluster
    }

    /// Starts the API server, and waits until it is ready.
    pub async fn start_api_server(&self) {
        let start = Timestamp::now();
        let program = start_api_server();
        self.administrator.ready(&program).await;
        let mut running = self.running.lock().await;
        running.api_server = Some(program);
        running.starts.push((start, Timestamp::now()));
    }

    /// How long the API server took until it was ready, the last time.
    pub async fn last_start(&self) -> Duration {
        let running = self.running.lock().await;
        let (from, to) = running.starts.last().expect("it has started");
        to.duration_since(*from).unsigned_abs()
    }

    /// Whether the API server was not ready yet when an event of its audit log came: until it has read all roles,
    /// it refuses what it grants later.
    pub async fn was_starting(&self, event: &Value) -> bool {
        let time = event["requestReceivedTimestamp"].as_str();
        let time: Option<Timestamp> = time.and_then(|time| time.parse().ok());
        let starts = &self.running.lock().await.starts;
        time.is_some_and(|time| {
            starts
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&time))
        })
    }

    /// Ends the API server, as a crash of its machine would.
    pub async fn kill_api_server(&self) {
        let program = self.running.lock().await.api_server.take();
        program.expect("it runs").kill();
    }

    /// Starts the controller manager, with its API server at that URL. One that runs is ended before.
    pub async fn start_controllers(&self, url: &str) {
        let mut running = self.running.lock().await;
        if let Some(program) = running.controllers.take() {
            program.stop();
        }
        let kubeconfig = self.kubeconfig("controllers", url, "system:kube-controller-manager");
        let file = |name: &str| run_folder().join(name).display().to_string();
        let program = Program::start(
            "kube-controller-manager",
            &programs::controller_manager(),
            &[
                format!("--kubeconfig={}", kubeconfig.display()),
                format!("--authentication-kubeconfig={}", kubeconfig.display()),
                format!("--authorization-kubeconfig={}", kubeconfig.display()),
                format!("--root-ca-file={}", file("ca.crt")),
                "--bind-address=127.0.0.1".to_owned(),
                "--leader-elect=false".to_owned(),
                "--use-service-account-credentials=true".to_owned(),
                format!("--controllers={CONTROLLERS}"),
            ],
        );
        running.controllers = Some(program);
    }

    /// What the controller manager has logged.
    pub async fn controllers_log(&self) -> String {
        let running = self.running.lock().await;
        let program = running.controllers.as_ref().expect("it runs");
        program.assert_running();
        std::fs::read_to_string(&program.log).expect("its log")
    }

    /// A kubeconfig for that token, in a file.
    pub fn kubeconfig(&self, name: &str, url: &str, token: &str) -> PathBuf {
        let path = run_folder().join(format!("{name}.kubeconfig"));
        let text = kubeconfig(url, &json!({ "token": token }));
        std::fs::write(&path, text).expect("written");
        path
    }

    /// What the API server answers a caller.
    pub async fn as_user(&self, token: &str, method: Method, path: &str) -> Answer {
        let url = format!("{URL}{path}");
        let credentials = Credentials::Bearer(token);
        self.http.send(method, &url, credentials, None).await
    }

    /// A request of the administrator, with a JSON body.
    pub async fn admin(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.administrator.send(method, path, body).await
    }

    /// A list's or an object's JSON.
    pub async fn object(&self, path: &str) -> Value {
        self.admin(Method::GET, path, &Value::Null)
            .await
            .ok()
            .json()
    }

    /// Creates an object, or replaces nothing if it is there.
    pub async fn create(&self, path: &str, object: &Value) {
        self.administrator.create(path, object).await;
    }

    pub async fn delete(&self, path: &str) {
        self.administrator.delete(path).await;
    }

    /// A token of a ServiceAccount, by TokenRequest. `spec` is the request's.
    pub async fn token(&self, namespace: &str, account: &str, spec: Value) -> String {
        self.administrator.token(namespace, account, spec).await
    }

    /// What Kubernetes says about an access.
    pub async fn may(&self, user: &str, groups: &[&str], attributes: &Value) -> bool {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": user, "groups": groups, "resourceAttributes": attributes },
        });
        let url = format!("{URL}/apis/authorization.k8s.io/v1/subjectaccessreviews");
        let ask = || {
            let admin = Credentials::Bearer(ADMIN);
            self.http.try_send(Method::POST, &url, admin, Some(&review))
        };
        // Of some thousand reviews, one was never answered on a connection that the API server ended meanwhile.
        let answer = match tokio::time::timeout(ANSWERED, ask()).await {
            Ok(answer) => answer,
            Err(_) => ask().await,
        };
        let answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        answer.ok().json()["status"]["allowed"] == true
    }

    /// Everything that the API server has written about requests, oldest first.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(run_folder().join("audit.log")).unwrap_or_default();
        let lines = text.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

/// A kubeconfig; its user is given.
pub fn kubeconfig(url: &str, user: &Value) -> String {
    let ca = run_folder().join("ca.crt");
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "main",
        "clusters": [{ "name": "main", "cluster": { "server": url, "certificate-authority": ca } }],
        "users": [{ "name": "main", "user": user }],
        "contexts": [{ "name": "main", "context": { "cluster": "main", "user": "main" } }],
    })
    .to_string()
}

fn write_files(authority: &CertificateAuthority, issuer: &Issuer) {
    let write =
        |name: &str, text: &str| std::fs::write(run_folder().join(name), text).expect("written");
    write("ca.crt", authority.pem());
    let names = [
        "127.0.0.1",
        "localhost",
        ADVERTISED,
        "kubernetes",
        "kubernetes.default.svc",
    ];
    let server = authority.issue(&names);
    write("server.crt", &server.certificate_pem);
    write("server.key", &server.key_pem);
    // Its own authority: a client certificate must not make its bearer a front proxy.
    let front = CertificateAuthority::new("real-front-proxy-ca");
    write("front-proxy-ca.crt", front.pem());
    let client = front.issue(&["front-proxy-client"]);
    write("front-proxy.crt", &client.certificate_pem);
    write("front-proxy.key", &client.key_pem);
    let accounts = CertificateAuthority::new("service-accounts").issue(&["service-accounts"]);
    write("service-accounts.key", &accounts.key_pem);
    write("service-accounts.crt", &accounts.certificate_pem);
    let mut tokens = String::new();
    for user in TOKEN_USERS {
        let group = if user == ADMIN {
            "system:masters"
        } else {
            "token-users"
        };
        tokens += &format!("{user},{user},uid-of-{user},\"{group}\"\n");
    }
    tokens += "system:kube-controller-manager,system:kube-controller-manager,kcm,\"\"\n";
    write("tokens.csv", &tokens);
    write(
        "authentication.json",
        &issuer.authentication(authority.pem()).to_string(),
    );
    // Bodies of access reviews, which hold no token; of everything else who, what and how it went.
    let review = json!({ "group": "authorization.k8s.io", "resources": ["subjectaccessreviews"] });
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{ "level": "Request", "resources": [review] }, { "level": "Metadata" }],
    });
    write("audit-policy.json", &policy.to_string());
}

fn start_api_server() -> Program {
    let file = |name: &str| run_folder().join(name).display().to_string();
    let more = vec![
        format!("--client-ca-file={}", file("ca.crt")),
        format!(
            "--requestheader-client-ca-file={}",
            file("front-proxy-ca.crt")
        ),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--proxy-client-cert-file={}", file("front-proxy.crt")),
        format!("--proxy-client-key-file={}", file("front-proxy.key")),
        // Ends one connection in fifty requests, as several API servers do to share their load.
        "--goaway-chance=0.02".to_owned(),
        format!("--authentication-config={}", file("authentication.json")),
        format!("--audit-policy-file={}", file("audit-policy.json")),
        format!("--audit-log-path={}", file("audit.log")),
    ];
    programs::start_api_server(
        "kube-apiserver",
        (ETCD, 6443),
        ADVERTISED,
        "tokens.csv",
        more,
    )
}
