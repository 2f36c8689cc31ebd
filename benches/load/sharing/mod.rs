//! The load that sharing is for: 1,000 viewers of 50 charts in 4 scopes before a real Prometheus that scrapes, at the
//! plugin's ranges and refresh, with and without; and what it costs where there is nothing to share.

mod figures;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use standins::headlamp::cookie_header;
use standins::prometheus::{Data, Options, Prometheus};
use support::proxy::Proxy;

pub(crate) use self::figures::Figures;
use crate::Result;
use crate::cases::Size;
use crate::launch::launch_shared;
use crate::nginx::{self, Differences, LEFT, free_address};
use crate::spread::Spread;
use crate::stage::{QUERY, Stage};
use crate::usage::Processes;
use crate::wrk::{self, Load};

const SCOPES: u64 = 4;
const REFRESH: Duration = Duration::from_secs(10);

/// The plugin's default: 24 hours in 250 steps.
const RANGE: u64 = 24 * 60 * 60;
const STEP: u64 = 345;

const OFF: &str = "join: [], align: [], keep: []";
const ON: &str = "";

/// How long it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    pub(crate) viewers: u64,
    pub(crate) charts: u64,
    /// Refreshes of each viewer, after the first.
    pub(crate) refreshes: u32,
    /// Pairs of runs where two are compared.
    pub(crate) rounds: usize,
    /// Of each of those.
    pub(crate) run: Duration,
}

/// Measures everything, and gives the figures.
///
/// # Errors
/// If something cannot be started, or an answer is none.
pub(crate) fn measure(stage: &Stage, length: Length, cache: &Path) -> Result<Figures> {
    stage.api.answer_token_reviews(Some(Arc::new(token_review)));
    stage
        .api
        .answer_access_reviews(Some(Arc::new(access_review)));
    let options = Options::new(Data::everything().with_exporter(), cache);
    let prometheus = stage.runtime.block_on(Prometheus::start(options))?;
    let without = watched(stage, &prometheus, OFF, length)?;
    let with = watched(stage, &prometheus, ON, length)?;
    if with.queries * 2.0 > without.queries {
        let (with, without) = (with.queries, without.queries);
        return Err(
            format!("{with} queries with sharing, {without} without: little was shared").into(),
        );
    }
    // As browsers ask, and as programs may.
    let compressed = kept(stage, &prometheus, length, Some("gzip"))?;
    let plain = kept(stage, &prometheus, length, None)?;
    let lone = lone(stage, length)?;
    Ok(Figures {
        length,
        without,
        with,
        compressed,
        plain,
        lone,
    })
}

/// What a crowd of viewers has cost.
struct Watched {
    prometheus_ms: f64,
    queries: f64,
    peak_rss_bytes: u64,
}

fn watched(
    stage: &Stage,
    prometheus: &Prometheus,
    sharing: &str,
    length: Length,
) -> Result<Watched> {
    let proxy = launch_shared(stage, prometheus.address(), sharing)?;
    let address = proxy.service();
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let ours = Processes::of(&[proxy.id()])?;
    let theirs = Processes::of(&[prometheus.id()])?;
    stage.runtime.block_on(async {
        refresh(&client, address, length, 1).await?;
        let before = (theirs.cpu_us()?, queries(prometheus).await?);
        refresh(&client, address, length, length.refreshes).await?;
        let after = (theirs.cpu_us()?, queries(prometheus).await?);
        Ok(Watched {
            prometheus_ms: (after.0 - before.0) as f64 / 1000.0,
            queries: after.1 - before.1,
            peak_rss_bytes: ours.peak_resident_bytes()?,
        })
    })
}

/// Each viewer's chart so often, the viewers spread over the time between two refreshes.
async fn refresh(
    client: &Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
    length: Length,
    times: u32,
) -> Result<()> {
    let begun = tokio::time::Instant::now();
    let viewers: Vec<_> = (0..length.viewers)
        .map(|viewer| {
            let client = client.clone();
            let offset = REFRESH.mul_f64(viewer as f64 / length.viewers as f64);
            tokio::spawn(async move {
                for time in 0..times {
                    tokio::time::sleep_until(begun + offset + REFRESH * time).await;
                    ask(&client, address, viewer, viewer % length.charts).await?;
                }
                Ok::<_, String>(())
            })
        })
        .collect();
    for viewer in viewers {
        viewer.await??;
    }
    tokio::time::sleep_until(begun + REFRESH * times).await;
    Ok(())
}

async fn ask(
    client: &Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
    viewer: u64,
    chart: u64,
) -> std::result::Result<(), String> {
    let token = format!("scope-{}-viewer-{viewer}", chart % SCOPES);
    let request = http::Request::get(format!("http://{address}{}", path(chart)))
        .header("cookie", cookie_header("main", &token))
        .header("accept-encoding", "gzip")
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let response = client.request(request).await;
    let response = response.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    if status == http::StatusCode::OK {
        Ok(())
    } else {
        Err(format!("{status}: {}", String::from_utf8_lossy(&body)))
    }
}

