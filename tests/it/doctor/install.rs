//! Faults around the proxy.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Response;
use serde_json::json;
use standins::body::{self, Body};
use standins::kubernetes::{ApiServer, Behaviour, Recorded, Subject, TokenRequest};
use support::run;

use super::{
    Fault, MANIFESTS, doctor, doctor_of, edit, found, installed, json_of, shipped_configuration,
};
use crate::commands::text;

/// A pod of the proxy, and Prometheus with the Service that the configuration names.
pub const PODS: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: prom-rbac-proxy-0
  labels: { app.kubernetes.io/instance: prom-rbac-proxy, app.kubernetes.io/name: prom-rbac-proxy }
spec:
  serviceAccountName: prom-rbac-proxy
  containers:
    - name: prom-rbac-proxy
      image: prom-rbac-proxy
      ports: [{ name: http, containerPort: 9090 }, { name: admin, containerPort: 9091 }]
status: { phase: Running, conditions: [{ type: Ready, status: 'True' }] }
---
apiVersion: v1
kind: Pod
metadata: { name: prometheus-0, labels: { app.kubernetes.io/name: prometheus } }
spec: { containers: [{ name: prometheus, image: prometheus, ports: [{ name: web, containerPort: 9090 }] }] }
status: { phase: Running, conditions: [{ type: Ready, status: 'True' }] }
---
apiVersion: v1
kind: Service
metadata: { name: prometheus-operated }
spec:
  selector: { app.kubernetes.io/name: prometheus }
  ports: [{ name: web, port: 9090, targetPort: web }]
";

const LABEL: (&str, &str) = ("headlamp-prometheus", "true");
const NAME: (&str, &str) = ("app.kubernetes.io/name", "prom-rbac-proxy");
const SERVICES: &str = "services";
const POLICIES: &str = "networkpolicies.networking.k8s.io";

fn service(api: &ApiServer, name: &str, labels: &[(&str, &str)]) {
    let nowhere = "127.0.0.1:9".parse().expect("an address");
    api.create_service_at("monitoring", name, labels, 9090, nowhere);
}

