//! What the page shows: the charts of a pod as each caller gets them, what was asked for them, and what each gets without
//! the proxy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};
use standins::headlamp;
use standins::kubernetes::{ApiServer, User};
use standins::prometheus::Recorder;
use support::client::{Answer, Call, encoded};

use crate::{Failure, NAMESPACE, PORT, PROMETHEUS, SERVICE};

/// As the plugin draws by default: a day, in steps of 345 s.
const RANGE_SECONDS: u64 = 86_400;
const STEP_SECONDS: &str = "345";

/// Namespace and name of the pods whose charts can be looked at.
pub(crate) const PODS: [[&str; 2]; 2] = [
    ["team-a", "web-7d4b9c6f5-abcde"],
    ["team-b", "web-6f8d7c5b4-qwert"],
];

/// A chart of the plugin's.
struct Chart {
    title: &'static str,
    unit: &'static str,
    /// The name of each line, and the plugin's own word for its query.
    lines: &'static [(&'static str, &'static str)],
}

const CHARTS: [Chart; 4] = [
    Chart {
        title: "CPU",
        unit: "cores",
        lines: &[("cpu", "pod.cpu")],
    },
    Chart {
        title: "Memory",
        unit: "bytes",
        lines: &[("memory", "pod.memory")],
    },
    Chart {
        title: "Network",
        unit: "bytes/s",
        lines: &[
            ("receive", "pod.network_rx"),
            ("transmit", "pod.network_tx"),
        ],
    },
    Chart {
        title: "Filesystem",
        unit: "bytes/s",
        lines: &[("read", "pod.fs_read"), ("write", "pod.fs_write")],
    },
];

/// Not the plugin's: a query that names no namespace shows best what is restricted.
const EVERYWHERE: &str = "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))";

/// Somebody who looks.
pub(crate) struct Viewer {
    pub(crate) name: &'static str,
    /// What binds them.
    pub(crate) bound: &'static str,
    /// Of the namespace `demo`.
    pub(crate) account: &'static str,
    pub(crate) token: String,
}

