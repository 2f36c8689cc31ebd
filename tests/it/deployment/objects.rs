//! What `deploy/` renders, and the rights in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The objects, or nothing where the tool that renders them is missing.
pub fn rendered() -> Option<Vec<Value>> {
    let text = match std::env::var_os("RENDERED_OBJECTS") {
        Some(file) => std::fs::read_to_string(file).expect("the rendered objects"),
        None => {
            let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kustomize");
            let output = Command::new("kubectl").arg("kustomize").arg(base).output();
            let Ok(output) = output else {
                println!("skip: kubectl is not installed");
                return None;
            };
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{complaint}");
            String::from_utf8(output.stdout).expect("UTF-8")
        }
    };
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
    let hook = |object: &Value| {
        object["metadata"]["annotations"]
            .get("helm.sh/hook")
            .is_some()
    };
    Some(objects.into_iter().filter(|object| !hook(object)).collect())
}

fn is_role(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("Role" | "ClusterRole"))
}

pub fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// A resource as people write it: `tokenreviews`, `services/proxy`, `pods.metrics.k8s.io`.
fn written(group: &str, resource: &str) -> String {
    match group {
        "metrics.k8s.io" => format!("{resource}.{group}"),
        _ => resource.to_owned(),
    }
}

pub fn owned((role, verb, resource): (&str, &str, &str)) -> (String, String, String) {
    (role.to_owned(), verb.to_owned(), resource.to_owned())
}

/// Name of the role, verb and resource of every right.
pub fn rights(objects: &[Value]) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for role in objects.iter().filter(|object| is_role(object)) {
        for rule in role["rules"].as_array().expect("rules") {
            assert!(rule.get("nonResourceURLs").is_none(), "{rule}");
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        let name = role["metadata"]["name"].as_str().expect("a name");
                        all.insert(owned((name, verb, &written(group, resource))));
                    }
                }
            }
        }
    }
    all
}

/// The objects without one right.
pub fn without(objects: &[Value], (name, verb, resource): (&str, &str, &str)) -> Vec<Value> {
    let mut objects = objects.to_vec();
    for role in &mut objects {
        if !is_role(role) || role["metadata"]["name"] != name {
            continue;
        }
        for rule in role["rules"].as_array_mut().expect("rules") {
            let group = rule["apiGroups"][0].as_str().expect("a group").to_owned();
            if texts(&rule["resources"]).any(|one| written(&group, one) == resource) {
                let verbs = rule["verbs"].as_array_mut().expect("verbs");
                verbs.retain(|one| one != verb);
            }
        }
        let rules = role["rules"].as_array_mut().expect("rules");
        rules.retain(|rule| {
            rule["verbs"]
                .as_array()
                .is_some_and(|verbs| !verbs.is_empty())
        });
    }
    objects
}
