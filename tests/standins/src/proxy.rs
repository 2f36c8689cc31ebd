//! Runs the built prom-rbac-proxy binary as a user would: a configuration file in, JSON log lines
//! out. Nothing here knows what is inside of it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::process::Process;

/// Overrides of the configuration come from variables with this prefix; those of the caller's
/// environment must not reach the child.
const VARIABLE_PREFIX: &str = "PROM_RBAC_PROXY_";

/// How the binary starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The built binary.
    pub binary: PathBuf,
    /// Its arguments, `serve --config FILE` for one.
    pub arguments: Vec<String>,
    /// Variables beside those of this process, whose proxy settings and overrides are left out.
    pub environment: Vec<(String, String)>,
    /// A file to which its output is written as well. Default: none.
    pub log: Option<PathBuf>,
}

impl Options {
    /// `BINARY serve --config CONFIG`.
    pub fn serve(binary: impl Into<PathBuf>, config: impl Into<PathBuf>) -> Self {
        let config: PathBuf = config.into();
        Self {
            binary: binary.into(),
            arguments: vec![
                "serve".to_owned(),
                "--config".to_owned(),
                config.display().to_string(),
            ],
            environment: Vec::new(),
            log: None,
        }
    }
}

/// A running proxy. Dropping it kills it.
pub struct Proxy {
    process: Process,
    output: Arc<Output>,
}

struct Output {
    lines: Mutex<Vec<String>>,
    changed: watch::Sender<()>,
}

impl Output {
    fn read(&self, source: impl Read, log: Option<File>) {
        let mut log = log;
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if let Some(log) = &mut log {
                let _ = writeln!(log, "{line}");
            }
            self.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
            self.changed.send_replace(());
        }
    }
}

impl Proxy {
    /// Starts the binary and returns at once.
    ///
    /// # Errors
    /// If it cannot be started or the log file not be written.
    pub fn start(options: &Options) -> io::Result<Self> {
        let process = Process::start(&options.binary, &options.arguments, |command| {
            for (name, _) in std::env::vars_os() {
                let name = name.to_string_lossy();
                let upper = name.to_ascii_uppercase();
                if upper.starts_with(VARIABLE_PREFIX) || upper.ends_with("_PROXY") {
                    command.env_remove(&*name);
                }
            }
            command
                .envs(
                    options
                        .environment
                        .iter()
                        .map(|(name, value)| (name, value)),
                )
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        })?;
        let output = Arc::new(Output {
            lines: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let log = |path: &PathBuf| OpenOptions::new().create(true).append(true).open(path);
        for source in [
            process
                .take_stdout()
                .map(|out| Box::new(out) as Box<dyn Read + Send>),
            process
                .take_stderr()
                .map(|err| Box::new(err) as Box<dyn Read + Send>),
        ] {
            let (output, log) = (
                Arc::clone(&output),
                options.log.as_ref().map(log).transpose()?,
            );
            if let Some(source) = source {
                std::thread::spawn(move || output.read(source, log));
            }
        }
        Ok(Self { process, output })
    }

    /// Everything it has written so far, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.output
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The address that a listener (`service`, `gateway`, `admin`) is bound to, if it has said so.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.lines().iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let field = |name: &str| line.get(name).or_else(|| line["fields"].get(name));
            if field("message")? == "listening" && field("listener")? == listener {
                field("address")?.as_str()?.parse().ok()
            } else {
                None
            }
        })
    }

    /// Waits until that listener is bound.
    ///
    /// # Errors
    /// If the process ends, or `limit` is over; the error holds what it wrote.
    pub async fn listening(&self, listener: &str, limit: Duration) -> io::Result<SocketAddr> {
        let mut changed = self.output.changed.subscribe();
        let found = async {
            loop {
                if let Some(address) = self.address(listener) {
                    return Some(address);
                }
                if self.exited().is_some() {
                    return None;
                }
                // A process that ends without a word is noticed by the clock alone.
                let _ = tokio::time::timeout(Duration::from_millis(50), changed.changed()).await;
            }
        };
        match tokio::time::timeout(limit, found).await {
            Ok(Some(address)) => Ok(address),
            Ok(None) => Err(self.failure("ended")),
            Err(_) => Err(self.failure(&format!("did not listen as {listener} in time"))),
        }
    }

    fn failure(&self, what: &str) -> io::Error {
        io::Error::other(format!("the proxy {what}: {}", self.lines().join("\n")))
    }

    /// Waits until a line holds for `holds`, those before now included; false if `limit` is over
    /// first.
    pub async fn wait_for_line(&self, limit: Duration, holds: impl Fn(&str) -> bool) -> bool {
        let mut changed = self.output.changed.subscribe();
        let found = async {
            while !self.lines().iter().any(|line| holds(line)) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, found).await.is_ok()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub fn exited(&self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// Sends a signal by name, as `HUP`.
    ///
    /// # Errors
    /// If there is no shell.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        self.process.signal(name)
    }

    /// Sends SIGTERM and waits; kills it when `limit` is over, which is `None`.
    pub async fn terminate(self, limit: Duration) -> Option<ExitStatus> {
        let process = self.process;
        tokio::task::spawn_blocking(move || process.terminate(limit))
            .await
            .ok()
            .flatten()
    }

    /// Resident memory now, in bytes, as `/proc` tells it.
    ///
    /// # Errors
    /// If the process has ended, or there is no `/proc`.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory it ever had, in bytes.
    ///
    /// # Errors
    /// As [`Proxy::resident_bytes`].
    pub fn peak_resident_bytes(&self) -> io::Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(key)?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse::<u64>()
                    .ok()
            })
            .map(|kibibytes| kibibytes * 1024)
            .ok_or_else(|| io::Error::other(format!("no {key} in /proc")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Options, Proxy};

    fn shell(script: &str) -> Proxy {
        let options = Options {
            arguments: vec!["-c".to_owned(), script.to_owned()],
            ..Options::serve("sh", "")
        };
        Proxy::start(&options).expect("there is a shell")
    }

    #[tokio::test]
    async fn bound_addresses_are_read_from_both_forms_of_log_lines() {
        let limit = Duration::from_secs(10);
        let proxy = shell(
            r#"echo '{"message":"listening","listener":"service","address":"127.0.0.1:1"}'
            echo '{"fields":{"message":"listening","listener":"admin","address":"127.0.0.1:2"}}'
            exec sleep 60"#,
        );
        assert_eq!(
            proxy
                .listening("service", limit)
                .await
                .expect("bound")
                .port(),
            1
        );
        assert_eq!(
            proxy.listening("admin", limit).await.expect("bound").port(),
            2
        );
        assert!(proxy.resident_bytes().expect("it runs") > 0);
        let status = proxy.terminate(limit).await.expect("it ends");
        assert!(!status.success());
    }

    #[tokio::test]
    async fn a_start_that_fails_tells_what_was_said() {
        let proxy = shell("echo no such key >&2; exit 2");
        let said = proxy.wait_for_line(Duration::from_secs(10), |line| line == "no such key");
        assert!(said.await);
        let error = proxy.listening("service", Duration::from_secs(10)).await;
        assert!(
            error
                .expect_err("it ended")
                .to_string()
                .contains("no such key")
        );
    }
}
