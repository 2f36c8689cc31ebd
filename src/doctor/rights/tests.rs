use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use super::super::binding::all as all_bindings;
use super::super::finding::{Code, Finding, Severity};
use super::super::own_service::OwnService;
use super::holders::{Aggregation, Bindings};
use super::judgement::Rbac;
use super::smaller::Served;
use super::way::ways;

fn read<T: serde::de::DeserializeOwned>(objects: Value) -> Vec<T> {
    serde_json::from_value(objects).expect("objects")
}

fn cluster_role(name: &str, labels: Value, rules: Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}, "rules": rules})
}

fn rule(resources: &[&str]) -> Value {
    json!({"apiGroups": [""], "resources": resources, "verbs": ["get"]})
}

fn group(name: &str) -> Value {
    json!([{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name}])
}

fn binding(name: &str, role: &str, subjects: Value) -> Value {
    json!({
        "metadata": {"name": name}, "subjects": subjects,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
    })
}

/// What Kubernetes itself has, as far as it matters here.
fn own() -> Vec<Value> {
    let aggregated = |name: &str, labels: Value, rules: Value| {
        let selector = json!({"matchLabels": {format!("rbac.authorization.k8s.io/aggregate-to-{name}"): "true"}});
        json!({
            "metadata": {"name": name, "labels": labels}, "rules": rules,
            "aggregationRule": {"clusterRoleSelectors": [selector]},
        })
    };
    let label =
        |name: &str| json!({format!("rbac.authorization.k8s.io/aggregate-to-{name}"): "true"});
    vec![
        json!({"metadata": {"name": "cluster-admin"}, "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ]}),
        aggregated("view", label("edit"), json!([rule(&["pods"])])),
        aggregated(
            "edit",
            label("admin"),
            json!([rule(&["pods/proxy", "services/proxy"])]),
        ),
        aggregated(
            "admin",
            json!({}),
            json!([rule(&["pods/proxy", "services/proxy"])]),
        ),
        cluster_role(
            "system:aggregate-to-edit",
            label("edit"),
            json!([rule(&["pods/proxy", "services/proxy"])]),
        ),
        cluster_role(
            "system:aggregate-to-view",
            label("view"),
            json!([rule(&["pods"])]),
        ),
    ]
}

fn rbac(added: Vec<Value>, cluster_bindings: Value) -> Rbac {
    let cluster_roles = read(Value::Array([own(), added].concat()));
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Rbac {
        aggregation: Aggregation::new(&cluster_roles),
        cluster_roles,
        roles: Vec::new(),
        bindings: Bindings::new(all_bindings(&read(cluster_bindings), &[])),
        all_bindings: true,
        own_services: Vec::new(),
        served: Some(Served {
            core: texts(&[
                "pods",
                "pods/proxy",
                "services",
                "services/proxy",
                "nodes",
                "nodes/proxy",
            ]),
            groups: texts(&["apps"]),
        }),
    }
}

fn codes(findings: &[Finding]) -> Vec<(Code, &str)> {
    findings
        .iter()
        .map(|finding| (finding.code, finding.about.as_str()))
        .collect()
}

#[test]
fn roles_of_kubernetes_are_noted_with_their_holders_and_are_no_finding() {
    let bindings = json!([
        binding("editors", "edit", group("developers")),
        binding("cluster-admin", "cluster-admin", group("system:masters")),
    ]);
    let rbac = rbac(Vec::new(), bindings);
    assert_eq!(rbac.findings(), []);
    let notes = rbac.notes();
    assert_eq!(
        notes,
        [
            "ClusterRole edit comes with Kubernetes and grants get on pods/proxy; get on services/proxy: group developers in the \
          whole cluster, by ClusterRoleBinding editors"
        ]
    );
}

#[test]
fn an_enhanced_view_role_is_found_with_its_group_and_becomes_smaller() {
    let role = cluster_role(
        "enhanced-view",
        json!({"team": "a"}),
        json!([rule(&["pods", "pods/proxy", "pods/log"])]),
    );
    let findings = rbac(
        vec![role],
        json!([binding("viewers", "enhanced-view", group("viewers"))]),
    )
    .findings();
    assert_eq!(
        codes(&findings),
        [(Code::RightsProxyGranted, "ClusterRole enhanced-view")]
    );
    assert_eq!(findings[0].severity, Severity::Warning);
    assert_eq!(
        findings[0].details,
        [
            "held by group viewers in the whole cluster, by ClusterRoleBinding viewers",
            "gives as well: get on pods, pods/log",
        ]
    );
    let manifest = findings[0].manifest.as_deref().expect("a manifest");
    let parsed: Value = serde_saphyr::from_str(manifest).expect("YAML");
    let expected = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "enhanced-view", "labels": {"team": "a"}}, "rules": [rule(&["pods", "pods/log"])],
    });
    assert_eq!(parsed, expected);
}

