use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::{Value, json};
use support::files::{binary, scratch};
use support::kubectl::Kubectl;

use crate::world::administrator::ADMIN;
use crate::world::cluster::URL;
use crate::world::{SOON, World, proved, run, until};

/// Somebody whom the planted roles are about.
struct Person {
    /// As `doctor` names who is bound: the person, or the group that gives them their rights.
    told: &'static str,
    user: &'static str,
    groups: &'static [&'static str],
}

const PEOPLE: [Person; 9] = [
    Person {
        told: "group enhanced",
        user: "emil",
        groups: &["enhanced"],
    },
    Person {
        told: "user ursula",
        user: "ursula",
        groups: &[],
    },
    Person {
        told: "group operators",
        user: "olga",
        groups: &["operators"],
    },
    Person {
        told: "service account team-b/scripts",
        user: "system:serviceaccount:team-b:scripts",
        groups: &["system:serviceaccounts", "system:serviceaccounts:team-b"],
    },
    // By view alone.
    Person {
        told: "group callers",
        user: "carl",
        groups: &["callers"],
    },
    Person {
        told: "user edith",
        user: "edith",
        groups: &[],
    },
    Person {
        told: "user paul",
        user: "paul",
        groups: &[],
    },
    Person {
        told: "user nina",
        user: "nina",
        groups: &[],
    },
    Person {
        told: "user norman",
        user: "norman",
        groups: &[],
    },
];

/// The way into Prometheus that paul's role names, and another port.
const NAMES: [&str; 2] = ["prometheus-operated:9090", "prometheus-operated:9091"];

/// The proxy's own door, which everybody may pass.
const DOOR: &str = "prom-rbac-proxy:9090";

/// What `doctor` says with the administrator's rights about the cluster that the proxy runs in.
async fn doctor(world: &World) -> Value {
    let kubeconfig = world.cluster.kubeconfig("doctor", URL, ADMIN);
    let output = tokio::process::Command::new(binary())
        .args(["doctor", "--output", "json", "--config"])
        .arg(&world.proxies.configuration)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout);
    let report: Value = report.unwrap_or_else(|error| panic!("{error}: {said}"));
    let serious = findings(&report)
        .iter()
        .any(|it| it["severity"] != "advice");
    assert_eq!(output.status.code(), Some(i32::from(serious)), "{said}");
    report
}

fn findings(report: &Value) -> Vec<Value> {
    let sections = report["sections"].as_array().expect("sections").iter();
    let findings = sections.flat_map(|section| section["findings"].as_array().expect("findings"));
    findings.cloned().collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("a text")
}

/// The code of each finding, and what it is about.
fn codes(findings: &[Value]) -> BTreeSet<(&str, &str)> {
    let codes = findings.iter();
    codes
        .map(|finding| (text(finding, "code"), text(finding, "about")))
        .collect()
}

