//! The roles, bindings, Service and configuration that `deploy/` renders, and nothing else: the demo's callers get
//! their charts under them, and each right that is taken away is missed in a way that says so.
//!
//! What is rendered comes from `kubectl kustomize`, or from the file that `RENDERED_OBJECTS` names, which is how
//! `make deploy-check` tries the chart. Network policies and probes are not honoured here.

mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use standins::headlamp::{self, Headlamp};
use standins::kubernetes::{ApiServer, Options, Subject, TokenRequest};
use tokio::time::Instant;

use self::objects::{owned, rendered, rights, texts, without};
use support::client::{Call, encoded};
use support::cluster::service_door;
use support::proxy::Proxy;
use support::{prometheus, run, scratch};

const NAMESPACE: &str = "monitoring";
const LIMIT: Duration = Duration::from_secs(20);

/// What [`Stage::report`] says while nothing is missing.
const HEALTHY: [(&str, &str); 5] = [
    ("ready", "200 ok"),
    ("viewer", "200 [monitoring team-a team-b victim] "),
    ("team-a-viewer", "200 [team-a] "),
    ("cluster metrics", "200 [4] "),
    ("log", ""),
];

/// What goes wrong without one right.
struct Loss {
    /// Name of the role, verb and resource.
    right: (&'static str, &'static str, &'static str),
    /// The part of the report that says so, and what it says.
    sign: (&'static str, &'static str),
    /// The parts that stay as they are.
    spared: &'static [&'static str],
}

const LOSSES: [Loss; 9] = [
    Loss {
        right: ("prom-rbac-proxy", "create", "tokenreviews"),
        sign: (
            "viewer",
            "503 the token cannot be checked now: the Kubernetes API server answered 403",
        ),
        spared: &[],
    },
    Loss {
        right: ("prom-rbac-proxy", "create", "subjectaccessreviews"),
        sign: (
            "viewer",
            "503 your permissions cannot be checked now: the Kubernetes API server answered 403",
        ),
        spared: &[],
    },
    Loss {
        right: ("prom-rbac-proxy", "list", "namespaces"),
        sign: (
            "team-a-viewer",
            "503 your permissions cannot be checked now: the list of the cluster's namespaces is not known yet",
        ),
        spared: &["ready", "viewer", "cluster metrics"],
    },
    Loss {
        right: ("prom-rbac-proxy", "watch", "namespaces"),
        sign: ("log", "the namespaces cannot be watched now"),
        spared: &["ready", "viewer", "team-a-viewer", "cluster metrics"],
    },
    Loss {
        right: ("prom-rbac-proxy-discovery", "list", "endpointslices"),
        sign: ("viewer", "503 no pod of Prometheus is known"),
        spared: &[],
    },
    Loss {
        right: ("prom-rbac-proxy-discovery", "watch", "endpointslices"),
        sign: ("log", "the pods of this upstream cannot be watched now"),
        spared: &["ready", "viewer", "team-a-viewer", "cluster metrics"],
    },
    Loss {
        right: ("prom-rbac-proxy-access", "get", "services/proxy"),
        sign: (
            "team-a-viewer",
            "403 services \"prom-rbac-proxy:9090\" is forbidden",
        ),
        spared: &["ready", "log"],
    },
    Loss {
        right: ("prom-rbac-proxy-view", "get", "pods.metrics.k8s.io"),
        sign: (
            "team-a-viewer",
            "403 you may not read the metrics of any namespace",
        ),
        spared: &["ready", "cluster metrics", "log"],
    },
    Loss {
        right: (
            "prom-rbac-proxy-cluster-metrics",
            "get",
            "nodes.metrics.k8s.io",
        ),
        sign: (
            "cluster metrics",
            "403 you may not read the metrics karpenter_*, which belong to no namespace: ask for get nodes.metrics.k8s.io",
        ),
        spared: &["ready", "viewer", "team-a-viewer", "log"],
    },
];

/// What is seen from outside, by part.
type Report = BTreeMap<&'static str, String>;

struct Stage {
    api: ApiServer,
    headlamp: Headlamp,
    proxy: Proxy,
    tokens: BTreeMap<&'static str, String>,
}

