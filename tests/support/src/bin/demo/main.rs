//! The whole path on one machine: a real Prometheus with data, the stand-ins for Kubernetes and
//! Headlamp, the proxy between them, and a page to look at, until Ctrl-C.

mod page;
mod place;
mod report;
mod views;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use place::Place;
use report::report;
use standins::headlamp::{self, Headlamp};
use standins::kubernetes::{self, ApiServer, Subject, TokenRequest};
use standins::prometheus::{self, Data, Prometheus, Recorder};
use standins::site::Site;
use support::client::Call;
use support::proxy::{self, METRIC_RULES, Proxy};
use tokio::signal::unix::{SignalKind, signal};
use views::{PODS, Viewer, Views};

type Failure = Box<dyn Error + Send + Sync>;

const NAMESPACE: &str = "monitoring";
const SERVICE: &str = "prom-rbac-proxy";
const PROMETHEUS: &str = "prometheus-operated";
const PORT: u16 = 9090;

/// The proxy listens within this time of its start.
const LISTENS_WITHIN: Duration = Duration::from_secs(10);

/// Open answers may go on for this long after Ctrl-C.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

const USAGE: &str = "\
usage: demo --proxy BINARY [--manifests FOLDER] [--target FOLDER]

  --proxy BINARY      the built prom-rbac-proxy
  --manifests FOLDER  the kustomize base whose roles are applied (default: deploy/kustomize)
  --target FOLDER     where data and demo.env go (default: target)
  --help              prints this";

/// What the user typed.
struct Arguments {
    proxy: PathBuf,
    manifests: PathBuf,
    target: PathBuf,
}

/// Callers and their tokens.
struct Tokens {
    viewer: String,
    team_a: String,
    stranger: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `None` where help is asked for.
fn arguments() -> Result<Option<Arguments>, String> {
    let mut proxy = None;
    let mut manifests = PathBuf::from("deploy/kustomize");
    let mut target = PathBuf::from("target");
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        if matches!(option.as_str(), "--help" | "-h") {
            return Ok(None);
        }
        let value = given
            .next()
            .ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--proxy" => proxy = Some(PathBuf::from(value)),
            "--manifests" => manifests = PathBuf::from(value),
            "--target" => target = PathBuf::from(value),
            _ => return Err(format!("unknown option {option}")),
        }
    }
    Ok(Some(Arguments {
        proxy: proxy.ok_or("--proxy is needed: the path of the built prom-rbac-proxy")?,
        manifests,
        target,
    }))
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    // Asked for before anything runs, so that an early Ctrl-C ends everything in order too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let ended = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    tokio::pin!(ended);
    let place = Place::take(&arguments.target)?;
    let result = tokio::select! {
        () = &mut ended => Ok(()),
        started = Demo::start(&arguments, &place) => match started {
            Err(error) => Err(error),
            Ok(demo) => {
                let over = tokio::select! {
                    () = &mut ended => Ok(()),
                    () = demo.proxy_ends() => Err("the proxy has ended".into()),
                };
                let _ = fs::remove_file(place.folder.join("demo.env"));
                println!("ending");
                demo.proxy.terminate(ENDS_WITHIN).await;
                over
            }
        },
    };
    result.map_err(|error: Failure| {
        let log = place.folder.join("proxy.log");
        format!("{error}\n(the proxy's output is in {})", log.display()).into()
    })
}

/// All that runs. The order is the order of dropping.
struct Demo {
    proxy: Proxy,
    _page: Site,
    _headlamp: Headlamp,
    _api: Arc<ApiServer>,
    _prometheus: Prometheus,
}

impl Demo {
    async fn start(arguments: &Arguments, place: &Place) -> Result<Self, Failure> {
        let cache = arguments.target.join("standins-cache");
        let data = prometheus::Options::new(Data::everything(), &cache);
        let (prometheus, api) = tokio::join!(
            Prometheus::start(data),
            ApiServer::start(kubernetes::Options::default())
        );
        let (prometheus, api) = (prometheus?, Arc::new(api?));
        let upstream = Recorder::start(&prometheus.url()).await?;
        let tokens = furnish(&api, &arguments.manifests)?;
        api.create_service_at(NAMESPACE, PROMETHEUS, &[], PORT, prometheus.address());
        fs::write(place.folder.join("ca.crt"), api.ca_pem())?;
        let headlamp = Headlamp::start(headlamp::Options::new(&api.url(), api.ca_pem())).await?;
        let proxy = start_proxy(arguments, place, &api, &upstream).await?;
        let service = proxy.listening("service", LISTENS_WITHIN).await?;
        let admin = proxy.listening("admin", LISTENS_WITHIN).await?;
        let labels = [("headlamp-prometheus", "true")];
        api.create_service_at(NAMESPACE, SERVICE, &labels, PORT, service);
        wait_until_ready(admin).await?;
        let gateway = proxy.listening("gateway", LISTENS_WITHIN).await?;
        let views = Views::new(headlamp.url(), api.clone(), upstream, viewers(&tokens));
        let page = page::start(views).await?;
        let variables = vec![
            ("PAGE_URL", page.url()),
            ("PROXY_URL", format!("http://{service}")),
            ("ADMIN_URL", format!("http://{admin}")),
            ("GATEWAY_URL", format!("https://{gateway}")),
            ("HEADLAMP_URL", headlamp.url()),
            ("KUBE_URL", api.url()),
            ("KUBE_CA", place.folder.join("ca.crt").display().to_string()),
            ("PROMETHEUS_URL", prometheus.url()),
            ("SERVICE_ADDRESS", format!("{NAMESPACE}/{SERVICE}:{PORT}")),
            ("VIEWER_TOKEN", tokens.viewer),
            ("TEAM_A_TOKEN", tokens.team_a),
            ("STRANGER_TOKEN", tokens.stranger),
        ];
        report(&variables, &place.folder).await?;
        Ok(Self {
            proxy,
            _page: page,
            _headlamp: headlamp,
            _api: api,
            _prometheus: prometheus,
        })
    }