/// An access that is asked about, as a SubjectAccessReview has it.
fn access(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Value {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    json!({
        "verb": verb, "group": group, "resource": resource, "subresource": subresource,
        "namespace": namespace, "name": name,
    })
}

/// Accesses through the API server.
fn ways() -> Vec<Value> {
    let mut ways = Vec::new();
    for verb in ["get", "create"] {
        for namespace in ["", "team-a", "team-b", "monitoring"] {
            for resource in ["pods/proxy", "services/proxy"] {
                ways.push(access(verb, "", resource, namespace, ""));
            }
        }
        for name in NAMES {
            ways.push(access(verb, "", "services/proxy", "monitoring", name));
        }
        ways.push(access(verb, "", "nodes/proxy", "", ""));
    }
    ways
}

/// Accesses that stay whatever is taken away: all resources of the core group but the three, one of other groups, and the
/// proxy's door.
async fn others(world: &World) -> Vec<Value> {
    let core = world.cluster.object("/api/v1").await;
    let core = core["resources"].as_array().expect("a list").iter();
    let mut others = Vec::new();
    for resource in core {
        let resource = text(resource, "name");
        if resource.ends_with("/proxy") {
            continue;
        }
        for verb in ["get", "create"] {
            others.push(access(verb, "", resource, "", ""));
            others.push(access(verb, "", resource, "team-a", ""));
        }
    }
    for (group, resource) in [
        ("apps", "deployments"),
        ("apps", "deployments/scale"),
        ("batch", "jobs"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("metrics.k8s.io", "pods"),
        ("metrics.k8s.io", "pods/proxy"),
    ] {
        for verb in ["get", "create", "escalate"] {
            for namespace in ["", "team-a", "team-b"] {
                others.push(access(verb, group, resource, namespace, ""));
            }
        }
    }
    others.push(access("get", "", "services/proxy", "monitoring", DOOR));
    others
}

/// Which of the accesses a person has, by their numbers.
async fn held(world: &World, person: &Person, accesses: &[Value]) -> BTreeSet<usize> {
    let groups = [person.groups, &["system:authenticated"]].concat();
    let mut held = BTreeSet::new();
    for (number, access) in accesses.iter().enumerate() {
        if world.cluster.may(person.user, &groups, access).await {
            held.insert(number);
        }
    }
    held
}

/// Does what a finding says: kubectl takes its manifest, first without effect, or runs its commands.
async fn cure(kubectl: &Kubectl, finding: &Value) {
    let remedy = text(finding, "remedy");
    let Some(manifest) = finding["manifest"].as_str() else {
        let (_, commands) = remedy.split_once("delete it: ").expect("commands");
        for command in commands.split(" && ") {
            let arguments: Vec<_> = command.split(' ').skip(1).collect();
            kubectl.ok(&arguments).await;
        }
        return;
    };
    let file = scratch("smaller.yaml");
    std::fs::write(&file, manifest).expect("written");
    let file = file.display().to_string();
    let verb = ["apply", "replace"]
        .into_iter()
        .find(|verb| remedy.contains(&format!("kubectl {verb} -f -")))
        .expect("what kubectl is to do");
    kubectl
        .ok(&[verb, "--dry-run=server", "--validate=strict", "-f", &file])
        .await;
    kubectl.ok(&[verb, "-f", &file]).await;
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn whoever_may_go_through_the_api_server_is_found_and_what_is_shown_takes_only_that_away() {
    run(async |world| {
        let kubectl = Kubectl::new(world.cluster.kubeconfig("administrator", URL, ADMIN));
        let healthy = doctor(world).await;
        assert_eq!(findings(&healthy), [Value::Null; 0]);
        kubectl
            .ok(&["apply", "-f", "tests/real/doctor/roles.yaml"])
            .await;
        let (ways, others) = (ways(), others(world).await);
        // A controller fills aggregated roles.
        for (user, groups) in [("carl", &["callers"][..]), ("edith", &[])] {
            let way = access("get", "", "services/proxy", "team-b", "");
            until("the roles are aggregated", SOON, async || {
                world.cluster.may(user, groups, &way).await
            })
            .await;
        }
        let mut before = Vec::new();
        for person in &PEOPLE {
            let ways = held(world, person, &ways).await;
            before.push((ways, held(world, person, &others).await));
        }

        let report = doctor(world).await;
        let found = findings(&report);
        let granted = "rights-proxy-granted";
        let expected = [
            (granted, "ClusterRole all-proxies"),
            (granted, "ClusterRole all-resources"),
            (granted, "ClusterRole charts"),
            (granted, "ClusterRole enhanced-view"),
            (granted, "ClusterRole everything"),
            (granted, "ClusterRole team-edit"),
            (granted, "Role monitoring/prometheus"),
            ("rights-proxy-unbound", "ClusterRole kubelets"),
        ];
        assert_eq!(codes(&found), expected.into());
        let details = found
            .iter()
            .flat_map(|it| it["details"].as_array().expect("a list"));
        let details: Vec<_> = details.filter_map(Value::as_str).collect();
        for (person, (held, _)) in PEOPLE.iter().zip(&before) {
            let told = format!("held by {} in ", person.told);
            let told = details.iter().any(|line| line.starts_with(&told));
            assert_eq!(told, !held.is_empty(), "{}: {held:?}", person.told);
        }

        for finding in &found {
            cure(&kubectl, finding).await;
        }
        // The same controller takes it out again.
        let way = access("get", "", "services/proxy", "team-b", "");
        until("view is without it", SOON, async || {
            !world.cluster.may("carl", &["callers"], &way).await
        })
        .await;
        let mut taken = 0;
        for (person, (had, kept)) in PEOPLE.iter().zip(&before) {
            assert_eq!(
                held(world, person, &ways).await,
                BTreeSet::new(),
                "{}",
                person.told
            );
            assert_eq!(&held(world, person, &others).await, kept, "{}", person.told);
            taken += had.len();
        }
        assert!(taken > 0);
        assert_eq!(findings(&doctor(world).await), [Value::Null; 0]);
        let kinds = "clusterroles,clusterrolebindings,roles,rolebindings";
        kubectl
            .ok(&["delete", kinds, "--all-namespaces", "-l", "planted=doctor"])
            .await;
        let reviews = PEOPLE.len() * (ways.len() + others.len());
        proved(format!(
            "of {} people, doctor named just those who have one of {} ways through the API server; after what it shows was \
             applied, all {taken} accesses are gone and of {reviews} reviews no other is answered otherwise",
            PEOPLE.len(),
            ways.len(),
        ));
    });
}

/// A fault around the proxy: what kubectl does to plant it, and to take it back.
struct Fault {
    code: &'static str,
    about: &'static str,
    plant: &'static [&'static str],
    undo: &'static [&'static str],
}

const FAULTS: [Fault; 5] = [
    Fault {
        code: "install-label-missing",
        about: "Service monitoring/prom-rbac-proxy",
        plant: &[
            "label",
            "service",
            "prom-rbac-proxy",
            "headlamp-prometheus-",
        ],
        undo: &[
            "label",
            "service",
            "prom-rbac-proxy",
            "headlamp-prometheus=true",
        ],
    },
    Fault {
        code: "install-label-elsewhere",
        about: "Service monitoring/prometheus-operated",
        plant: &[
            "label",
            "service",
            "prometheus-operated",
            "headlamp-prometheus=true",
        ],
        undo: &[
            "label",
            "service",
            "prometheus-operated",
            "headlamp-prometheus-",
        ],
    },
    Fault {
        code: "install-view-lacks-right",
        about: "ClusterRole view",
        plant: &[
            "label",
            "clusterrole",
            "prom-rbac-proxy-view",
            "rbac.authorization.k8s.io/aggregate-to-view-",
        ],
        undo: &[
            "label",
            "clusterrole",
            "prom-rbac-proxy-view",
            "rbac.authorization.k8s.io/aggregate-to-view=true",
        ],
    },
    Fault {
        code: "install-policy-blocks",
        about: "NetworkPolicy monitoring/prom-rbac-proxy-prometheus",
        plant: &[
            "patch",
            "networkpolicy",
            "prom-rbac-proxy-prometheus",
            "--type=merge",
            "-p",
            NOBODY,
        ],
        undo: &["apply", "-k", "tests/real/overlay"],
    },
    Fault {
        code: "install-right-excess",
        about: "service account monitoring/prom-rbac-proxy",
        plant: &[
            "create",
            "rolebinding",
            "planted",
            "--clusterrole=view",
            "--serviceaccount=monitoring:prom-rbac-proxy",
        ],
        undo: &["delete", "rolebinding", "planted"],
    },
];

/// Lets nobody in.
const NOBODY: &str = r#"{"spec":{"ingress":[]}}"#;

#[test]
#[ignore = "scripts/e2e runs it"]
fn each_fault_that_is_planted_is_found_alone_and_gone_with_it() {
    run(async |world| {
        let kubectl = Kubectl::new(world.cluster.kubeconfig("administrator", URL, ADMIN));
        for fault in &FAULTS {
            let monitoring = ["--namespace=monitoring"];
            kubectl.ok(&[&monitoring, fault.plant].concat()).await;
            // A controller fills aggregated roles.
            until(fault.code, SOON, async || {
                let found = findings(&doctor(world).await);
                codes(&found) == BTreeSet::from([(fault.code, fault.about)])
            })
            .await;
            kubectl.ok(&[&monitoring, fault.undo].concat()).await;
            until("nothing is found", SOON, async || {
                findings(&doctor(world).await).is_empty()
            })
            .await;
        }
        let codes: Vec<_> = FAULTS.iter().map(|fault| fault.code).collect();
        proved(format!(
            "planted one after another, doctor finds just {}",
            codes.join(", ")
        ));
    });
}
