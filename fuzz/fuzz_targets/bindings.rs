//! Any objects as RoleBindings that come (`+`), go (`-`) and are listed anew (`!`), one in a line: none ends the watch, and
//! callers have what a new list of the same would give them, with nobody left out whom a binding names.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::authn::Caller;
use prom_rbac_proxy::cluster::ClusterNamespaces;
use prom_rbac_proxy::namespace::Namespace;
use prom_rbac_proxy::rbac::metrics::RbacMetrics;
use prom_rbac_proxy::rbac::{Bindings, CandidateFinder, Changes, InNamespace, RoleBinding};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;

/// The objects that there are, by namespace and name.
type Objects = BTreeMap<(String, String), String>;

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    metadata: ObjectMeta,
}

/// An object as a watch may bring it: with the metadata of one, and no key twice.
fn object(text: &str) -> Option<(RoleBinding, Value, Metadata)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let metadata = serde_json::from_value(value.clone()).ok()?;
    if !value.is_object() {
        return None;
    }
    // As an API server writes it.
    let object = serde_json::from_str(&value.to_string()).expect("it ends no watch");
    Some((object, value, metadata))
}

fn list(bindings: &Bindings, objects: &Objects) {
    bindings.listing::<InNamespace>();
    for text in objects.values() {
        bindings.apply(&object(text).expect("read before").0);
    }
    bindings.listed::<InNamespace>();
}

fn new() -> Bindings {
    Bindings::new(Changes::default(), RbacMetrics::default())
}

/// The namespaces of whoever has this name, as a user or as a group.
fn candidates(bindings: &Bindings, name: &str, group: bool) -> Vec<Namespace> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime")
    });
    let caller = if group {
        Caller::assumed("somebody", &[name.to_owned()])
    } else {
        Caller::assumed(name, &[])
    };
    let namespaces = ClusterNamespaces::default();
    let finder = CandidateFinder::new(namespaces, Some(bindings.clone()), RbacMetrics::default());
    let found = runtime.block_on(finder.candidates(&caller));
    found.expect("listed").into_questions()
}

/// Whom an object names, read without care: the name, and whether it is a group's.
fn named(object: &Value, namespace: &str) -> Vec<(String, bool)> {
    let subjects = object["subjects"].as_array();
    let subject = |subject: &Value| {
        let name = subject["name"].as_str()?;
        match subject["kind"].as_str()? {
            "User" => Some((name.to_owned(), false)),
            "Group" => Some((name.to_owned(), true)),
            "ServiceAccount" => {
                let own = subject["namespace"].as_str().filter(|own| !own.is_empty());
                let own = own.unwrap_or(namespace);
                Some((format!("system:serviceaccount:{own}:{name}"), false))
            }
            _ => None,
        }
    };
    subjects.into_iter().flatten().filter_map(subject).collect()
}

fuzz_target!(|text: &str| {
    let (bindings, mut objects) = (new(), Objects::new());
    let mut names: BTreeSet<_> = [("nobody".to_owned(), false)].into();
    list(&bindings, &objects);
    for line in text.lines() {
        let Some((kind, text)) = line.split_at_checked(1) else {
            continue;
        };
        if kind == "!" {
            bindings.lost::<InNamespace>();
            list(&bindings, &objects);
        }
        let Some((object, value, Metadata { metadata })) = object(text) else {
            continue;
        };
        let (namespace, name) = (metadata.namespace, metadata.name);
        let place = (namespace.unwrap_or_default(), name.unwrap_or_default());
        match kind {
            "+" => {
                bindings.apply(&object);
                names.extend(named(&value, &place.0));
                objects.insert(place, text.to_owned());
            }
            "-" => {
                bindings.remove(&object);
                objects.remove(&place);
            }
            _ => {}
        }
    }
    let anew = new();
    list(&anew, &objects);
    for (name, group) in &names {
        let found = candidates(&bindings, name, *group);
        assert_eq!(found, candidates(&anew, name, *group), "{name:?}");
    }
    for ((namespace, name), text) in &objects {
        let Some(place) = Namespace::parse(namespace).filter(|_| !name.is_empty()) else {
            continue;
        };
        let (_, value, _) = object(text).expect("read before");
        for (name, group) in named(&value, namespace) {
            let found = candidates(&anew, &name, group);
            assert!(found.contains(&place), "{name:?} in {place}");
        }
    }
});
