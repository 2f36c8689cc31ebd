//! Non-interference: what the restricted query answers on a Prometheus with everything is what the original
//! answers on a Prometheus that holds the caller's series only.
//!
//! The queries are Headlamp's, a list that covers the grammar, and generated ones. `PROMETHEUS_BINARIES`
//! (paths with `:` between) names the servers; by default it is the `prometheus` on the PATH. `REAL_VICTORIA_METRICS` is
//! where VictoriaMetrics is, which `scripts/e2e` builds.
//! `SEMANTICS_SEED` and `SEMANTICS_GENERATED` set the seed and the number of the generated queries.

mod corpus;
mod generator;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use generator::{Dialect, Generator, Vocabulary};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prom_rbac_proxy::namespace::{Namespace, NamespaceSet};
use prom_rbac_proxy::promql::{Constraint, Limits, Query, QueryError};
use serde_json::Value;
use standins::prometheus::{Data, Options, Prometheus, VictoriaMetrics};

const DEFAULT_SEED: u64 = 20_260_101;
const DEFAULT_GENERATED: usize = 2000;

/// A server that evaluates one query for longer is not needed to tell two answers apart.
const EVALUATION_LIMIT: &str = "10s";

/// The namespaces of the callers that are compared.
const SETS: [&[&str]; 3] = [&["team-a"], &["team-b"], &["team-a", "team-b"]];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q40_restricted_on_everything_is_the_original_on_the_callers_own() {
    for binary in binaries() {
        let full = start(&binary, Data::everything().without_rules()).await;
        let queries = queries(&full).await;
        for names in SETS {
            let own = start(&binary, Data::only(names.iter().copied()).without_rules()).await;
            let tally = compare(&full, &own, &set(names), &queries, |_| "namespace").await;
            println!("{}: {names:?}: {tally}", binary.display());
            assert!(
                tally.with_data * 5 > tally.compared,
                "most answers are empty: {tally}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_with_the_namespace_in_another_label_are_restricted_by_it() {
    for binary in binaries() {
        let full = start(&binary, Data::everything().without_rules()).await;
        let data = Data::only(["team-a"])
            .counting("keda_", "exported_namespace")
            .without_rules();
        let own = start(&binary, data).await;
        let queries: Vec<_> = corpus::headlamp()
            .into_iter()
            .filter(|query| query.contains("keda_"))
            .collect();
        assert!(!queries.is_empty());
        let label = |metric: Option<&str>| match metric {
            Some(metric) if metric.starts_with("keda_") => "exported_namespace",
            _ => "namespace",
        };
        let tally = compare(&full, &own, &set(&["team-a"]), &queries, label).await;
        println!("{}: KEDA: {tally}", binary.display());
        assert!(tally.with_data > 0, "{tally}");
    }
}

/// Its language is a wider one: what goes out to it must select the same series in its own reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "scripts/e2e runs it"]
async fn k15_victoria_metrics_reads_what_is_restricted_as_prometheus_does() {
    let program = std::env::var_os("REAL_VICTORIA_METRICS");
    let program = PathBuf::from(program.expect("run scripts/e2e, which builds VictoriaMetrics"));
    let start = async |data: Data| {
        let store = VictoriaMetrics::start(&program, &data, cache()).await;
        let store = store.expect("VictoriaMetrics starts");
        Server {
            reads_as_prometheus: false,
            ..server(store.url(), store)
        }
    };
    let full = start(Data::everything()).await;
    let queries = queries(&full).await;
    for names in SETS {
        let own = start(Data::only(names.iter().copied())).await;
        let tally = compare(&full, &own, &set(names), &queries, |_| "namespace").await;
        println!("VictoriaMetrics: {names:?}: {tally}");
        assert!(
            tally.with_data * 5 > tally.compared,
            "most answers are empty: {tally}"
        );
    }
}

/// Texts of `info()` that are served: its second argument has a matcher on the namespace that refuses the empty string.
const INFOS: [&str; 12] = [
    r#"info(up, {namespace!=""})"#,
    r#"info(up, {namespace=~".+"})"#,
    r#"info(up, {namespace="team-a"})"#,
    r#"info(up, {__name__="target_info", namespace="team-a", k8s_region=~".+"})"#,
    r#"info(up, {__name__="target_info", namespace=~"team-a|victim", k8s_region=~".*"})"#,
    // What is joined has no namespace of its own, and so gets that of the series it is joined with.
    r#"info(sum by (job, instance) (up), {namespace!="", k8s_region=~".+"})"#,
    r#"info(sum by (job, instance) (up), {namespace!="victim", namespace!=""})"#,
    // Two metrics of the same job and instance, in two namespaces: a conflict where both can be seen.
    r#"info(up{job="postgres"}, {__name__=~".+_info", namespace!=""})"#,
    r#"info(up{job="postgres"}, {__name__!="target_info", namespace!="", version=~".+"})"#,
    // What matches the second argument is not joined.
    r#"info({job="postgres"}, {__name__=~"build_info|target_info", namespace!=""})"#,
    r#"count(info(rate(up[10m]), {namespace!="", nothing=~".*"}) or info(up offset 1h, {namespace!=""}))"#,
    r#"info(info(up, {namespace!=""}), {__name__="build_info", namespace!="", version=~".+"})"#,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q07_info_takes_labels_from_series_of_the_callers_own_alone() {
    for binary in binaries() {
        let options = |data: Data| {
            let mut options = Options::new(data.without_rules(), cache());
            options.prometheus.clone_from(&binary);
            options.arguments = vec!["--enable-feature=promql-experimental-functions".to_owned()];
            options
        };
        let full = start_with(options(Data::everything())).await;
        let build = full.get("/api/v1/status/buildinfo").await;
        if build.to_string().contains(r#""version":"2."#) {
            println!("{}: has no info()", binary.display());
            continue;
        }
        let queries = INFOS.map(str::to_owned);
        for names in SETS {
            let own = start_with(options(Data::only(names.iter().copied()))).await;
            let tally = compare(&full, &own, &set(names), &queries, |_| "namespace").await;
            println!("{}: info() for {names:?}: {tally}", binary.display());
            assert!(tally.with_data > 3, "{tally}");
            assert_eq!(tally.unreadable, 0, "{tally}");
        }
    }
}

/// How a comparison went.
#[derive(Default)]
struct Tally {
    compared: usize,
    with_data: usize,
    refused: usize,
    unreadable: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            compared,
            with_data,
            refused,
            unreadable,
        } = self;
        write!(
            f,
            "{compared} pairs compared, 0 differences, {with_data} with data; \
             {refused} name only what the caller may not see, {unreadable} are no PromQL"
        )
    }
}

async fn compare(
    full: &Server,
    own: &Server,
    set: &NamespaceSet,
    queries: &[String],
    label: impl Fn(Option<&str>) -> &'static str,
) -> Tally {
    let mut tally = Tally::default();
    for original in queries {
        let Ok(query) = Query::parse(original, &Limits::default()) else {
            tally.unreadable += 1;
            continue;
        };
        // As it is granted: what a selector names, as far as the caller may see it, else all of that.
        let grants = query.selectors().iter().map(|selector| {
            let label = label(selector.metric());
            let granted = match selector.named(label) {
                None => Some(set.clone()),
                Some(named) => NamespaceSet::new(
                    named
                        .iter()
                        .filter(|name| set.contains(name.as_str()))
                        .cloned(),
                ),
            };
            granted.map(|granted| (label, granted))
        });
        let Some(grants) = grants.collect::<Option<Vec<_>>>() else {
            tally.refused += 1;
            continue;
        };
        let restricted = query.restrict(|index, _| {
            let (label, set) = &grants[index];
            Constraint::Namespaces { label, set }
        });
        let restricted = match restricted {
            Err(QueryError::InfoLabels { .. }) => {
                tally.unreadable += 1;
                continue;
            }
            restricted => restricted.expect("short enough"),
        };
        let open = query.restrict(|_, _| Constraint::Open);
        let open = open.expect("short enough");
        // VictoriaMetrics reads `up > bool.5` and `up[5m-1m]` in ways of its own, until they are written anew.
        let asked = if own.reads_as_prometheus {
            original
        } else {
            &open
        };
        let (mut expected, answer) = tokio::join!(own.query(asked), full.query(&restricted));
        if expected.is_unreadable() && !answer.is_unreadable() {
            // An older release reads numbers such as `1_000` only as they are written anew.
            expected = own.query(&open).await;
        }
        if expected.is_unreadable() && !answer.is_unreadable() && !own.reads_as_prometheus {
            // `sum` alone is no metric there, but `sum{namespace="team-a"}` is one.
            expected = own.query(&restricted).await;
        }
        assert_eq!(
            answer, expected,
            "\nthe answers differ for {set:?}\noriginal:   {original}\nrestricted: {restricted}"
        );
        tally.compared += 1;
        tally.with_data += usize::from(matches!(&answer, Answer::Data(data) if !data.is_empty()));
    }
    tally
}

fn set(names: &[&str]) -> NamespaceSet {
    let names = names
        .iter()
        .map(|name| Namespace::parse(name).expect("a name"));
    NamespaceSet::new(names).expect("not empty")
}

fn binaries() -> Vec<PathBuf> {
    match std::env::var("PROMETHEUS_BINARIES") {
        Ok(paths) => std::env::split_paths(&paths).collect(),
        Err(_) => vec![PathBuf::from("prometheus")],
    }
}

fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    std::env::var(variable)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

async fn queries(server: &Server) -> Vec<String> {
    let seed = number("SEMANTICS_SEED", DEFAULT_SEED);
    let count = number("SEMANTICS_GENERATED", DEFAULT_GENERATED);
    let vocabulary = server.vocabulary().await;
    let mut queries = corpus::headlamp();
    queries.extend(corpus::grammar());
    let listed = queries.len();
    let mut generator = Generator::new(seed, vocabulary.clone(), Dialect::Common);
    queries.extend((0..count).map(|_| generator.expression()));
    let mut generator = Generator::new(seed, vocabulary, Dialect::Everything);
    queries.extend((0..count / 4).map(|_| generator.expression()));
    println!(
        "seed {seed}: {listed} listed and {} generated queries",
        queries.len() - listed
    );
    queries
}

/// What a query answers, in an order that does not depend on the server.
#[derive(Debug, PartialEq)]
enum Answer {
    /// By the labels of each series; a scalar or a text has none.
    Data(BTreeMap<String, Value>),
    /// Refused; the texts repeat the query, so only the kind is compared.
    Error(StatusCode, String),
}

impl Answer {
    fn is_unreadable(&self) -> bool {
        matches!(self, Self::Error(StatusCode::BAD_REQUEST, _))
    }
}

struct Server {
    url: String,
    /// The process, which ends with this.
    _store: Box<dyn Any>,
    client: Client<HttpConnector, Full<Bytes>>,
    time: String,
    reads_as_prometheus: bool,
}

async fn start(binary: &Path, data: Data) -> Server {
    let mut options = Options::new(data, cache());
    options.prometheus = binary.to_owned();
    start_with(options).await
}

fn cache() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

async fn start_with(options: Options) -> Server {
    let prometheus = Prometheus::start(options).await.expect("Prometheus starts");
    server(prometheus.url(), prometheus)
}

fn server(url: String, store: impl Any) -> Server {
    let hour = Duration::from_secs(3600);
    let now = SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs()
        / hour.as_secs()
        * hour.as_secs();
    Server {
        url,
        _store: Box::new(store),
        client: Client::builder(TokioExecutor::new()).build_http(),
        // Well inside the data of every server, whichever hour it was made in.
        time: (now - 3 * hour.as_secs() + 95).to_string(),
        reads_as_prometheus: true,
    }
}

impl Server {
    async fn post(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Request::post(format!("{}{path}", self.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::from(form))
            .expect("a request");
        self.send(request).await
    }

    async fn get(&self, path: &str) -> Value {
        let request = Request::get(format!("{}{path}", self.url));
        let request = request.body(Full::default()).expect("a request");
        self.send(request).await.1
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Value) {
        let (head, body) = self
            .client
            .request(request)
            .await
            .expect("an answer")
            .into_parts();
        let body = body.collect().await.expect("the whole answer").to_bytes();
        // VictoriaMetrics copies bytes of a query into its errors that are no text.
        let body = String::from_utf8_lossy(&body);
        (head.status, serde_json::from_str(&body).expect("JSON"))
    }

    async fn query(&self, expression: &str) -> Answer {
        let form = [
            ("query", expression),
            ("time", &self.time),
            ("timeout", EVALUATION_LIMIT),
        ];
        let (status, answer) = self.post("/api/v1/query", &form).await;
        if answer["status"] != "success" {
            return Answer::Error(
                status,
                answer["errorType"].as_str().unwrap_or_default().to_owned(),
            );
        }
        let data = &answer["data"];
        let rows = match data["resultType"].as_str() {
            Some("vector" | "matrix") => data["result"].as_array().cloned().unwrap_or_default(),
            _ => vec![data["result"].clone()],
        };
        Answer::Data(
            rows.into_iter()
                .map(|row| (row["metric"].to_string(), row))
                .collect(),
        )
    }

    /// The metrics and labels that there are.
    async fn vocabulary(&self) -> Vocabulary {
        let values = async |label: &str| {
            let answer = self.get(&format!("/api/v1/label/{label}/values")).await;
            let values = answer["data"].as_array().cloned().unwrap_or_default();
            values
                .iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let mut labels = Vec::new();
        for label in ["namespace", "pod", "container", "job", "instance", "phase"] {
            labels.push((label.to_owned(), values(label).await));
        }
        labels.retain(|(_, values)| !values.is_empty());
        Vocabulary {
            metrics: values("__name__").await,
            labels,
        }
    }
}