/// What was sent when it was last sent, by who asked and what: an answer that is shared or kept is sent for nobody.
type Sent = BTreeMap<(&'static str, String), String>;

/// Where is asked, and where can be seen what was asked.
pub(crate) struct Views {
    headlamp: String,
    api: Arc<ApiServer>,
    upstream: Recorder,
    viewers: Vec<Viewer>,
    sent: Mutex<Sent>,
    /// One at a time, so that what is sent belongs to who asked last.
    turn: tokio::sync::Mutex<()>,
}

impl Views {
    /// Asks at the URL `headlamp`; `upstream` is what the proxy takes for Prometheus.
    pub(crate) fn new(
        headlamp: String,
        api: Arc<ApiServer>,
        upstream: Recorder,
        viewers: Vec<Viewer>,
    ) -> Self {
        Self {
            headlamp,
            api,
            upstream,
            viewers,
            sent: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// All of it, for one of [`PODS`].
    ///
    /// # Errors
    /// When Headlamp's stand-in does not answer.
    pub(crate) async fn of(&self, pod: usize) -> Result<Value, Failure> {
        let _turn = self.turn.lock().await;
        let mut viewers = Vec::new();
        for viewer in &self.viewers {
            let mut charts = vec![json!({
                "title": "CPU of every namespace",
                "unit": "cores",
                "lines": [self.line(viewer, "", EVERYWHERE).await?],
            })];
            for Chart { title, unit, lines } in CHARTS {
                let mut drawn = Vec::new();
                for (name, id) in lines {
                    drawn.push(self.line(viewer, name, &query(id, pod)).await?);
                }
                charts.push(json!({ "title": title, "unit": unit, "lines": drawn }));
            }
            viewers.push(json!({
                "name": viewer.name,
                "bound": viewer.bound,
                "without": self.without(viewer).await?,
                "charts": charts,
                "reviews": self.reviews(viewer),
            }));
        }
        let pods = PODS.map(|[namespace, name]| format!("{namespace}/{name}"));
        Ok(json!({ "pods": pods, "pod": pod, "viewers": viewers }))
    }

    /// A line of a chart, through Headlamp, the API server and the proxy.
    async fn line(&self, viewer: &Viewer, name: &str, query: &str) -> Result<Value, Failure> {
        let end = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
        let (start, end) = ((end - RANGE_SECONDS).to_string(), end.to_string());
        let parameters = encoded(&[
            ("query", query),
            ("start", &start),
            ("end", &end),
            ("step", STEP_SECONDS),
        ]);
        self.upstream.forget();
        let path = format!("/api/v1/query_range?{parameters}");
        let answer = self.ask(viewer, SERVICE, &path).await?;
        Ok(json!({
            "name": name,
            "query": query,
            "sent": self.sent(viewer, query),
            "status": answer.status.as_u16(),
            "message": answer.json()["message"],
            "result": answer.json()["data"]["result"],
        }))
    }

    /// What Prometheus got, now or when this was last asked of it; null where it never was.
    fn sent(&self, viewer: &Viewer, query: &str) -> Value {
        let mut known = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (viewer.account, query.to_owned());
        let requests = self.upstream.requests();
        let sent = requests.iter().find_map(|seen| {
            let (path, parameters) = seen.uri.split_once('?').unwrap_or((&seen.uri, ""));
            let pairs = form_urlencoded::parse(parameters.as_bytes());
            let mut pairs = pairs.chain(form_urlencoded::parse(&seen.body));
            let query = pairs.find(|(name, _)| name == "query");
            query.filter(|_| path.ends_with("/query_range"))
        });
        if let Some((_, sent)) = sent {
            known.insert(place.clone(), sent.into_owned());
        }
        known.get(&place).cloned().into()
    }

    /// What the API server says to the same person who asks Prometheus itself.
    async fn without(&self, viewer: &Viewer) -> Result<Value, Failure> {
        let answer = self.ask(viewer, PROMETHEUS, "/api/v1/query?query=up");
        let answer = answer.await?;
        Ok(json!({ "status": answer.status.as_u16(), "message": answer.json()["message"] }))
    }

    async fn ask(&self, viewer: &Viewer, service: &str, path: &str) -> Result<Answer, Failure> {
        let url = format!(
            "{}/clusters/main/api/v1/namespaces/{NAMESPACE}/services/{service}:{PORT}/proxy{path}",
            self.headlamp
        );
        let cookie = headlamp::cookie_header("main", &viewer.token);
        Call::get(url).header("cookie", &cookie).try_send().await
    }

    /// What the API server has been asked about somebody so far, with its answers: a line for the token, and one for all places
    /// with the same answer.
    fn reviews(&self, viewer: &Viewer) -> Value {
        let user = User::service_account("demo", viewer.account);
        let mut tokens = 0;
        let mut places: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
        for request in self.api.requests() {
            let spec = &request.body["spec"];
            match &*request.info.resource {
                "tokenreviews" if spec["token"] == *viewer.token => tokens += 1,
                "subjectaccessreviews" if spec["user"] == *user.username => {
                    let attributes = &spec["resourceAttributes"];
                    let (access, place) = access(attributes);
                    let (allowed, _) = self.api.may(&user, attributes);
                    let known = places.entry((access, allowed)).or_default();
                    if !known.contains(&place) {
                        known.push(place);
                    }
                }
                _ => {}
            }
        }
        let accesses = places.into_iter().map(|((access, allowed), places)| {
            json!({ "access": access, "allowed": allowed, "places": places })
        });
        let accesses: Vec<_> = accesses.collect();
        json!({ "user": user.username, "tokens": tokens, "accesses": accesses })
    }
}

/// What is asked for, and where.
fn access(attributes: &Value) -> (String, String) {
    let text = |name: &str| attributes[name].as_str().unwrap_or_default();
    let place = match text("namespace") {
        "" => "the whole cluster",
        namespace => namespace,
    };
    let access = format!("{} {}.{}", text("verb"), text("resource"), text("group"));
    (access, place.to_owned())
}

/// The plugin's query of a chart, for one of [`PODS`].
fn query(id: &str, pod: usize) -> String {
    let templates = support::headlamp::templates();
    let (_, example) = templates
        .into_iter()
        .find(|(other, _)| other == id)
        .expect("one of the plugin's");
    let names = PODS[0].iter().zip(PODS[pod]);
    names.fold(example, |query, (from, to)| query.replace(from, to))
}
