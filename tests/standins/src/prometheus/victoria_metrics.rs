//! A real VictoriaMetrics with the test data.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use http::Request;

use super::data::Data;
use super::{Folder, start_at_free_port, start_logged};
use crate::body;
use crate::connect::{self, HttpClient};
use crate::process::Process;

/// A running single node. Dropping it kills it and removes its storage.
pub struct VictoriaMetrics {
    // The order is the order of dropping: the process, then what it reads from.
    _process: Process,
    address: SocketAddr,
    client: HttpClient,
    _folder: Folder,
}

impl VictoriaMetrics {
    /// Starts this program, with its storage in a folder of `cache` and these series in it. Rules and targets are left out.
    ///
    /// # Errors
    /// If it does not become ready, or refuses the data.
    pub async fn start(program: &Path, data: &Data, cache: &Path) -> io::Result<Self> {
        let folder = Folder::new(cache);
        fs::create_dir_all(&folder.0)?;
        let log = folder.0.join("log");
        let launch = |address: SocketAddr| {
            let arguments = [
                format!("-httpListenAddr={address}"),
                format!("-storageDataPath={}", folder.0.join("storage").display()),
                // Answers must not depend on what was asked before.
                "-search.disableCache".to_owned(),
                // Nor on which worker was first: which of equal series topk() takes, and how a sum is rounded.
                "-search.maxWorkersPerQuery=1".to_owned(),
                "-memory.allowedBytes=256MiB".to_owned(),
                "-loggerLevel=WARN".to_owned(),
            ];
            start_logged(program, arguments, File::create(&log)?)
        };
        let client = connect::unverified();
        let (process, address) = start_at_free_port(&client, &log, launch).await?;
        let made = Self {
            _process: process,
            address,
            client,
            _folder: folder,
        };
        made.post("/api/v1/import/prometheus", data.text()?).await?;
        // What was imported is searched from then on.
        made.post("/internal/force_flush", Vec::new()).await?;
        Ok(made)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn post(&self, path: &str, content: Vec<u8>) -> io::Result<()> {
        let request = Request::post(format!("{}{path}", self.url()))
            .body(body::full(content))
            .map_err(io::Error::other)?;
        let response = self.client.request(request).await;
        let status = response.map_err(io::Error::other)?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(io::Error::other(format!("{path}: {status}")))
    }
}
