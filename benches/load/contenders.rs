//! What is compared: how each is started, and how it is asked.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use standins::process::Process;

use crate::Result;
use crate::cases::{Case, Size};
use crate::nginx::{self, Differences, ECHO, PASSED_PATH, free_address};
use crate::stage::{QUERY, Scope, Stage, token};
use crate::usage::Processes;
use crate::wrk::Load;

/// The binary that is measured, built with this benchmark.
const BINARY: &str = env!("CARGO_BIN_EXE_prom-rbac-proxy");

const START_LIMIT: Duration = Duration::from_secs(20);

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The upstream itself, without a proxy.
    Upstream,
    Nginx,
    /// With a buffered access log, since ours has its audit log on.
    NginxLogging,
    /// With HTTPS to the caller.
    NginxTls,
    /// With HTTPS to the upstream: what the gateway is compared to.
    NginxToHttps,
    Everything,
    Namespaced,
    Cookie,
    Tls,
    Gateway,
    KubeRbacProxy,
    PromLabelProxy,
    /// kube-rbac-proxy in front of prom-label-proxy.
    Chained,
}

impl Kind {
    pub(crate) const ALL: [Self; 13] = [
        Self::Upstream,
        Self::Nginx,
        Self::NginxLogging,
        Self::NginxTls,
        Self::NginxToHttps,
        Self::Everything,
        Self::Namespaced,
        Self::Cookie,
        Self::Tls,
        Self::Gateway,
        Self::KubeRbacProxy,
        Self::PromLabelProxy,
        Self::Chained,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream-alone",
            Self::Nginx => "nginx",
            Self::NginxLogging => "nginx-logging",
            Self::NginxTls => "nginx-tls",
            Self::NginxToHttps => "nginx-to-https",
            Self::Everything => "direct-everything",
            Self::Namespaced => "direct-namespaced",
            Self::Cookie => "cookie",
            Self::Tls => "tls",
            Self::Gateway => "gateway-pass",
            Self::KubeRbacProxy => "kube-rbac-proxy",
            Self::PromLabelProxy => "prom-label-proxy",
            Self::Chained => "kube-rbac-proxy+prom-label-proxy",
        }
    }

    /// Whether it has to be built from elsewhere first.
    pub(crate) fn is_peer(self) -> bool {
        matches!(
            self,
            Self::KubeRbacProxy | Self::PromLabelProxy | Self::Chained
        )
    }

    /// The nginx whose processor time it is divided by: one that does the same work but for the checks. All but
    /// the gateway's is the plainest, TLS included.
    pub(crate) fn reference(self) -> Self {
        match self {
            Self::Gateway | Self::NginxToHttps => Self::NginxToHttps,
            _ => Self::Nginx,
        }
    }

    fn scope(self) -> Scope {
        match self {
            Self::Namespaced => Scope::Namespaced,
            _ => Scope::Everything,
        }
    }

    /// Whether the upstream is asked for team-a alone.
    fn restricts(self) -> bool {
        matches!(
            self,
            Self::Namespaced | Self::PromLabelProxy | Self::Chained
        )
    }

    fn path(self) -> &'static str {
        match self {
            Self::Gateway | Self::NginxToHttps => PASSED_PATH,
            _ => "/api/v1/query",
        }
    }
}

/// A contender that answers. Its processes are killed when this is dropped.
pub(crate) struct Running {
    pub(crate) kind: Kind,
    started: Vec<Process>,
    /// Of the upstream, which is not ours to end.
    borrowed: Option<u32>,
    /// Scheme and authority.
    base: String,
    /// Callers who came so far, where each comes once.
    seen: u64,
}

