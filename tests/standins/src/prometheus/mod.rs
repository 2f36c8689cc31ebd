//! A real Prometheus with test data, a VictoriaMetrics with the same, and doubles to stand in front of it or in its place.

mod data;
mod exporter;
mod recorder;
mod rules;
mod scripted;
mod series;
mod victoria_metrics;

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use tokio::time::Instant;

pub use data::Data;
pub use recorder::{Recorder, Seen};
pub use scripted::{Connection, Scripted, Step};
pub use victoria_metrics::VictoriaMetrics;

use crate::body;
use crate::connect::{self, HttpClient};
use crate::process::Process;
use exporter::Exporter;

/// How long Prometheus may take to load its blocks and say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Another process may take the port between our choice and Prometheus' listening.
const PORT_ATTEMPTS: usize = 5;

static INSTANCES: AtomicU32 = AtomicU32::new(0);

/// How a Prometheus starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// What it holds.
    pub data: Data,
    /// Where blocks are cached and its storage is kept while it runs.
    pub cache: PathBuf,
    /// Its binary. Default: `prometheus` from PATH.
    pub prometheus: PathBuf,
    /// The tool that makes blocks. Default: `promtool` from PATH.
    pub promtool: PathBuf,
    /// More arguments. Default: none.
    pub arguments: Vec<String>,
}

impl Options {
    /// That data, in that folder, by the programs of PATH.
    pub fn new(data: Data, cache: &Path) -> Self {
        Self {
            data,
            cache: cache.to_owned(),
            prometheus: PathBuf::from("prometheus"),
            promtool: PathBuf::from("promtool"),
            arguments: Vec::new(),
        }
    }
}

