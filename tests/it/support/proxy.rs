//! The proxy as a process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use standins::process::Process;

use super::client::Call;
use super::scratch;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_prom-rbac-proxy");

const START_LIMIT: Duration = Duration::from_secs(20);

/// A running proxy. Killed when dropped.
pub struct Proxy {
    process: Process,
    log: Arc<Log>,
    service: SocketAddr,
    admin: SocketAddr,
}

/// Everything that the process has written, line by line.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    /// The first thing that `find` makes of a line, as soon as there is one.
    fn wait<T>(&self, limit: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let lines = self.lines.lock().expect("not poisoned");
        let mut found = None;
        let condition = |lines: &mut Vec<String>| {
            found = lines.iter().find_map(|line| find(line));
            found.is_none()
        };
        let _ = self.grown.wait_timeout_while(lines, limit, condition);
        found
    }
}

/// The part of a configuration that makes sense for most tests.
pub fn configuration(kubeconfig: &std::path::Path, upstream: &str) -> String {
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
  metricRules:
    - {{ metrics: ["keda_*"], label: exported_namespace }}
    - {{ metrics: ["capi_cluster_*"], label: cluster_namespace }}
    - metrics: ["capi_*", "karpenter_*", "operator_nodeclaim_*", "volcano_*", "controller_runtime_*", "workqueue_*"]
      cluster: {{ verb: get, group: metrics.k8s.io, resource: nodes }}
"#,
        kubeconfig.display()
    )
}

impl Proxy {
    /// Starts it with a configuration, and waits until both listeners are bound. `environment` overrides keys.
    pub fn start(configuration: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_with(configuration, environment, |_| {})
    }

    /// The same; `configure` sets what else there is to set, such as variables that are not ours.
    pub fn start_with(
        configuration: &str,
        environment: &[(&str, &str)],
        configure: impl FnOnce(&mut std::process::Command),
    ) -> Self {
        let file = scratch("config.yaml");
        std::fs::write(&file, configuration).expect("written");
        let arguments = ["serve", "--config", file.to_str().expect("UTF-8")];
        let process = Process::start(BINARY.as_ref(), arguments, |command| {
            command.stdout(Stdio::piped());
            for (key, value) in environment {
                command.env(format!("PROM_RBAC_PROXY_{key}"), value);
            }
            configure(command);
        });
        let process = process.expect("the proxy starts");
        let log = Arc::new(Log::default());
        let stdout = process.take_stdout().expect("piped");
        std::thread::spawn({
            let log = log.clone();
            move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    log.lines.lock().expect("not poisoned").push(line);
                    log.grown.notify_all();
                }
            }
        });
        let address = |listener: &str| {
            log.wait(START_LIMIT, |line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                let is_it = line["message"] == "listening" && line["listener"] == listener;
                is_it
                    .then(|| line["address"].as_str()?.parse().ok())
                    .flatten()
            })
            .unwrap_or_else(|| panic!("the listener {listener} is not bound"))
        };
        let (service, admin) = (address("service"), address("admin"));
        Self {
            process,
            log,
            service,
            admin,
        }
    }

    pub fn service(&self) -> SocketAddr {
        self.service
    }

    /// A URL of the service listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service)
    }

    /// A URL of the admin listener.
    pub fn admin(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name).expect("signalled");
    }

    /// Waits for it to end.
    pub async fn ended(&self) -> ExitStatus {
        loop {
            if let Some(status) = self.process.exited() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// All that was logged so far.
    pub fn log(&self) -> String {
        self.log.lines.lock().expect("not poisoned").join("\n")
    }

    /// Waits for a line of the log that has a text.
    pub async fn said(&self, text: &'static str) -> String {
        let log = self.log.clone();
        let line = tokio::task::spawn_blocking(move || {
            let limit = Duration::from_secs(30);
            log.wait(limit, |line| line.contains(text).then(|| line.to_owned()))
        });
        line.await.expect("no panic").expect(text)
    }

    /// The audit line of the request that an answer's `x-request-id` names.
    pub async fn audit(&self, answer: &super::client::Answer) -> serde_json::Value {
        let id = answer.headers["x-request-id"]
            .to_str()
            .expect("text")
            .to_owned();
        self.audit_where(move |line| line["request_id"] == id.as_str())
            .await
    }

    /// The first audit line that `matches`.
    pub async fn audit_where(
        &self,
        matches: impl Fn(&serde_json::Value) -> bool + Send + 'static,
    ) -> serde_json::Value {
        let log = self.log.clone();
        let line = tokio::task::spawn_blocking(move || {
            log.wait(Duration::from_secs(10), |line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                (line["target"] == "audit" && matches(&line)).then_some(line)
            })
        });
        line.await.expect("no panic").expect("an audit line")
    }

    /// The value of a series of `/metrics`, by its name and labels as they are written there; 0 where it is
    /// not there yet.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = Call::get(self.admin("/metrics")).send().await;
        standins::metrics::value(metrics.text(), series)
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
