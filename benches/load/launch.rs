//! How each contender is started.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use standins::process::Process;
use support::proxy::{Options, Proxy};

use crate::Result;
use crate::contenders::Kind;
use crate::nginx::{self, Differences, Nginx, free_address};
use crate::stage::Stage;

/// Ours with hyper's client to the upstream, as `scripts/bench clients` has built it.
const HYPER_BINARY: &str = "BENCH_HYPER_H1";

/// How long anything may take to start.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(20);

/// Something that was started; it ends when this is dropped.
pub(crate) enum Started {
    /// Ours.
    Proxy(Proxy),
    /// A peer.
    Process(Process),
    Nginx(Nginx),
}

impl Started {
    pub(crate) fn id(&self) -> u32 {
        match self {
            Self::Proxy(proxy) => proxy.id(),
            Self::Process(process) => process.id(),
            Self::Nginx(nginx) => nginx.id(),
        }
    }
}

/// Starts a contender: its processes, and where it is asked. The upstream is there already.
///
/// # Errors
/// If something cannot be started.
pub(crate) fn launch(kind: Kind, stage: &Stage) -> Result<(Vec<Started>, SocketAddr)> {
    let proxy = |listener| {
        let proxy = launch_ours(stage, free_address()?, kind)?;
        let address = proxy.bound(listener);
        Ok((vec![Started::Proxy(proxy)], address))
    };
    let one = |(process, address)| (vec![Started::Process(process)], address);
    match kind {
        Kind::Upstream => Ok((Vec::new(), stage.plain)),
        Kind::Everything
        | Kind::Namespaced
        | Kind::HyperEverything
        | Kind::HyperNamespaced
        | Kind::Cookie
        | Kind::Tls => proxy("service"),
        Kind::Gateway => proxy("gateway"),
        Kind::Nginx | Kind::NginxLogging | Kind::NginxTls | Kind::NginxToHttps => {
            let (nginx, address) = launch_nginx(stage, kind)?;
            Ok((vec![Started::Nginx(nginx)], address))
        }
        Kind::KubeRbacProxy => launch_kube_rbac_proxy(stage, stage.plain).map(one),
        Kind::PromLabelProxy => launch_prom_label_proxy(stage).map(one),
        Kind::Chained => {
            let (behind, address) = launch_prom_label_proxy(stage)?;
            let (front, address) = launch_kube_rbac_proxy(stage, address)?;
            Ok((
                vec![Started::Process(front), Started::Process(behind)],
                address,
            ))
        }
    }
}

/// Starts ours with its default configuration. Two things differ: a caller may have more requests under way, since one
/// caller stands for many here; and no answers are shared, since all callers ask the same.
pub(crate) fn launch_ours(stage: &Stage, admin: SocketAddr, kind: Kind) -> Result<Proxy> {
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
limits: {{ concurrentPerCaller: 4096, maxConnections: 20000 }}
upstreams:
  - {{ name: default, url: "http://{}", sharing: {{ join: [], align: [], keep: [] }} }}
"#,
        stage.kubeconfig, stage.plain
    );
    let binary = match kind {
        Kind::HyperEverything | Kind::HyperNamespaced => {
            let binary = std::env::var_os(HYPER_BINARY);
            binary
                .ok_or(format!(
                    "{HYPER_BINARY} is not set: use scripts/bench clients"
                ))?
                .into()
        }
        _ => support::files::binary(),
    };
    start_ours(stage, binary, kind.name(), &configuration)
}

fn start_ours(stage: &Stage, binary: PathBuf, name: &str, configuration: &str) -> Result<Proxy> {
    let file = stage.folder.join(format!("{name}.yaml"));
    fs::write(&file, configuration)?;
    let mut options = Options::serve(&file);
    options.binary = binary;
    // The audit log is read and thrown away.
    options.kept_lines = 100;
    Ok(Proxy::launch(&options)?)
}

/// Starts ours before another upstream, with what `sharing` says in the configuration. More reviews may be under way than
/// by default: a thousand viewers who are not known yet come within ten seconds.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn launch_shared(stage: &Stage, upstream: SocketAddr, sharing: &str) -> Result<Proxy> {
    let configuration = format!(
        r#"listeners:
  service: {{ address: "127.0.0.1:0" }}
  admin: {{ address: "127.0.0.1:0" }}
kubernetes: {{ kubeconfig: {:?}, concurrentReviews: 1024, timeout: 20s }}
upstreams:
  - {{ name: default, url: "http://{upstream}", sharing: {{ {sharing} }} }}
"#,
        stage.kubeconfig
    );
    let name = format!("sharing-{upstream}-{}", sharing.len());
    start_ours(stage, support::files::binary(), &name, &configuration)
}

fn launch_nginx(stage: &Stage, kind: Kind) -> Result<(Nginx, SocketAddr)> {
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
        // By default it asks Kubernetes five times in a second, and all but a few callers would wait for that.
        "--kube-api-qps=100000".to_owned(),
        "--kube-api-burst=100000".to_owned(),
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