    async fn proxy_ends(&self) {
        while self.proxy.exited().is_none() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Namespaces, the shipped manifests, and three callers.
fn furnish(api: &ApiServer, manifests: &Path) -> Result<Tokens, Failure> {
    for namespace in ["team-a", "team-b", "victim", NAMESPACE, "demo"] {
        api.create_namespace(namespace, &[]);
    }
    if manifests.is_dir() {
        api.apply_manifests(manifests, NAMESPACE)?;
    } else {
        return Err(format!("there are no manifests in {}", manifests.display()).into());
    }
    let day = TokenRequest {
        seconds: 86_400,
        ..TokenRequest::default()
    };
    let token = |name: &str| {
        api.create_service_account("demo", name);
        api.create_token("demo", name, &day)
    };
    let tokens = Tokens {
        viewer: token("viewer"),
        team_a: token("team-a-viewer"),
        stranger: token("stranger"),
    };
    let account = |name| Subject::ServiceAccount("demo", name);
    api.bind_cluster_role("demo-viewer", "view", account("viewer"));
    api.bind_role(
        "team-a",
        "demo-viewer",
        "ClusterRole/view",
        account("team-a-viewer"),
    );
    for [namespace, pod] in PODS.into_iter().chain([["team-a", "postgres-0"]]) {
        let address = ([127, 0, 0, 1], 80).into();
        api.create_pod_at(namespace, pod, &[("app", "web")], address);
    }
    Ok(tokens)
}

/// The same callers, for the page.
fn viewers(tokens: &Tokens) -> Vec<Viewer> {
    let viewer = |name, bound, account, token: &String| Viewer {
        name,
        bound,
        account,
        token: token.clone(),
    };
    vec![
        viewer(
            "The viewer",
            "bound to view in the whole cluster",
            "viewer",
            &tokens.viewer,
        ),
        viewer(
            "The viewer of team-a",
            "bound to view in the namespace team-a",
            "team-a-viewer",
            &tokens.team_a,
        ),
        viewer(
            "The stranger",
            "bound to nothing",
            "stranger",
            &tokens.stranger,
        ),
    ]
}

/// Starts the proxy, with a gateway.
async fn start_proxy(
    arguments: &Arguments,
    place: &Place,
    api: &ApiServer,
    upstream: &Recorder,
) -> Result<Proxy, Failure> {
    let folder = &place.folder;
    let token = api.create_token(
        NAMESPACE,
        SERVICE,
        &TokenRequest {
            seconds: 86_400,
            ..TokenRequest::default()
        },
    );
    let kubeconfig = folder.join("proxy.kubeconfig");
    api.write_kubeconfig(&kubeconfig, &token)?;
    let identity = api.authority().issue(&["127.0.0.1", "localhost"]);
    fs::write(folder.join("gateway.crt"), identity.certificate_pem)?;
    fs::write(folder.join("gateway.key"), identity.key_pem)?;
    let config = folder.join("config.yaml");
    fs::write(&config, configuration(folder, &upstream.url()))?;
    let options = proxy::Options {
        binary: arguments.proxy.clone(),
        log: Some(folder.join("proxy.log")),
        ..proxy::Options::serve(&config)
    };
    Ok(Proxy::launch(&options)?)
}

fn configuration(folder: &Path, prometheus: &str) -> String {
    let folder = folder.display();
    format!(
        r#"listeners:
  service: {{ address: "127.0.0.1:0" }}
  admin: {{ address: "127.0.0.1:0" }}
  gateway:
    address: "127.0.0.1:0"
    tls: {{ certFile: "{folder}/gateway.crt", keyFile: "{folder}/gateway.key" }}
kubernetes: {{ kubeconfig: "{folder}/proxy.kubeconfig" }}
authorization:
{METRIC_RULES}upstreams:
  - {{ name: default, pathPrefix: /, url: "{prometheus}" }}
"#
    )
}

/// The admin listener says so; there is no event to wait for.
async fn wait_until_ready(admin: std::net::SocketAddr) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + LISTENS_WITHIN;
    let url = format!("http://{admin}/readyz");
    loop {
        match Call::get(&url).try_send().await {
            Ok(answer) if answer.status.is_success() => return Ok(()),
            _ if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            Ok(answer) => {
                let (status, text) = (answer.status, answer.text());
                return Err(format!("not ready: {status} {text}").into());
            }
            Err(error) => return Err(error),
        }
    }
}