/// A running Prometheus. Dropping it kills it and removes its storage, but not the cache.
pub struct Prometheus {
    // The order is the order of dropping: the process, then what it reads from.
    process: Process,
    exporter: Option<Exporter>,
    address: SocketAddr,
    client: HttpClient,
    options: Options,
    folder: Folder,
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    /// The path of a new one in `cache`; it is not made.
    fn new(cache: &Path) -> Self {
        let instance = INSTANCES.fetch_add(1, Ordering::Relaxed);
        let folder = cache.join(format!("prometheus-{}-{instance}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Prometheus {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// If a program is missing, the data are refused, or it does not become ready; the error
    /// holds what it logged.
    pub async fn start(options: Options) -> io::Result<Self> {
        fs::create_dir_all(&options.cache)?;
        let folder = Folder::new(&options.cache);
        let storage = folder.0.join("storage");
        let (data, cache, promtool) = (
            options.data.clone(),
            options.cache.clone(),
            options.promtool.clone(),
        );
        let target = storage.clone();
        tokio::task::spawn_blocking(move || data.write_blocks(&cache, &promtool, &target))
            .await
            .map_err(io::Error::other)??;
        let exporter = if options.data.exporter {
            Some(Exporter::start(&options.data).await?)
        } else {
            None
        };
        fs::write(folder.0.join("rules.yml"), rules::text(&options.data))?;
        fs::write(
            folder.0.join("prometheus.yml"),
            configuration(&options.data, exporter.as_ref()),
        )?;
        let client = connect::unverified();
        let log = folder.0.join("log");
        let launch = |address| launch(&options, &folder.0, address);
        let (process, address) = start_at_free_port(&client, &log, launch).await?;
        Ok(Self {
            process,
            exporter,
            address,
            client,
            options,
            folder,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it answers to a GET: status and body.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn get(&self, path_and_query: &str) -> io::Result<(StatusCode, String)> {
        get(&self.client, self.address, path_and_query).await
    }

    /// Ends it at once, and starts it anew over what it has stored, at the same address.
    ///
    /// # Errors
    /// If it does not become ready again.
    pub async fn restart(&mut self) -> io::Result<()> {
        self.process.signal("KILL")?;
        while self.process.exited().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.process = launch(&self.options, &self.folder.0, self.address)?;
        if ready(&self.process, &self.client, self.address).await? {
            return Ok(());
        }
        let log = fs::read_to_string(self.folder.0.join("log")).unwrap_or_default();
        Err(io::Error::other(format!("Prometheus did not start: {log}")))
    }

    /// Lets its first target tell these lines of OpenMetrics, too: of samples that come late, if they have times. Nothing
    /// happens where there is no target.
    pub fn tell(&self, lines: &str) {
        if let Some(exporter) = &self.exporter {
            exporter.tell(lines);
        }
    }

    /// Ends its targets, so that their series go stale.
    pub async fn end_targets(&mut self) {
        if let Some(exporter) = self.exporter.take() {
            exporter.stop().await;
        }
    }

    /// Deletes the series that a selector matches. Needs the argument `--web.enable-admin-api`.
    ///
    /// # Errors
    /// If it does not answer, or refuses.
    pub async fn delete_series(&self, selector: &str) -> io::Result<()> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("match[]", selector)
            .finish();
        let path = format!("/api/v1/admin/tsdb/delete_series?{query}");
        let request = Request::post(format!("http://{}{path}", self.address))
            .body(body::empty())
            .map_err(io::Error::other)?;
        let response = self.client.request(request).await;
        match response.map_err(io::Error::other)?.status() {
            StatusCode::NO_CONTENT => Ok(()),
            status => Err(io::Error::other(format!("deletion: {status}"))),
        }
    }

    /// Waits until an alert of this name is active; false if `limit` is over first.
    pub async fn wait_for_alert(&self, name: &str, limit: Duration) -> bool {
        let wanted = format!("\"alertname\":\"{name}\"");
        self.wait(limit, "/api/v1/alerts", |body| body.contains(&wanted))
            .await
    }

    /// Waits until every rule has run at least once; false if `limit` is over first.
    pub async fn wait_for_rules(&self, limit: Duration) -> bool {
        let never = "\"lastEvaluation\":\"0001-";
        self.wait(limit, "/api/v1/rules", |body| !body.contains(never))
            .await
    }

    /// Waits until so many targets have been scraped; false if `limit` is over first.
    pub async fn wait_for_targets(&self, count: usize, limit: Duration) -> bool {
        let healthy = |body: &str| body.matches("\"health\":\"up\"").count() == count;
        self.wait(limit, "/api/v1/targets", healthy).await
    }

    /// Asks again and again: Prometheus tells nothing unasked.
    async fn wait(&self, limit: Duration, path: &str, holds: impl Fn(&str) -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Ok((StatusCode::OK, body)) = self.get(path).await
                && holds(&body)
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

/// Starts what `launch` starts at a free port, and waits until it is ready.
///
/// # Errors
/// If it ends; the error holds its log.
async fn start_at_free_port(
    client: &HttpClient,
    log: &Path,
    launch: impl Fn(SocketAddr) -> io::Result<Process>,
) -> io::Result<(Process, SocketAddr)> {
    for _ in 0..PORT_ATTEMPTS {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let process = launch(address)?;
        if ready(&process, client, address).await? {
            return Ok((process, address));
        }
        let log = fs::read_to_string(log).unwrap_or_default();
        if !log.contains("address already in use") {
            return Err(io::Error::other(format!("it did not start: {log}")));
        }
    }
    Err(io::Error::other("no free port"))
}

fn launch(options: &Options, folder: &Path, address: SocketAddr) -> io::Result<Process> {
    let log = File::create(folder.join("log"))?;
    let arguments = [
        format!("--config.file={}", folder.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", folder.join("storage").display()),
        // Blocks of this size are never compacted: the cached ones stay as they are.
        "--storage.tsdb.min-block-duration=2h".to_owned(),
        "--storage.tsdb.max-block-duration=2h".to_owned(),
        format!("--web.listen-address={address}"),
        "--enable-feature=exemplar-storage".to_owned(),
        "--log.level=warn".to_owned(),
    ];
    let arguments = arguments.iter().chain(&options.arguments);
    start_logged(&options.prometheus, arguments, log)
}

fn start_logged<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    log: File,
) -> io::Result<Process> {
    Process::start(program, arguments, |command| {
        let errors = log.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
    })
}

fn configuration(data: &Data, exporter: Option<&Exporter>) -> String {
    // Blocks reach into the future, and what rules write now would be too old without this.
    let mut text = String::from(
        "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n\
         storage: { tsdb: { out_of_order_time_window: 1d } }\n",
    );
    if data.rules {
        text += "rule_files: [rules.yml]\n";
    }
    if let Some(exporter) = exporter {
        text += &format!(
            "scrape_configs:\n- {{ job_name: exporter, honor_labels: true, \
             static_configs: [{{ targets: ['{}'] }}] }}\n",
            exporter.address()
        );
        for namespace in &data.targets {
            text += &format!(
                "- {{ job_name: {namespace}, metrics_path: /metrics/{namespace}, \
                 static_configs: [{{ targets: ['{}'], labels: {{ namespace: {namespace} }} }}] }}\n",
                exporter.address()
            );
        }
    }
    text
}

/// False if the process has ended.
async fn ready(process: &Process, client: &HttpClient, address: SocketAddr) -> io::Result<bool> {
    let deadline = Instant::now() + READY_WITHIN;
    while Instant::now() < deadline {
        if process.exited().is_some() {
            return Ok(false);
        }
        if let Ok((StatusCode::OK, _)) = get(client, address, "/-/ready").await {
            return Ok(true);
        }
        // There is no event to wait for: it tells readiness over HTTP alone.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Err(io::Error::other("Prometheus was not ready in time"))
}

async fn get(
    client: &HttpClient,
    address: SocketAddr,
    path_and_query: &str,
) -> io::Result<(StatusCode, String)> {
    let request = Request::get(format!("http://{address}{path_and_query}"))
        .body(body::empty())
        .map_err(io::Error::other)?;
    let response = client.request(request).await.map_err(io::Error::other)?;
    let status = response.status();
    let bytes = body::read(response.into_body(), 256 * 1024 * 1024)
        .await
        .map_err(io::Error::other)?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}
