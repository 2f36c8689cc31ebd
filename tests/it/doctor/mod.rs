//! `doctor` over a cluster with a fault planted, and over one without.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use standins::kubernetes::{ApiServer, Subject, User};
use support::cluster::{PROXY, api_server};
use support::proxy::configuration;
use support::{run, scratch};

use crate::commands::{execute, text};

/// What is said of the data of Prometheus.
mod data;

/// What is said of one caller.
mod caller;

/// What is wrong around the proxy.
mod install;

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kustomize");

/// In the configuration of all that is asked here.
const UPSTREAM: &str = "service: { namespace: monitoring, name: prometheus-operated, port: web }";
const NOWHERE: &str = "http://127.0.0.1:9";

/// What the document shows as planted.
const ENHANCED_VIEW: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: enhanced-view }
rules:
  - { apiGroups: [''], resources: [pods, pods/log, pods/proxy], verbs: [get, list] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: enhanced-viewers }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: enhanced-view }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: Group, name: viewers }]
";

/// A cluster with all that is shipped for the proxy, and with a Prometheus that only it may read.
async fn installed() -> ApiServer {
    let (api, _) = api_server().await;
    for manifest in [
        "service.yaml",
        "networkpolicy.yaml",
        "components/networkpolicy-prometheus/networkpolicy.yaml",
    ] {
        api.apply_manifests(&Path::new(MANIFESTS).join(manifest), "monitoring")
            .expect(manifest);
    }
    api.apply_yaml(install::PODS, "monitoring")
        .expect("applied");
    api
}

/// With a kubeconfig that is not there, and the Prometheus of [`installed`].
fn shipped_configuration() -> String {
    let configuration = configuration(&PathBuf::from("/nowhere"), NOWHERE);
    configuration.replace(&format!("url: \"{NOWHERE}\""), UPSTREAM)
}

