//! A scrape target with help texts and exemplars, which blocks cannot hold.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderValue, Response, StatusCode, header};

use super::data::Data;
use crate::body;
use crate::clock;
use crate::serve::{self, Cut};

/// A running exporter.
pub(crate) struct Exporter {
    listener: serve::Listener,
    more: Arc<Mutex<String>>,
}

impl Exporter {
    pub(crate) async fn start(data: &Data) -> io::Result<Self> {
        let namespaces: Vec<&str> = ["team-a", "team-b", "victim", ""]
            .into_iter()
            .filter(|namespace| data.includes(namespace))
            .collect();
        let more = Arc::new(Mutex::new(String::new()));
        let said = more.clone();
        let listener = serve::serve(serve::Settings::plain(), move |request, _| {
            let path = request.uri().path();
            let found = path.starts_with("/metrics");
            let text = match path.strip_prefix("/metrics/") {
                Some(namespace) => told_by(namespace),
                None => {
                    let more = said.lock().unwrap_or_else(PoisonError::into_inner);
                    exposition(&namespaces, &more)
                }
            };
            async move {
                let mut response = Response::new(body::full(text));
                if !found {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                }
                response.headers_mut().insert(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static(
                        "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    ),
                );
                Ok::<_, Cut>(response)
            }
        })
        .await?;
        Ok(Self { listener, more })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Nobody reaches it any more, over an open connection neither.
    pub(crate) async fn stop(self) {
        self.listener.stop().await;
    }

    /// Lines that it tells from now on beside its own.
    pub(crate) fn tell(&self, lines: &str) {
        let mut more = self.more.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone_into(&mut more);
    }
}

/// Each scrape sees one more event per namespace, with an exemplar that names it.
fn exposition(namespaces: &[&str], more: &str) -> String {
    let now = clock::now();
    let count = now % 1_000_000;
    let mut text = String::from(
        "# HELP request_seconds Duration of requests.\n# TYPE request_seconds histogram\n",
    );
    for namespace in namespaces {
        let labels = if namespace.is_empty() {
            "job=\"web\"".to_owned()
        } else {
            format!("namespace=\"{namespace}\",job=\"web\"")
        };
        let exemplar = format!("# {{trace_id=\"trace-{namespace}-{now}\"}} 0.25 {now}");
        text += &format!("request_seconds_bucket{{{labels},le=\"0.5\"}} {count} {exemplar}\n");
        text += &format!("request_seconds_bucket{{{labels},le=\"+Inf\"}} {count}\n");
        text += &format!("request_seconds_sum{{{labels}}} {}\n", count / 4);
        text += &format!("request_seconds_count{{{labels}}} {count}\n");
    }
    text += more;
    text += "# EOF\n";
    text
}

/// What the target of a namespace says.
fn told_by(namespace: &str) -> String {
    let secret = if namespace == "victim" {
        " VICTIMDATA"
    } else {
        ""
    };
    format!(
        "# HELP shared_seconds Told by {namespace}.{secret}\n# TYPE shared_seconds gauge\n\
         # UNIT shared_seconds seconds\nshared_seconds 1\n\
         # HELP request_seconds Duration of requests.\n# TYPE request_seconds histogram\n\
         request_seconds_bucket{{le=\"+Inf\"}} 1\nrequest_seconds_sum 1\nrequest_seconds_count 1\n\
         # HELP requests Requests.\n# TYPE requests counter\nrequests_total 1\n# EOF\n"
    )
}