impl Running {
    /// Starts it and waits until it answers correctly.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn start(kind: Kind, stage: &Stage) -> Result<Self> {
        let mut contender = Self {
            kind,
            started: Vec::new(),
            borrowed: None,
            base: String::new(),
            seen: 0,
        };
        let address = contender.launch(stage)?;
        let scheme = match kind {
            Kind::Tls | Kind::NginxTls => "https",
            _ => "http",
        };
        contender.base = format!("{scheme}://{address}");
        let deadline = Instant::now() + START_LIMIT;
        while let Err(error) = contender.check(stage) {
            if Instant::now() > deadline {
                return Err(format!("{} does not answer: {error}", kind.name()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(contender)
    }

    fn launch(&mut self, stage: &Stage) -> Result<SocketAddr> {
        let proxy = |listener| {
            let (process, output) = launch_ours(stage, free_address()?, self.kind)?;
            Ok::<_, Box<dyn std::error::Error>>((process, bound(output, listener)?))
        };
        let (process, address) = match self.kind {
            Kind::Upstream => {
                self.borrowed = Some(stage.upstream.id());
                return Ok(stage.plain);
            }
            Kind::Everything | Kind::Namespaced | Kind::Cookie | Kind::Tls => proxy("service")?,
            Kind::Gateway => proxy("gateway")?,
            Kind::Nginx | Kind::NginxLogging | Kind::NginxTls | Kind::NginxToHttps => {
                launch_nginx(stage, self.kind)?
            }
            Kind::KubeRbacProxy => launch_kube_rbac_proxy(stage, stage.plain)?,
            Kind::PromLabelProxy => launch_prom_label_proxy(stage)?,
            Kind::Chained => {
                let (behind, address) = launch_prom_label_proxy(stage)?;
                self.started.push(behind);
                launch_kube_rbac_proxy(stage, address)?
            }
        };
        self.started.push(process);
        Ok(address)
    }

    /// Asks once for an answer, and once what the upstream was asked.
    fn check(&self, stage: &Stage) -> Result<()> {
        let (header, value) = self.credential();
        let value = numbered(&value, 0);
        let ask = |time| {
            let url = self.url(time);
            let answer = stage.runtime.block_on(async {
                let fetched = standins::fetch(&url, Some((header, &value)));
                tokio::time::timeout(START_LIMIT, fetched).await
            });
            let (status, text) = answer??;
            if status.as_u16() == 200 {
                Ok(text)
            } else {
                Err(Box::<dyn std::error::Error>::from(format!(
                    "{status} {text}"
                )))
            }
        };
        let length = ask(Size::Medium.time())?.len();
        if length != Size::Medium.bytes() {
            return Err(format!("the answer has {length} bytes").into());
        }
        let asked = ask(ECHO)?;
        if asked.contains("team-a") != self.kind.restricts() {
            return Err(format!("the upstream was asked {asked}").into());
        }
        Ok(())
    }

    fn url(&self, time: u32) -> String {
        format!(
            "{}{}?query={QUERY}&time={time}",
            self.base,
            self.kind.path()
        )
    }

    /// The header that carries a token, and its value with `%08d` for the caller's number.
    fn credential(&self) -> (&'static str, String) {
        let token = token(self.kind.scope());
        match self.kind {
            Kind::Cookie => ("Cookie", standins::headlamp::cookie_header("main", &token)),
            _ => ("Authorization", format!("Bearer {token}")),
        }
    }

    /// Sends load for that long.
    ///
    /// # Errors
    /// If wrk fails.
    pub(crate) fn load(
        &mut self,
        case: &Case,
        duration: Duration,
        stage: &Stage,
    ) -> Result<crate::wrk::Outcome> {
        let (header, value) = self.credential();
        let load = Load {
            url: &self.url(case.size.time()),
            header,
            value,
            connections: case.connections,
            first: self.seen,
            callers: (!case.cold).then_some(case.callers),
        };
        let outcome = crate::wrk::run(&load, duration, &stage.folder)?;
        if case.cold {
            // Those that were sent and not answered are known by now, too.
            self.seen += outcome.requests + u64::from(case.connections);
        }
        stage.api.forget_requests();
        Ok(outcome)
    }

    /// What it consists of.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub(crate) fn processes(&self) -> Result<Processes> {
        let started = self.started.iter().map(Process::id);
        let roots: Vec<u32> = started.chain(self.borrowed).collect();
        Ok(Processes::of(&roots)?)
    }

    /// A request for an answer of that size, as bytes, and where to send it. Plain HTTP only.
    pub(crate) fn request(&self, size: Size) -> (&str, String) {
        let (header, value) = self.credential();
        let address = self.base.trim_start_matches("http://");
        let path = self.kind.path();
        let time = size.time();
        let value = numbered(&value, 0);
        let request = format!(
            "GET {path}?query={QUERY}&time={time} HTTP/1.1\r\nHost: {address}\r\n{header}: {value}\r\n\r\n"
        );
        (address, request)
    }
}

fn numbered(value: &str, number: u64) -> String {
    value.replace("%08d", &format!("{number:08}"))
}

/// Starts ours with its default configuration. Only one thing differs: a caller may have more requests under way,
/// since one caller stands for many here.
fn launch_ours(stage: &Stage, admin: SocketAddr, kind: Kind) -> Result<(Process, ChildStdout)> {
    let tls = match kind {
        Kind::Tls => format!(
            ", tls: {{ certFile: {:?}, keyFile: {:?} }}",
            stage.tls.certificate, stage.tls.key
        ),
        _ => String::new(),
    };
    let gateway = match kind {
        Kind::Gateway => "\n  gateway: { address: \"127.0.0.1:0\" }",
        _ => "",
    };
    let configuration = format!(
        r#"listeners:
  service: {{ address: "127.0.0.1:0"{tls} }}
  admin: {{ address: "{admin}" }}{gateway}
kubernetes: {{ kubeconfig: {:?} }}
limits: {{ concurrentPerCaller: 4096 }}
upstreams:
  - {{ name: default, url: "http://{}" }}
"#,
        stage.kubeconfig, stage.plain
    );
    let file = stage.folder.join(format!("{}.yaml", kind.name()));
    fs::write(&file, configuration)?;
    let arguments = ["serve".as_ref(), "--config".as_ref(), file.as_os_str()];
    let errors = File::create(stage.folder.join(format!("{}.stderr", kind.name())))?;
    let process = Process::start(BINARY.as_ref(), arguments, |command| {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PROM_RBAC_PROXY_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::from(errors));
    })?;
    let output = process.take_stdout().ok_or("no output")?;
    Ok((process, output))
}

/// Where a listener of ours is. The rest of its output, the audit log, is read and thrown away, as fast as a
/// container runtime would take it.
fn bound(output: ChildStdout, listener: &'static str) -> Result<SocketAddr> {
    let (found, address) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = BufReader::with_capacity(256 * 1024, output);
        let mut line = String::new();
        while matches!(output.read_line(&mut line), Ok(1..)) {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            line.clear();
            let address = value["address"].as_str().and_then(|text| text.parse().ok());
            let is_it = value["message"] == "listening" && value["listener"] == listener;
            if let Some(address) = address.filter(|_| is_it) {
                let _ = found.send(address);
                break;
            }
        }
        let mut rest = vec![0; 256 * 1024];
        while matches!(output.read(&mut rest), Ok(1..)) {}
    });
    let missing = |_| format!("the proxy does not listen as {listener}");
    Ok(address.recv_timeout(START_LIMIT).map_err(missing)?)
}