/// Runs it with a token's rights; the configuration names another kubeconfig, which is not to be read.
async fn doctor(api: &ApiServer, name: &str, token: &str, more: &[&'static str]) -> Output {
    doctor_of(&shipped_configuration(), api, name, token, more).await
}

/// The same, of a proxy with another configuration.
async fn doctor_of(
    configuration: &str,
    api: &ApiServer,
    name: &str,
    token: &str,
    more: &[&'static str],
) -> Output {
    let kubeconfig = scratch(&format!("{name}.kubeconfig"));
    api.write_kubeconfig(&kubeconfig, token).expect("written");
    let config = scratch(&format!("{name}.yaml"));
    std::fs::write(&config, configuration).expect("written");
    let more = more.to_vec();
    let run = tokio::task::spawn_blocking(move || {
        let path = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
        let (config, kubeconfig) = (path(&config), path(&kubeconfig));
        let arguments = ["doctor", "--config", &config, "--kubeconfig", &kubeconfig];
        execute(&[&arguments[..], &more].concat())
    });
    run.await.expect("no panic")
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The section on rights.
fn rights(report: &Value) -> &Value {
    let sections = report["sections"].as_array().expect("sections").iter();
    let mut rights = sections.filter(|section| section["title"] == "Rights to take away");
    rights.next().expect("the section")
}

/// The code of each finding, and what it is about.
fn found(report: &Value) -> Vec<(String, String)> {
    let sections = report["sections"].as_array().expect("sections").iter();
    let findings = sections.flat_map(|section| section["findings"].as_array().expect("findings"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    findings
        .map(|finding| (text(&finding["code"]), text(&finding["about"])))
        .collect()
}

#[test]
fn a_healthy_install_has_no_findings_and_doctor_only_reads() {
    run(async {
        let api = installed().await;
        api.forget_requests();
        let output = doctor(&api, "doctor-healthy", api.admin_token(), &[]).await;
        let said = text(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{said}{}",
            text(&output.stderr)
        );
        assert!(said.contains("nothing found"), "{said}");
        // Nobody watches.
        assert_eq!(text(&output.stderr), "");
        let requests = api.requests();
        assert!(!requests.is_empty());
        for request in requests {
            assert_eq!(request.method, "GET", "{}", request.uri);
        }
    });
}

#[test]
fn an_enhanced_view_role_is_found_and_gone_once_what_is_shown_is_applied() {
    run(async {
        let api = installed().await;
        api.apply_yaml(ENHANCED_VIEW, "monitoring")
            .expect("applied");
        let output = doctor(
            &api,
            "doctor-enhanced",
            api.admin_token(),
            &["--output", "json"],
        )
        .await;
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let report = json_of(&output);
        let expected = (
            "rights-proxy-granted".to_owned(),
            "ClusterRole enhanced-view".to_owned(),
        );
        assert_eq!(found(&report), [expected]);
        let finding = &rights(&report)["findings"][0];
        let manifest = finding["manifest"].as_str().expect("a manifest");
        let viewer = User {
            groups: vec!["viewers".to_owned()],
            ..User::named("vera")
        };
        let may = |resource: &str, subresource: &str| {
            let access = json!({
                "verb": "get", "resource": resource, "subresource": subresource, "namespace": "team-b", "name": "p",
            });
            api.may(&viewer, &access).0
        };
        assert!(may("pods", "proxy") && may("pods", "log"));
        api.apply_yaml(manifest, "monitoring").expect("applied");
        assert!(!may("pods", "proxy") && may("pods", "log") && may("pods", ""));
        let output = doctor(&api, "doctor-reduced", api.admin_token(), &[]).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    });
}

/// A fault, planted in a cluster without one.
struct Fault {
    code: &'static str,
    about: &'static str,
    /// The exit code: advice is no reason to act.
    ends: i32,
    /// Whom it is asked about.
    caller: &'static [&'static str],
    plant: fn(&ApiServer),
}

/// A change of an object that is there.
fn edit(api: &ApiServer, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
    let object = api.object(resource, "monitoring", name);
    let mut object = object.expect("the object");
    change(&mut object);
    api.apply(object);
}

/// Only that group comes through the API server to the proxy.
fn leave_door_to(api: &ApiServer, group: &str) {
    let binding = "rolebindings.rbac.authorization.k8s.io";
    edit(api, binding, "prom-rbac-proxy-access", |binding| {
        binding["subjects"][0]["name"] = json!(group);
    });
}

/// What Headlamp's autodetection needs.
fn lists_everything(api: &ApiServer, user: &str) {
    let rule = json!([{"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["list"]}]);
    api.create_cluster_role("lists", &[], rule);
    api.bind_cluster_role("lists", "lists", Subject::User(user));
}

const FAULTS: [Fault; 7] = [
    Fault {
        code: "caller-door-closed",
        about: "user viewer",
        ends: 1,
        caller: &["--as", "viewer"],
        plant: |api| {
            leave_door_to(api, "others");
        },
    },
    Fault {
        code: "caller-sees-nothing",
        about: "user mallory",
        ends: 1,
        caller: &["--as", "mallory"],
        plant: |api| {
            lists_everything(api, "mallory");
            let role = "prom-rbac-proxy-cluster-metrics";
            api.bind_cluster_role("operators", role, Subject::User("mallory"));
        },
    },
    Fault {
        code: "caller-not-detected",
        about: "user alice",
        ends: 0,
        caller: &["--as", "alice"],
        plant: |api| {
            let role = "prom-rbac-proxy-cluster-metrics";
            api.bind_cluster_role("operators", role, Subject::User("alice"));
        },
    },
    Fault {
        code: "caller-cluster-metrics-closed",
        about: "user alice",
        ends: 0,
        caller: &["--as", "alice"],
        plant: |api| lists_everything(api, "alice"),
    },
    Fault {
        code: "rights-proxy-granted",
        about: "ClusterRole enhanced-view",
        ends: 1,
        caller: &[],
        plant: |api| {
            api.apply_yaml(ENHANCED_VIEW, "monitoring")
                .expect("applied");
        },
    },
    Fault {
        code: "rights-proxy-granted-to-all",
        about: "ClusterRole charts",
        ends: 1,
        caller: &[],
        plant: |api| {
            let rule =
                json!([{"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"]}]);
            api.create_cluster_role("charts", &[], rule);
            api.bind_cluster_role("charts", "charts", Subject::Group("system:authenticated"));
        },
    },
    Fault {
        code: "rights-proxy-unbound",
        about: "ClusterRole enhanced-view",
        ends: 0,
        caller: &[],
        plant: |api| {
            let role = ENHANCED_VIEW.split("---").next().expect("the role");
            api.apply_yaml(role, "monitoring").expect("applied");
        },
    },
];

fn faults() -> impl Iterator<Item = &'static Fault> {
    install::FAULTS.iter().chain(&FAULTS)
}

#[test]
fn each_fault_is_found_alone_and_shown_as_in_the_document() {
    run(async {
        for code in prom_rbac_proxy::doctor::Code::ALL {
            let code = code.as_str();
            let planted = faults().any(|fault| fault.code == code) || data::CODES.contains(&code);
            assert!(planted, "nothing plants {code}");
        }
        for fault in faults() {
            let code = fault.code;
            let api = installed().await;
            (fault.plant)(&api);
            let json = [fault.caller, &["--output", "json"]].concat();
            let output = doctor(&api, code, api.admin_token(), &json).await;
            assert_eq!(
                output.status.code(),
                Some(fault.ends),
                "{code}: {}",
                text(&output.stderr)
            );
            let report = json_of(&output);
            assert_eq!(found(&report), [(code.to_owned(), fault.about.to_owned())]);
            let output = doctor(&api, code, api.admin_token(), fault.caller).await;
            assert_is_shown(code, fault.about, text(&output.stdout));
        }
    });
}

/// That the document shows a finding as it was printed.
fn assert_is_shown(code: &str, about: &str, printed: &str) {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doctor.md");
    let document = std::fs::read_to_string(document).expect("read");
    let title = format!("### {code}\n");
    let (_, rest) = document.split_once(&title).expect(code);
    let (_, rest) = rest.split_once("```text\n").expect(code);
    let shown = rest.split_once("```").expect("its end").0;
    let first = format!(" {code}: {about}\n");
    assert!(shown.contains(&first), "{code}: {printed}");
    assert!(printed.contains(shown), "{code}: {printed}");
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_is_judged() {
    run(async {
        let api = installed().await;
        api.apply_yaml(ENHANCED_VIEW, "monitoring")
            .expect("applied");
        let blind = "blind-token";
        api.add_user(blind, User::named("nobody"));
        let output = doctor(&api, "doctor-blind", blind, &[]).await;
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        let said = text(&output.stderr);
        assert!(
            said.contains("doctor could read nothing") && !said.contains(blind),
            "{said}"
        );
        let rule = json!([{
            "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["list"],
        }]);
        api.create_cluster_role("reads-roles", &[], rule);
        let account = Subject::User("system:serviceaccount:monitoring:prom-rbac-proxy");
        api.bind_cluster_role("reads-roles", "reads-roles", account);
        let output = doctor(&api, "doctor-half", PROXY, &["--output", "json"]).await;
        assert_eq!(output.status.code(), Some(1));
        let report = json_of(&output);
        let expected = (
            "rights-proxy-granted".to_owned(),
            "ClusterRole enhanced-view".to_owned(),
        );
        assert_eq!(found(&report), [expected]);
        let unread = rights(&report)["unread"].to_string();
        for resource in [
            "roles may not",
            "rolebindings",
            "clusterrolebindings",
            "services",
        ] {
            assert!(unread.contains(resource), "{unread}");
        }
        assert!(report.to_string().contains("who holds it is not known"));
    });
}

#[test]
fn without_an_api_server_it_could_not_look() {
    run(async {
        let api = installed().await;
        api.stop().await;
        let output = doctor(&api, "doctor-away", api.admin_token(), &[]).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("doctor cannot ask the Kubernetes API server"));
        assert_eq!(text(&output.stdout), "");
    });
}

/// Namespaces and bindings of a large cluster.
const NAMESPACES: usize = 5_000;
const BINDINGS: usize = 25_000;

#[test]
fn twenty_five_thousand_bindings_are_read_within_ten_seconds() {
    run(async {
        let api = installed().await;
        api.apply_yaml(ENHANCED_VIEW, "monitoring")
            .expect("applied");
        for number in 0..NAMESPACES {
            api.create_namespace(&format!("namespace-{number}"), &[]);
        }
        for number in 0..BINDINGS {
            let namespace = format!("namespace-{}", number % NAMESPACES);
            let role = if number % 100 == 0 {
                "ClusterRole/enhanced-view"
            } else {
                "ClusterRole/view"
            };
            let team = format!("team-{number}");
            api.bind_role(
                &namespace,
                &format!("b{number}"),
                role,
                Subject::Group(&team),
            );
        }
        let start = std::time::Instant::now();
        let json = ["--output", "json"];
        let output = doctor(&api, "doctor-large", api.admin_token(), &json).await;
        let taken = start.elapsed();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let report = json_of(&output);
        let details = rights(&report)["findings"][0]["details"].clone();
        let held = BINDINGS / 100 + 1;
        // And what the role gives beside.
        assert_eq!(details.as_array().map(Vec::len), Some(held + 1));
        println!(
            "{BINDINGS} bindings in {NAMESPACES} namespaces: {:.1} s",
            taken.as_secs_f32()
        );
        assert!(taken < std::time::Duration::from_secs(10), "{taken:?}");
    });
}
