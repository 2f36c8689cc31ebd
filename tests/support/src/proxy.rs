//! The built binary, run as a user would: a configuration file in, JSON log lines out.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use standins::process::Process;

use crate::client::{Answer, Call};
use crate::files::{binary, scratch};
use crate::metrics;

/// Overrides of the configuration come from variables with this prefix.
const VARIABLE_PREFIX: &str = "PROM_RBAC_PROXY_";

const START_LIMIT: Duration = Duration::from_secs(20);

/// How the binary starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Default: the one that cargo has built.
    pub binary: PathBuf,
    /// `serve --config FILE`, for one.
    pub arguments: Vec<String>,
    /// Variables beside those of this process, of which proxy settings and overrides are left out.
    pub environment: Vec<(String, String)>,
    /// A file to which its output is written as well. Default: none.
    pub log: Option<PathBuf>,
    /// How many lines of its output are kept. The rest is thrown away, as fast as a container runtime would take it.
    /// Default: all.
    pub kept_lines: usize,
}

impl Options {
    /// `serve --config CONFIG`.
    pub fn serve(config: &Path) -> Self {
        let config = config.to_str().expect("UTF-8");
        Self {
            binary: binary(),
            arguments: ["serve", "--config", config].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            log: None,
            kept_lines: usize::MAX,
        }
    }

    /// With this override of a key of the configuration, as `LOGGING__LEVEL`.
    pub fn with_key(mut self, key: &str, value: &str) -> Self {
        let variable = format!("{VARIABLE_PREFIX}{key}");
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// With this variable, which is none of the proxy's own.
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Rules for the metrics of Headlamp's charts that have no namespace label, as a part of `authorization`.
pub const METRIC_RULES: &str = r#"  metricRules:
    - { metrics: ["keda_*"], label: exported_namespace }
    - { metrics: ["capi_cluster_*"], label: cluster_namespace }
    - metrics: ["capi_*", "karpenter_*", "operator_nodeclaim_*", "volcano_*", "controller_runtime_*", "workqueue_*"]
      cluster: { verb: get, group: metrics.k8s.io, resource: nodes }
"#;

/// The part of a configuration that makes sense for most tests.
pub fn configuration(kubeconfig: &Path, upstream: &str) -> String {
    format!(
        r#"
listeners:
  service: {{ address: "127.0.0.1:0" }}
  admin: {{ address: "127.0.0.1:0" }}
kubernetes: {{ kubeconfig: "{}" }}
logging: {{ level: trace, auditQuery: full }}
upstreams:
  - {{ name: default, pathPrefix: /, url: "{upstream}" }}
authorization:
{METRIC_RULES}"#,
        kubeconfig.display()
    )
}

/// A running proxy. Killed when dropped.
pub struct Proxy {
    process: Process,
    output: Arc<Output>,
    service: OnceLock<SocketAddr>,
    admin: OnceLock<SocketAddr>,
    /// Where its configuration is, if it was begun with one.
    file: Option<PathBuf>,
}

/// What the process has written, line by line.
#[derive(Default)]
struct Output {
    written: Mutex<Written>,
    changed: Condvar,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    /// From how many more files lines may come.
    open: usize,
}

impl Output {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, source: impl Read, mut log: Option<File>, kept: usize) {
        let mut source = BufReader::with_capacity(256 * 1024, source);
        let mut line = String::new();
        for _ in 0..kept {
            if !matches!(source.read_line(&mut line), Ok(1..)) {
                break;
            }
            if let Some(log) = &mut log {
                let _ = log.write_all(line.as_bytes());
            }
            self.written().lines.push(line.trim_end().to_owned());
            self.changed.notify_all();
            line.clear();
        }
        let mut rest = vec![0; 256 * 1024];
        while matches!(source.read(&mut rest), Ok(1..)) {}
        self.written().open -= 1;
        self.changed.notify_all();
    }

    /// The first thing that `find` makes of a line, as soon as there is one; `None` when `limit` is over or the
    /// process has ended before.
    fn wait<T>(&self, limit: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let (mut found, mut seen) = (None, 0);
        let is_missing = |written: &mut Written| {
            let new = written.lines[seen..].iter();
            found = new.map(String::as_str).find_map(&mut find);
            seen = written.lines.len();
            found.is_none() && written.open > 0
        };
        let waited = self
            .changed
            .wait_timeout_while(self.written(), limit, is_missing);
        drop(waited);
        found
    }
}

/// The address in a line that says that this listener is bound.
fn address_of(listener: &str, line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let is_it = line["message"] == "listening" && line["listener"] == listener;
    is_it.then(|| line["address"].as_str()?.parse().ok())?
}

impl Proxy {
    /// Starts it with a configuration, and waits until it listens for callers. `keys` override the configuration's.
    pub fn start(configuration: &str, keys: &[(&str, &str)]) -> Self {
        Self::start_with(configuration, keys, |options| options)
    }

