//! A Prometheus that is killed, paused and started again, on the port and with the storage that it had.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use standins::process::Process;

use support::client::Call;
use support::scratch;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// One of several that hold the same. Killed when dropped.
pub struct Replica {
    folder: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

impl Replica {
    /// Starts one and waits until it is ready.
    pub async fn start() -> Self {
        let folder = scratch("prometheus");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("prometheus.yml"), "").expect("written");
        let address =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let mut replica = Self {
            folder,
            address: address.expect("a free port"),
            process: None,
        };
        replica.start_again().await;
        replica
    }

    /// Starts it after it has ended, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.launch();
        self.ready().await;
    }

    /// Starts it after it has ended.
    pub fn launch(&mut self) {
        let folder = self.folder.display();
        let arguments = [
            format!("--config.file={folder}/prometheus.yml"),
            format!("--storage.tsdb.path={folder}/storage"),
            format!("--web.listen-address={}", self.address),
            "--log.level=warn".to_owned(),
        ];
        let log = std::fs::File::create(self.folder.join("log")).expect("a file");
        let process = Process::start("prometheus".as_ref(), arguments, |command| {
            let errors = log.try_clone().expect("a handle");
            command.stdin(Stdio::null()).stdout(log).stderr(errors);
        });
        self.process = Some(process.expect("prometheus is installed"));
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        let ready = async {
            while !matches!(self.get("/-/ready").await, Some((200, _))) {
                // It tells its readiness over HTTP alone.
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        let ready = tokio::time::timeout(READY_WITHIN, ready).await;
        ready.expect("Prometheus is ready in time");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs");
        process.signal(name).expect("signalled");
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) {
        let process = self.process.take().expect("it ran");
        while process.exited().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many queries it was asked, since it was started.
    pub async fn queries(&self) -> f64 {
        let (_, text) = self.get("/metrics").await.expect("metrics");
        let counted = text.lines().filter(|line| {
            line.starts_with("prometheus_http_requests_total{") && line.contains("/api/v1/query")
        });
        let value = |line: &str| {
            line.rsplit(' ')
                .next()
                .and_then(|value| value.parse::<f64>().ok())
        };
        counted.filter_map(value).sum()
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = Call::get(format!("http://{}{path}", self.address)).try_send();
        let answer = tokio::time::timeout(Duration::from_secs(2), answer).await;
        let answer = answer.ok()?.ok()?;
        Some((answer.status.as_u16(), answer.text().to_owned()))
    }
}