impl Stage {
    /// A cluster that has these objects and the demo's callers, and the proxy as its own ServiceAccount with the
    /// configuration of its ConfigMap. Overridden is only what a pod has and this process has not: a token file and
    /// an address of its own.
    async fn start(objects: &[Value]) -> Self {
        let api = ApiServer::start(Options::default())
            .await
            .expect("an API server");
        for namespace in ["team-a", "team-b", "victim", "keda", "demo"] {
            api.create_namespace(namespace, &[]);
        }
        for object in objects {
            api.apply(object.clone());
        }
        let mut tokens = BTreeMap::new();
        let request = TokenRequest::default();
        for name in ["viewer", "team-a-viewer", "operator"] {
            api.create_service_account("demo", name);
            tokens.insert(name, api.create_token("demo", name, &request));
        }
        let account = |name| Subject::ServiceAccount("demo", name);
        api.bind_cluster_role("viewer", "view", account("viewer"));
        api.bind_role(
            "team-a",
            "team-a",
            "ClusterRole/view",
            account("team-a-viewer"),
        );
        api.bind_role(
            "team-a",
            "operator",
            "ClusterRole/view",
            account("operator"),
        );
        let role = "prom-rbac-proxy-cluster-metrics";
        api.bind_cluster_role("operator", role, account("operator"));
        let upstream = prometheus::everything().await.address();
        api.create_service_at(NAMESPACE, "prometheus-operated", &[], 9090, upstream);

        let find = |kind: &str| {
            let found = objects.iter().find(|object| object["kind"] == kind);
            found.unwrap_or_else(|| panic!("no {kind} is rendered"))
        };
        let pod = &find("Deployment")["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().expect("an account");
        let kubeconfig = scratch("deployment.kubeconfig");
        api.write_kubeconfig(&kubeconfig, &api.create_token(NAMESPACE, account, &request))
            .expect("written");
        let configuration = find("ConfigMap")["data"]["config.yaml"]
            .as_str()
            .expect("text");
        let proxy = Proxy::start(
            configuration,
            &[
                (
                    "KUBERNETES__KUBECONFIG",
                    kubeconfig.to_str().expect("UTF-8"),
                ),
                ("LISTENERS__SERVICE__ADDRESS", "127.0.0.1:0"),
                ("LISTENERS__ADMIN__ADDRESS", "127.0.0.1:0"),
            ],
        );
        api.create_service_at(NAMESPACE, "prom-rbac-proxy", &[], 9090, proxy.service());
        let options = headlamp::Options::new(&api.url(), api.ca_pem());
        let headlamp = Headlamp::start(options).await.expect("Headlamp");
        Self {
            api,
            headlamp,
            proxy,
            tokens,
        }
    }

    /// What the caller's browser gets through Headlamp and the API server: the status, then the message, or each
    /// series' namespace (its value, where it names none) and the warnings.
    async fn chart(&self, caller: &str, expression: &str) -> String {
        let path = format!("/api/v1/query?{}", encoded(&[("query", expression)]));
        let url = format!(
            "{}/clusters/main{}",
            self.headlamp.url(),
            service_door(&path)
        );
        let cookie = headlamp::cookie_header("main", &self.tokens[caller]);
        let answer = Call::get(&url).header("cookie", &cookie).send().await;
        let status = answer.status.as_u16();
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or(answer.text().into());
        if let Some(message) = body["message"].as_str() {
            return format!("{status} {message}");
        }
        let series = body["data"]["result"].as_array().into_iter().flatten();
        let shown = |one: &Value| match one["metric"]["namespace"].as_str() {
            Some(namespace) => namespace.to_owned(),
            None => one["value"][1].as_str().unwrap_or_default().to_owned(),
        };
        let shown: BTreeSet<_> = series.map(shown).collect();
        let shown: Vec<_> = shown.into_iter().collect();
        let warnings: Vec<_> = texts(&body["warnings"]).collect();
        format!("{status} [{}] {}", shown.join(" "), warnings.join("; "))
    }

    async fn ready(&self) -> String {
        let answer = Call::get(self.proxy.admin("/readyz")).send().await;
        format!("{} {}", answer.status.as_u16(), answer.text().trim())
    }

    /// What the proxy has warned of, each once.
    fn warnings(&self) -> String {
        let log = self.proxy.log();
        let lines = log.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["level"] == "WARN").then(|| line["message"].to_string())
        });
        let lines: BTreeSet<_> = lines.collect();
        lines.into_iter().collect::<Vec<_>>().join("; ")
    }

    async fn report(&self) -> Report {
        let cpu = "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))";
        BTreeMap::from([
            ("ready", self.ready().await),
            ("viewer", self.chart("viewer", cpu).await),
            ("team-a-viewer", self.chart("team-a-viewer", cpu).await),
            (
                "cluster metrics",
                self.chart("operator", "sum(karpenter_pods_state)").await,
            ),
            ("log", self.warnings()),
        ])
    }

    /// The report, as soon as `holds` does; the last one when the time is over.
    async fn reported(&self, holds: impl Fn(&Report) -> bool) -> (bool, Report) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let report = self.report().await;
            if holds(&report) || Instant::now() > deadline {
                return (holds(&report), report);
            }
            // What is awaited is told by requests alone.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn is_healthy(report: &Report, part: &str) -> bool {
    HEALTHY.contains(&(part, report[part].as_str()))
}

#[test]
fn under_exactly_the_shipped_rights_the_demo_answers_charts() {
    let Some(objects) = rendered() else { return };
    run(async {
        let stage = Stage::start(&objects).await;
        let healthy = |report: &Report| HEALTHY.iter().all(|(part, _)| is_healthy(report, part));
        let (holds, report) = stage.reported(healthy).await;
        assert!(holds, "{report:#?}");
    });
}

#[test]
fn every_right_is_needed_and_its_loss_says_so() {
    let Some(objects) = rendered() else { return };
    let known: BTreeSet<_> = LOSSES.iter().map(|loss| owned(loss.right)).collect();
    assert_eq!(rights(&objects), known);
    for loss in &LOSSES {
        run(async {
            let stage = Stage::start(&without(&objects, loss.right)).await;
            let (role, verb, resource) = loss.right;
            if matches!(verb, "list" | "watch") {
                // So that the refusal is not mistaken for the time before the first answer.
                let target = format!("{verb} {resource}");
                let again = stage.api.wait_for_requests(&target, 2, LIMIT).await;
                assert!(again, "{target}");
            }
            let (part, says) = loss.sign;
            let lost = |report: &Report| {
                report[part].contains(says)
                    && loss.spared.iter().all(|part| is_healthy(report, part))
            };
            let (holds, report) = stage.reported(lost).await;
            assert!(holds, "without {verb} {resource} of {role}: {report:#?}");
            println!("without {verb} {resource} of {role}: {part}: {says}");
        });
    }
}