    /// The same; `adjust` changes how it starts.
    pub fn start_with(
        configuration: &str,
        keys: &[(&str, &str)],
        adjust: impl FnOnce(Options) -> Options,
    ) -> Self {
        let file = scratch("config.yaml");
        std::fs::write(&file, configuration).expect("written");
        let options = keys
            .iter()
            .fold(Options::serve(&file), |options, (key, value)| {
                options.with_key(key, value)
            });
        let mut proxy = Self::launch(&adjust(options)).expect("the proxy starts");
        proxy.file = Some(file);
        proxy.bound("service");
        proxy
    }

    /// Starts the binary and returns at once.
    ///
    /// # Errors
    /// If it cannot be started or the log file not be written.
    pub fn launch(options: &Options) -> io::Result<Self> {
        let open = |path: &PathBuf| OpenOptions::new().create(true).append(true).open(path);
        let logs = [options.log.as_ref(), options.log.as_ref()].map(|log| log.map(open));
        let process = Process::start(&options.binary, &options.arguments, |command| {
            for (name, _) in std::env::vars_os() {
                let name = name.to_string_lossy();
                let upper = name.to_ascii_uppercase();
                if upper.starts_with(VARIABLE_PREFIX) || upper.ends_with("_PROXY") {
                    command.env_remove(&*name);
                }
            }
            let variables = options.environment.iter();
            command
                .envs(variables.map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        })?;
        let sources = [
            process.take_stdout().map(|it| Box::new(it) as Box<_>),
            process.take_stderr().map(|it| Box::new(it) as Box<_>),
        ];
        let sources: Vec<Box<dyn Read + Send>> = sources.into_iter().flatten().collect();
        let output = Arc::new(Output::default());
        output.written().open = sources.len();
        for (source, log) in sources.into_iter().zip(logs) {
            let (output, log) = (output.clone(), log.transpose()?);
            let kept = options.kept_lines;
            std::thread::spawn(move || output.read(source, log, kept));
        }
        Ok(Self {
            process,
            output,
            service: OnceLock::new(),
            admin: OnceLock::new(),
            file: None,
        })
    }

    /// Waits on this thread until that listener (`service`, `gateway`, `admin`) is bound.
    ///
    /// # Panics
    /// If it is not in time, with what the process wrote.
    pub fn bound(&self, listener: &str) -> SocketAddr {
        let find = |line: &str| address_of(listener, line);
        let address = self.output.wait(START_LIMIT, find);
        address.unwrap_or_else(|| panic!("{}", self.unbound(listener)))
    }

    /// Waits until that listener is bound.
    ///
    /// # Errors
    /// If the process ends, or `limit` is over; the error holds what it wrote.
    pub async fn listening(
        &self,
        listener: &'static str,
        limit: Duration,
    ) -> io::Result<SocketAddr> {
        let find = move |line: &str| address_of(listener, line);
        let address = self.find(limit, find).await;
        address.ok_or_else(|| io::Error::other(self.unbound(listener)))
    }

    fn unbound(&self, listener: &str) -> String {
        format!("the proxy does not listen as {listener}:\n{}", self.log())
    }

    pub fn service(&self) -> SocketAddr {
        *self.service.get_or_init(|| self.bound("service"))
    }

    /// A URL of the service listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service())
    }