#[test]
fn a_role_that_gives_nothing_else_is_to_be_deleted_with_its_binding() {
    let role = cluster_role("proxy it's", json!({}), json!([rule(&["pods/proxy"])]));
    let findings = rbac(
        vec![role],
        json!([binding("b", "proxy it's", group("viewers"))]),
    )
    .findings();
    assert_eq!(findings[0].manifest, None);
    assert_eq!(
        findings[0].remedy,
        r"it gives nothing else, delete it: kubectl delete clusterrole 'proxy it'\''s' && kubectl delete clusterrolebinding b"
    );
}

#[test]
fn what_reaches_view_by_its_label_is_found_at_its_source_with_the_viewers() {
    let label = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let role = cluster_role("charts", label, json!([rule(&["services/proxy"])]));
    let bindings = json!([
        binding("viewers", "view", group("viewers")),
        binding("editors", "edit", group("developers")),
    ]);
    let mut rbac = rbac(vec![role], bindings);
    // What the controller has made of it.
    for role in &mut rbac.cluster_roles {
        if role.metadata.name.as_deref() == Some("view") {
            let added: Vec<PolicyRule> = read(json!([rule(&["services/proxy"])]));
            role.rules.get_or_insert_default().extend(added);
        }
    }
    let findings = rbac.findings();
    assert_eq!(
        codes(&findings),
        [(Code::RightsProxyGranted, "ClusterRole charts")]
    );
    let details = &findings[0].details;
    assert_eq!(details[0], "its labels put it into ClusterRole view");
    // Editors have it from Kubernetes anyway.
    assert_eq!(
        details[1..],
        [
            "held by group viewers in the whole cluster, by ClusterRoleBinding viewers, of ClusterRole view"
        ]
    );
}

#[test]
fn an_added_role_that_takes_in_edit_is_found_itself() {
    let role = json!({
        "metadata": {"name": "team-edit"}, "rules": [rule(&["pods/proxy", "secrets"])],
        "aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [
            {"key": "rbac.authorization.k8s.io/aggregate-to-edit", "operator": "In", "values": ["true"]},
        ]}]},
    });
    let findings = rbac(
        vec![role],
        json!([binding("b", "team-edit", group("team"))]),
    )
    .findings();
    assert_eq!(
        codes(&findings),
        [(Code::RightsProxyGranted, "ClusterRole team-edit")]
    );
    assert!(
        findings[0].remedy.contains("kubectl replace"),
        "{}",
        findings[0].remedy
    );
}

#[test]
fn a_copy_of_a_role_of_kubernetes_is_an_added_one_and_its_stars_are_written_out() {
    let label = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    let role = cluster_role(
        "admin-copy",
        label,
        json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]),
    );
    let findings = rbac(
        vec![role],
        json!([binding("b", "admin-copy", group("system:authenticated"))]),
    )
    .findings();
    assert_eq!(
        codes(&findings),
        [(Code::RightsProxyGrantedToAll, "ClusterRole admin-copy")]
    );
    assert_eq!(findings[0].severity, Severity::Error);
    let manifest = findings[0].manifest.as_deref().expect("a manifest");
    let parsed: Value = serde_saphyr::from_str(manifest).expect("YAML");
    let rules: Vec<PolicyRule> = read(parsed["rules"].clone());
    assert_eq!(rules.len(), 2);
    assert!(rules.iter().all(|rule| ways(rule).is_empty()), "{manifest}");
}

