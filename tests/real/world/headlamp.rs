//! Headlamp's backend: the real one where there is one, else the stand-in, and a browser's side of it.

use std::net::TcpListener;
use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};

use super::api::{Credentials, Http};
use super::cluster::{Cluster, kubeconfig};
use super::programs::{self, Program};
use super::until;
use support::client::Answer;
use support::files::run_folder;

/// A running backend with one cluster, `main`.
pub struct Headlamp {
    url: String,
    http: Http,
    _backend: Backend,
}

enum Backend {
    Real(#[expect(dead_code, reason = "it lives as long")] Program),
    StandIn(#[expect(dead_code, reason = "it lives as long")] standins::headlamp::Headlamp),
}

impl Headlamp {
    /// Starts it; its cluster is at that URL.
    pub async fn start(cluster: &Cluster, name: &str, api_url: &str) -> Self {
        let (url, backend) = match programs::headlamp() {
            Some(path) => real(cluster, name, api_url, &path).await,
            None => {
                let options = standins::headlamp::Options::new(api_url, cluster.authority.pem());
                let headlamp = standins::headlamp::Headlamp::start(options).await;
                let headlamp = headlamp.expect("the stand-in starts");
                (headlamp.url(), Backend::StandIn(headlamp))
            }
        };
        Self {
            url,
            http: cluster.http.clone(),
            _backend: backend,
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Logs in with a token, as its page does, and gives the `Cookie` header of all requests after it.
    pub async fn login(&self, token: &str) -> String {
        let url = format!("{}/clusters/main/set-token", self.url);
        let body: Value = json!({ "cluster": "main", "token": token });
        let nothing = Credentials::Nothing;
        let answer = self
            .http
            .send(Method::POST, &url, nothing, Some(&body))
            .await;
        let answer = answer.ok();
        let cookies = answer.headers.get_all(header::SET_COOKIE).iter();
        let cookies = cookies.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
        let cookies: Vec<_> = cookies.filter(|cookie| !cookie.ends_with('=')).collect();
        assert!(!cookies.is_empty(), "no cookie: {:?}", answer.headers);
        cookies.join("; ")
    }

    /// A GET to its cluster, with a cookie.
    pub async fn get(&self, cookie: &str, path: &str) -> Answer {
        let url = format!("{}/clusters/main{path}", self.url);
        self.http.get(&url, Credentials::Cookie(cookie)).await
    }
}

async fn real(
    cluster: &Cluster,
    name: &str,
    api_url: &str,
    path: &std::path::Path,
) -> (String, Backend) {
    let name = format!("headlamp-{name}");
    let file = run_folder().join(format!("{name}.kubeconfig"));
    std::fs::write(&file, kubeconfig(api_url, &json!({}))).expect("written");
    let plugins = run_folder().join("plugins");
    std::fs::create_dir_all(&plugins).expect("a folder");
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let arguments = [
        format!("-kubeconfig={}", file.display()),
        format!("-plugins-dir={}", plugins.display()),
        "-listen-addr=127.0.0.1".to_owned(),
        format!("-port={port}"),
    ];
    let program = Program::start(&name, path, &arguments);
    let url = format!("http://127.0.0.1:{port}");
    until("Headlamp answers", Duration::from_secs(30), async || {
        program.assert_running();
        let config = format!("{url}/config");
        let answer = cluster
            .http
            .try_send(Method::GET, &config, Credentials::Nothing, None);
        let answer = answer.await;
        answer.is_ok_and(|answer| answer.status.is_success() && answer.text().contains("main"))
    })
    .await;
    (url, Backend::Real(program))
}