    /// A URL of the admin listener.
    pub fn admin(&self, path: &str) -> String {
        let admin = self.admin.get_or_init(|| self.bound("admin"));
        format!("http://{admin}{path}")
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Writes its configuration anew, with `change` made to it, and says what it was. It takes that up within seconds, or
    /// upon SIGHUP.
    ///
    /// # Panics
    /// If it was not started with a configuration, or that cannot be written.
    pub fn reconfigure(&self, change: impl FnOnce(&str) -> String) -> String {
        let file = self.file.as_ref().expect("a configuration");
        let before = std::fs::read_to_string(file).expect("read");
        // As a whole: half a file would be half a configuration.
        let beside = file.with_extension("new");
        std::fs::write(&beside, change(&before)).expect("written");
        std::fs::rename(&beside, file).expect("renamed");
        before
    }

    /// Sends a signal by name, as `HUP`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name).expect("signalled");
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Waits for it to end.
    pub async fn ended(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGTERM and waits; kills it when `limit` is over, which is `None`.
    pub async fn terminate(self, limit: Duration) -> Option<ExitStatus> {
        let process = self.process;
        let ended = tokio::task::spawn_blocking(move || process.terminate(limit));
        ended.await.ok().flatten()
    }

    /// All that was written so far.
    pub fn log(&self) -> String {
        self.output.written().lines.join("\n")
    }

    /// Waits for a line of the log that has a text.
    pub async fn said(&self, text: &'static str) -> String {
        let find = move |line: &str| line.contains(text).then(|| line.to_owned());
        self.find(Duration::from_secs(30), find).await.expect(text)
    }

    /// The audit line of the request that an answer's `x-request-id` names.
    pub async fn audit(&self, answer: &Answer) -> Value {
        let id = answer.headers["x-request-id"].to_str().expect("text");
        let id = id.to_owned();
        self.audit_where(move |line| line["request_id"] == id.as_str())
            .await
    }

    /// The first audit line that `matches`.
    pub async fn audit_where(&self, matches: impl Fn(&Value) -> bool + Send + 'static) -> Value {
        let find = move |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["target"] == "audit" && matches(&line)).then_some(line)
        };
        let line = self.find(Duration::from_secs(10), find).await;
        line.expect("an audit line")
    }

    async fn find<T: Send + 'static>(
        &self,
        limit: Duration,
        find: impl FnMut(&str) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let output = self.output.clone();
        let found = tokio::task::spawn_blocking(move || output.wait(limit, find));
        found.await.expect("no panic")
    }

    /// The value of a series of `/metrics`, by its name and labels as they are written there; 0 where it is
    /// not there yet.
    pub async fn metric(&self, series: &str) -> f64 {
        let answer = Call::get(self.admin("/metrics")).send().await;
        metrics::value(answer.text(), series)
    }

    /// A line of `/proc/PID/status` in KiB, such as `VmHWM`.
    pub fn memory_kib(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("read");
        let line = status
            .lines()
            .find(|line| line.starts_with(key))
            .expect(key);
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse().expect("a number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Proxy {
        let options = Options {
            binary: "sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            ..Options::serve(Path::new(""))
        };
        Proxy::launch(&options).expect("there is a shell")
    }

    #[tokio::test]
    async fn addresses_are_read_from_what_the_process_writes() {
        let proxy = shell(
            r#"echo '{"message":"listening","listener":"admin","address":"127.0.0.1:2"}'
            echo '{"message":"listening","listener":"service","address":"127.0.0.1:1"}'
            exec sleep 60"#,
        );
        let service = proxy.listening("service", SOON).await.expect("bound");
        assert_eq!((service.port(), proxy.bound("admin").port()), (1, 2));
        assert!(proxy.memory_kib("VmRSS") > 0);
        let status = proxy.terminate(SOON).await.expect("it ends");
        assert!(!status.success());
    }

    #[tokio::test]
    async fn a_start_that_fails_tells_what_was_said() {
        let proxy = shell("echo no such key >&2; exit 2");
        assert_eq!(proxy.said("no such key").await, "no such key");
        let error = proxy.listening("service", SOON).await;
        let error = error.expect_err("it has ended").to_string();
        assert!(error.contains("no such key"), "{error}");
        assert!(!proxy.ended().await.success());
    }
}