/// A chart as it is asked for now: the processor time of all containers that a viewer may see, by pod. What tells the
/// charts apart is a label that no series has.
fn path(chart: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let end = now.unwrap_or_default().as_secs();
    format!(
        "/api/v1/query_range?start={}&end={end}&step={STEP}&query=sum%28rate%28container_cpu_usage_seconds_total%7Bcontainer%21%3D%22%22%2Cchart%21%3D%22{chart}%22%7D%5B5m%5D%29%29+by+%28pod%29",
        end - RANGE
    )
}

/// How many range queries Prometheus has answered.
async fn queries(prometheus: &Prometheus) -> Result<f64> {
    let (_, text) = prometheus.get("/metrics").await?;
    let lines = text.lines().filter(|line| {
        line.starts_with("prometheus_http_requests_total{")
            && line.contains(r#"handler="/api/v1/query_range""#)
    });
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counts.sum())
}

/// Processor time of a kept answer, to that of nginx for passing on one of its length.
fn kept(
    stage: &Stage,
    prometheus: &Prometheus,
    length: Length,
    encoding: Option<&'static str>,
) -> Result<Kept> {
    let ours = launch_shared(stage, prometheus.address(), ON)?;
    let nginx_address = free_address()?;
    let http = nginx::reverse_proxy(nginx_address, stage.plain, &Differences::default());
    let nginx = nginx::start("kept-nginx", &stage.folder, &http)?;
    let cookie = cookie_header("main", "scope-0-viewer-%08d");
    let cost = |processes: &Processes, url: &str| {
        let load = Load {
            encoding,
            ..of_one_caller(url, "Cookie", &cookie, 16)
        };
        per_request(stage, processes, &load, length)
    };
    let (mut ratios, mut bytes) = (Vec::new(), 0);
    for _ in 0..length.rounds {
        let url = format!("http://{}{}", ours.service(), path(0));
        let own = cost(&process(&ours)?, &url)?;
        bytes = own.bytes;
        nginx::leave(&stage.folder, usize::try_from(bytes)?)?;
        let url = format!("http://{nginx_address}/api/v1/query?query={QUERY}&time={LEFT}");
        let other = cost(&Processes::of(&[nginx.id()])?, &url)?;
        ratios.push(own.cpu_us / other.cpu_us);
    }
    Ok(Kept {
        cpu_ratio: Spread::of(&ratios).median,
        bytes,
    })
}

struct Kept {
    cpu_ratio: f64,
    /// With its head.
    bytes: u64,
}

/// Processor time of a request that nobody shares, with sharing to without.
fn lone(stage: &Stage, length: Length) -> Result<f64> {
    let with = launch_shared(stage, stage.plain, ON)?;
    let without = launch_shared(stage, stage.plain, OFF)?;
    let mut ratios = Vec::new();
    for _ in 0..length.rounds {
        let one = |proxy: &Proxy| {
            let url = format!(
                "http://{}/api/v1/query?query={QUERY}&time={}",
                proxy.service(),
                Size::Medium.time()
            );
            let load = of_one_caller(&url, "Authorization", "Bearer scope-1-viewer-%08d", 1);
            per_request(stage, &process(proxy)?, &load, length).map(|cost| cost.cpu_us)
        };
        ratios.push(one(&with)? / one(&without)?);
    }
    Ok(Spread::of(&ratios).median)
}

fn process(proxy: &Proxy) -> Result<Processes> {
    Ok(Processes::of(&[proxy.id()])?)
}

/// What a request has cost, and how long its answer was.
struct Cost {
    cpu_us: f64,
    bytes: u64,
}

fn of_one_caller<'u>(
    url: &'u str,
    header: &'static str,
    value: &str,
    connections: u32,
) -> Load<'u> {
    Load {
        url,
        header,
        value: value.to_owned(),
        encoding: None,
        connections,
        first: 1,
        callers: Some(1),
        skipped: 0,
    }
}

/// Processor time for each request of a load.
fn per_request(
    stage: &Stage,
    processes: &Processes,
    load: &Load<'_>,
    length: Length,
) -> Result<Cost> {
    let before = processes.cpu_us()?;
    let outcome = wrk::run(load, length.run, &stage.folder)?;
    let used = processes.cpu_us()? - before;
    if outcome.errors > 0 || outcome.requests == 0 {
        return Err(format!("{}: {outcome:?}", load.url).into());
    }
    Ok(Cost {
        cpu_us: used as f64 / outcome.requests as f64,
        bytes: outcome.bytes / outcome.requests,
    })
}

/// The number of the scope in a token or a user's name.
fn scope(text: &str) -> Option<u64> {
    text.strip_prefix("scope-")?.split('-').next()?.parse().ok()
}

fn token_review(spec: &Value) -> Option<Value> {
    let token = spec["token"].as_str()?;
    scope(token)?;
    Some(json!({
        "authenticated": true,
        "user": { "username": token, "groups": ["viewers", "system:authenticated"] },
        "audiences": ["https://kubernetes.default.svc.cluster.local"],
    }))
}

/// Everything, team-a, team-b, or both of these.
fn access_review(spec: &Value) -> Option<Value> {
    let scope = scope(spec["user"].as_str()?)?;
    let allowed = match spec["resourceAttributes"]["namespace"].as_str() {
        Some("team-a") => scope != 2,
        Some("team-b") => scope != 1,
        _ => scope == 0,
    };
    Some(json!({"allowed": allowed}))
}