pub const FAULTS: [Fault; 14] = [
    Fault {
        code: "install-service-missing",
        about: "the proxy's Service",
        ends: 1,
        caller: &[],
        plant: |api| {
            assert!(api.delete(SERVICES, "monitoring", "prom-rbac-proxy"));
            // Without it, nobody's door is the proxy's.
            let role = "roles.rbac.authorization.k8s.io";
            assert!(api.delete(role, "monitoring", "prom-rbac-proxy-access"));
        },
    },
    Fault {
        code: "install-label-missing",
        about: "Service monitoring/prom-rbac-proxy",
        ends: 1,
        caller: &[],
        plant: |api| {
            assert!(api.delete(SERVICES, "monitoring", "prom-rbac-proxy"));
            service(api, "prom-rbac-proxy", &[NAME]);
        },
    },
    Fault {
        code: "install-label-elsewhere",
        about: "Service monitoring/prometheus",
        ends: 1,
        caller: &[],
        plant: |api| service(api, "prometheus", &[LABEL]),
    },
    Fault {
        code: "install-pod-labelled",
        about: "Pod monitoring/prom-rbac-proxy-0",
        ends: 1,
        caller: &[],
        plant: |api| {
            edit(api, "pods", "prom-rbac-proxy-0", |pod| {
                pod["metadata"]["labels"][LABEL.0] = json!(LABEL.1);
            });
        },
    },
    Fault {
        code: "install-service-ports",
        about: "Service monitoring/prom-rbac-proxy",
        ends: 1,
        caller: &[],
        plant: |api| {
            let ports = json!([
                {"name": "http", "port": 9090, "protocol": "TCP"}, {"name": "metrics", "port": 9091, "protocol": "TCP"},
            ]);
            api.apply(json!({
                "apiVersion": "v1", "kind": "Service", "spec": {"ports": ports},
                "metadata": {
                    "name": "prom-rbac-proxy", "namespace": "monitoring", "labels": {LABEL.0: LABEL.1, NAME.0: NAME.1},
                },
            }));
        },
    },
    Fault {
        code: "install-view-lacks-right",
        about: "ClusterRole view",
        ends: 1,
        caller: &[],
        plant: |api| {
            let role = "clusterroles.rbac.authorization.k8s.io";
            assert!(api.delete(role, "", "prom-rbac-proxy-view"));
        },
    },
    Fault {
        code: "install-door-closed",
        about: "Service monitoring/prom-rbac-proxy",
        ends: 1,
        caller: &[],
        plant: |api| {
            let binding = "rolebindings.rbac.authorization.k8s.io";
            assert!(api.delete(binding, "monitoring", "prom-rbac-proxy-access"));
        },
    },
    Fault {
        code: "install-right-missing",
        about: "service account monitoring/prom-rbac-proxy",
        ends: 1,
        caller: &[],
        plant: |api| {
            let binding = "clusterrolebindings.rbac.authorization.k8s.io";
            assert!(api.delete(binding, "", "prom-rbac-proxy"));
        },
    },
    Fault {
        code: "install-right-excess",
        about: "service account monitoring/prom-rbac-proxy",
        ends: 1,
        caller: &[],
        plant: |api| {
            let account = Subject::ServiceAccount("monitoring", "prom-rbac-proxy");
            let rule = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]);
            api.create_cluster_role("reads-secrets", &[], rule);
            api.bind_cluster_role("reads-secrets", "reads-secrets", account);
        },
    },
    Fault {
        code: "install-pod-not-ready",
        about: "Pod monitoring/prom-rbac-proxy-0",
        ends: 1,
        caller: &[],
        plant: |api| {
            edit(api, "pods", "prom-rbac-proxy-0", |pod| {
                let message = "containers with unready status: [prom-rbac-proxy]";
                pod["status"]["conditions"] =
                    json!([{"type": "Ready", "status": "False", "message": message}]);
            });
            api.behave("pods/proxy", Behaviour::Respond(Arc::new(not_ready)));
        },
    },
    Fault {
        code: "install-upstream-away",
        about: "upstream default, service monitoring/prometheus-operated:web",
        ends: 1,
        caller: &[],
        plant: |api| assert!(api.delete(SERVICES, "monitoring", "prometheus-operated")),
    },
    Fault {
        code: "install-policy-blocks",
        about: "NetworkPolicy monitoring/prom-rbac-proxy",
        ends: 1,
        caller: &[],
        plant: |api| {
            edit(api, POLICIES, "prom-rbac-proxy", |policy| {
                let egress = policy["spec"]["egress"].as_array_mut().expect("rules");
                egress.pop().expect("the rule for Prometheus");
            });
        },
    },
    Fault {
        code: "install-prometheus-open",
        about: "upstream default, service monitoring/prometheus-operated:web",
        ends: 0,
        caller: &[],
        plant: |api| assert!(api.delete(POLICIES, "monitoring", "prom-rbac-proxy-prometheus")),
    },
    Fault {
        code: "install-clock-skew",
        about: "the clock of this machine",
        ends: 1,
        caller: &[],
        plant: |api| api.behave("/version", Behaviour::Respond(Arc::new(an_hour_on))),
    },
];

/// What is looked at by a configuration, and what the components of the kustomize base add for it.
#[test]
fn the_rights_of_a_configuration_are_enough_and_all_are_needed() {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let cases = [
        ("namespaces: bindings", &["rolebindings"][..]),
        (
            "changes: watch",
            &[
                "rolebindings",
                "clusterrolebindings",
                "roles",
                "clusterroles",
            ],
        ),
    ];
    run(async {
        for (number, (key, resources)) in cases.into_iter().enumerate() {
            let api = installed().await;
            let configured = shipped_configuration();
            let configured =
                configured.replace("authorization:\n", &format!("authorization:\n  {key}\n"));
            let asked = async |configuration: &str, name: &str| {
                let name = format!("rights-{name}-{number}");
                let json = ["--output", "json"];
                let output = doctor_of(configuration, &api, &name, api.admin_token(), &json).await;
                let found = found(&json_of(&output)).into_iter();
                found.map(|(code, _)| code).collect::<Vec<_>>()
            };
            assert_eq!(
                asked(&configured, "before").await,
                ["install-right-missing"],
                "{key}"
            );
            let role = format!("clusterroles.{GROUP}");
            let mut object = api.object(&role, "", "prom-rbac-proxy").expect("the role");
            let rules = object["rules"].as_array_mut().expect("rules");
            rules.push(
                json!({"apiGroups": [GROUP], "resources": resources, "verbs": ["list", "watch"]}),
            );
            api.apply(object);
            assert_eq!(asked(&configured, "granted").await, [""; 0], "{key}");
            let plain = shipped_configuration();
            assert_eq!(
                asked(&plain, "without").await,
                ["install-right-excess"],
                "{key}"
            );
        }
    });
}

