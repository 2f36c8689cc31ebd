//! The real programs: where they are, what they say of themselves, and running them.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use standins::process::Process;
use support::files::run_folder;

/// What `scripts/e2e` has built or found.
pub fn path(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: run scripts/e2e, which builds the real programs"),
    }
}

pub fn api_server() -> PathBuf {
    path("REAL_KUBERNETES").join("kube-apiserver")
}

/// Starts an API server at a port of the loopback address, with what each has and `more`. `advertised` is its address in the
/// cluster; `tokens` is a file of the run's folder.
pub fn start_api_server(
    name: &str,
    (etcd, port): (&str, u16),
    advertised: &str,
    tokens: &str,
    more: Vec<String>,
) -> Program {
    let file = |name: &str| run_folder().join(name).display().to_string();
    let mut options = vec![
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--advertise-address={advertised}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", file(tokens)),
        format!(
            "--service-account-key-file={}",
            file("service-accounts.crt")
        ),
        format!(
            "--service-account-signing-key-file={}",
            file("service-accounts.key")
        ),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
    ];
    options.extend(more);
    Program::start(name, &api_server(), &options)
}

pub fn controller_manager() -> PathBuf {
    path("REAL_KUBERNETES").join("kube-controller-manager")
}

pub fn etcd() -> PathBuf {
    // Named by Go, after the last part of the module's path that is no version.
    path("REAL_ETCD").join("server")
}

pub fn prometheus_3() -> PathBuf {
    path("REAL_PROMETHEUS_3")
}

/// Headlamp's backend, where there is one.
pub fn headlamp() -> Option<PathBuf> {
    std::env::var_os("HEADLAMP_BINARY").map(PathBuf::from)
}

/// The first line of what a program says with these arguments.
pub fn version(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

/// A running program that writes to a log file. Killed when dropped.
pub struct Program {
    process: Process,
    pub log: PathBuf,
}

impl Program {
    pub fn start<S: AsRef<OsStr>>(name: &str, path: &Path, arguments: &[S]) -> Self {
        Self::start_with(name, path, arguments, &[])
    }

    pub fn start_with<S: AsRef<OsStr>>(
        name: &str,
        path: &Path,
        arguments: &[S],
        environment: &[(&str, &str)],
    ) -> Self {
        let log = run_folder().join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log file");
        let process = Process::start(path, arguments, |command| {
            let errors = file.try_clone().expect("a log file");
            command
                .stdin(Stdio::null())
                .stdout(file)
                .stderr(errors)
                .current_dir(run_folder())
                .env("HOME", run_folder())
                .env_remove("HTTPS_PROXY")
                .env_remove("HTTP_PROXY")
                .env_remove("https_proxy")
                .env_remove("http_proxy")
                .envs(environment.iter().copied());
        });
        let process = process.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { process, log }
    }

    /// Fails with the end of its log if it has ended.
    pub fn assert_running(&self) {
        if let Some(status) = self.process.exited() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(30)..].join("\n");
            panic!("{} ended with {status}:\n{end}", self.log.display());
        }
    }

    /// Ends it, gracefully if it can.
    pub fn stop(self) {
        self.process.terminate(Duration::from_secs(20));
    }

    /// Ends it as a crash would.
    pub fn kill(self) {
        drop(self);
    }
}