#[test]
fn a_role_that_nobody_holds_is_advice_and_nodes_need_a_binding_of_the_cluster() {
    let role = cluster_role("kubelet", json!({}), json!([rule(&["nodes/proxy"])]));
    let mut rbac = rbac(vec![role], json!([]));
    let mut bound = binding("b", "kubelet", group("viewers"));
    bound["metadata"]["namespace"] = json!("team-a");
    rbac.bindings = Bindings::new(all_bindings(&[], &read(json!([bound]))));
    let findings = rbac.findings();
    assert_eq!(
        codes(&findings),
        [(Code::RightsProxyUnbound, "ClusterRole kubelet")]
    );
    assert_eq!(findings[0].severity, Severity::Advice);
    // Where the bindings could not be read, nobody can say so.
    rbac.all_bindings = false;
    assert_eq!(rbac.findings()[0].code, Code::RightsProxyGranted);
}

#[test]
fn the_proxys_own_door_is_no_finding_and_what_is_like_it_is_one() {
    let role = |namespace: &str, rules: Value| json!({"metadata": {"namespace": namespace, "name": "r"}, "rules": rules});
    let named = |names: &[&str]| json!([{"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"], "resourceNames": names}]);
    let mut rbac = rbac(Vec::new(), json!([]));
    rbac.own_services = vec![OwnService {
        namespace: "monitoring".to_owned(),
        name: "prom-rbac-proxy".to_owned(),
        segments: vec!["prom-rbac-proxy:9090".to_owned()],
    }];
    let mut found = |role: Value| {
        rbac.roles = read(json!([role]));
        !rbac.findings().is_empty()
    };
    assert!(!found(role("monitoring", named(&["prom-rbac-proxy:9090"]))));
    for (namespace, names) in [
        ("team-a", &["prom-rbac-proxy:9090"][..]),
        ("monitoring", &["prom-rbac-proxy:9090", "prometheus:9090"]),
        ("monitoring", &["http:prom-rbac-proxy:9090"]),
        ("monitoring", &[]),
    ] {
        assert!(
            found(role(namespace, named(names))),
            "{namespace} {names:?}"
        );
    }
}

#[test]
fn five_thousand_namespaces_are_judged_at_once() {
    let bindings: Vec<Value> = (0..25_000)
        .map(|number| {
            let role = if number % 100 == 0 {
                "enhanced-view"
            } else {
                "view"
            };
            let mut one = binding(
                &format!("b{number}"),
                role,
                group(&format!("team-{number}")),
            );
            one["metadata"]["namespace"] = json!(format!("namespace-{}", number % 5_000));
            one
        })
        .collect();
    let roles: Vec<Value> = (0..10_000)
        .map(|number| {
            let namespace = format!("namespace-{}", number % 5_000);
            json!({"metadata": {"name": format!("r{number}"), "namespace": namespace}, "rules": [rule(&["pods"])]})
        })
        .collect();
    let role = cluster_role(
        "enhanced-view",
        json!({}),
        json!([rule(&["pods", "pods/proxy"])]),
    );
    let mut rbac = rbac(vec![role], json!([]));
    rbac.bindings = Bindings::new(all_bindings(&[], &read(Value::Array(bindings))));
    rbac.roles = read(Value::Array(roles));
    let findings = rbac.findings();
    assert_eq!(
        codes(&findings),
        [(Code::RightsProxyGranted, "ClusterRole enhanced-view")]
    );
    assert_eq!(findings[0].details.len(), 250 + 1);
}