fn launch_nginx(stage: &Stage, kind: Kind) -> Result<(Process, SocketAddr)> {
    let log = stage.folder.join("nginx-access.log");
    let differences = Differences {
        log: (kind == Kind::NginxLogging).then_some(log.as_path()),
        tls: (kind == Kind::NginxTls).then_some(&stage.tls),
        to_https: kind == Kind::NginxToHttps,
    };
    let upstream = if differences.to_https {
        stage.secure
    } else {
        stage.plain
    };
    // What a former run has logged takes space only.
    let _ = fs::remove_file(&log);
    let address = free_address()?;
    let http = nginx::reverse_proxy(address, upstream, &differences);
    Ok((nginx::start(kind.name(), &stage.folder, &http)?, address))
}

fn launch_kube_rbac_proxy(stage: &Stage, upstream: SocketAddr) -> Result<(Process, SocketAddr)> {
    // As ours asks by default: get on pods in metrics.k8s.io, in the whole cluster.
    const ATTRIBUTES: &str = "authorization:\n  resourceAttributes:\n    apiGroup: metrics.k8s.io\n    apiVersion: v1beta1\n    resource: pods\n";
    let file = stage.folder.join("kube-rbac-proxy.yaml");
    fs::write(&file, ATTRIBUTES)?;
    let address = free_address()?;
    let arguments = [
        format!("--insecure-listen-address={address}"),
        format!("--upstream=http://{upstream}/"),
        format!("--kubeconfig={}", stage.kubeconfig.display()),
        format!("--config-file={}", file.display()),
    ];
    let process = launch_peer(stage, "kube-rbac-proxy", &arguments)?;
    Ok((process, address))
}

fn launch_prom_label_proxy(stage: &Stage) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let arguments = [
        format!("-insecure-listen-address={address}"),
        format!("-upstream=http://{}", stage.plain),
        "-label=namespace".to_owned(),
        "-label-value=team-a".to_owned(),
    ];
    let process = launch_peer(stage, "prom-label-proxy", &arguments)?;
    Ok((process, address))
}

fn launch_peer(stage: &Stage, name: &str, arguments: &[String]) -> Result<Process> {
    let binary = peer(&stage.peers, name)?;
    let output = File::create(stage.folder.join(format!("{name}.output")))?;
    let process = Process::start(&binary, arguments, |command| {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::from(output));
    })?;
    Ok(process)
}

/// A peer's binary as `scripts/bench-peers` has built it, or why it has not.
fn peer(folder: &Path, name: &str) -> Result<PathBuf> {
    let binary = folder.join(name);
    if binary.is_file() {
        return Ok(binary);
    }
    let reason = fs::read_to_string(folder.join(format!("{name}.error")));
    let reason = reason.unwrap_or_else(|_| "scripts/bench-peers has not been run".to_owned());
    Err(format!("{name} is not built: {}", reason.trim()).into())
}

/// Starts one and tells how long it took until it says that it is ready; those that cannot say so, until their
/// first good answer.
///
/// # Errors
/// If it does not start.
pub(crate) fn start_time(kind: Kind, stage: &Stage) -> Result<Duration> {
    let begun = Instant::now();
    if kind.is_peer() || kind == Kind::Nginx {
        let mut contender = Running {
            kind,
            started: Vec::new(),
            borrowed: None,
            base: String::new(),
            seen: 0,
        };
        let address = contender.launch(stage)?;
        contender.base = format!("http://{address}");
        let (address, request) = contender.request(Size::Small);
        until_ok(address, &request, begun)
    } else {
        let admin = free_address()?;
        let (_process, output) = launch_ours(stage, admin, kind)?;
        std::thread::spawn(move || {
            let mut output = output;
            std::io::copy(&mut output, &mut std::io::sink())
        });
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        until_ok(&admin.to_string(), &request, begun)
    }
}

fn until_ok(address: &str, request: &str, begun: Instant) -> Result<Duration> {
    while begun.elapsed() < START_LIMIT {
        if crate::footprint::first_bytes(address, request)
            .is_ok_and(|(_, head)| head.starts_with(b"HTTP/1.1 200"))
        {
            return Ok(begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("it is not ready in time".into())
}