/// Those of the chart and of the kustomize component.
#[test]
fn the_shipped_account_may_read_all_and_what_is_taken_from_it_is_named() {
    run(async {
        let api = installed().await;
        let shipped = Path::new(MANIFESTS).join("components/doctor/rbac.yaml");
        api.apply_manifests(&shipped, "monitoring")
            .expect("applied");
        let request = TokenRequest::default();
        let token = api.create_token("monitoring", "prom-rbac-proxy-doctor", &request);
        let unread = async |name: &str| {
            // Without Services, the Role of the door is one among others.
            let more = ["--output", "json", "--fail-on", "never"];
            let output = doctor(&api, name, &token, &more).await;
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let report = json_of(&output);
            let sections = report["sections"].as_array().expect("sections").iter();
            let unread = sections.flat_map(|section| section["unread"].as_array().expect("a list"));
            // No Prometheus is behind its Service here.
            let unread = unread.filter(|line| {
                let line = line.as_str().expect("a text");
                !line.starts_with("upstream default: ")
            });
            unread.map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(unread("account-whole").await, [""; 0]);
        let role = "clusterroles.rbac.authorization.k8s.io";
        let whole = api
            .object(role, "", "prom-rbac-proxy-doctor")
            .expect("the role");
        let rules = whole["rules"].as_array().expect("rules");
        let mut taken = 0;
        for (number, rule) in rules.iter().enumerate() {
            for resource in rule["resources"].as_array().expect("resources") {
                let mut less = whole.clone();
                let metadata = less["metadata"].as_object_mut();
                metadata.expect("metadata").remove("resourceVersion");
                let resources = less["rules"][number]["resources"].as_array_mut();
                resources.expect("resources").retain(|one| one != resource);
                api.apply(less);
                let told = unread(&format!("account-less-{taken}")).await;
                let starts = format!("\"{} may not be listed", resource.as_str().expect("a text"));
                assert!(
                    told.iter().any(|line| line.starts_with(&starts)),
                    "{starts}: {told:?}"
                );
                taken += 1;
            }
        }
        assert_eq!(taken, 8);
    });
}

#[test]
fn it_waits_for_what_is_still_starting_and_ends_as_it_is_told_to() {
    run(async {
        let api = installed().await;
        let ready = |status: &str| json!([{"type": "Ready", "status": status}]);
        let set = |status: &str| {
            edit(&api, "pods", "prom-rbac-proxy-0", |pod| {
                pod["status"]["conditions"] = ready(status);
            });
        };
        set("False");
        let ended = async |name: &str, more: &[&'static str]| {
            let output = doctor(&api, name, api.admin_token(), more).await;
            output.status.code()
        };
        assert_eq!(ended("fails", &["--fail-on", "error"]).await, Some(1));
        assert_eq!(ended("never-fails", &["--fail-on", "never"]).await, Some(0));
        api.forget_requests();
        let waiting = ended("waits", &["--wait", "60"]);
        let starting = async {
            while api.count("list networkpolicies") == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            set("True");
        };
        assert_eq!(tokio::join!(waiting, starting).0, Some(0));
    });
}

/// As the proxy answers while an upstream is away.
fn not_ready(_: &Recorded) -> Response<Body> {
    let reason = "upstream default: no pod of Prometheus is known";
    Response::builder()
        .status(503)
        .header("Content-Type", "text/plain")
        .body(body::full(reason))
        .expect("an answer")
}

/// The version, by an API server whose clock is an hour ahead.
fn an_hour_on(_: &Recorded) -> Response<Body> {
    let then = SystemTime::now() + Duration::from_secs(3600);
    let then = jiff::Timestamp::try_from(then).expect("a time");
    let date = then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let version = json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
    });
    Response::builder()
        .header("Content-Type", "application/json")
        .header("Date", date)
        .body(body::full(version.to_string()))
        .expect("an answer")
}
