//! The objects, their versions and the history that watches read. It knows nothing of HTTP,
//! users or rights.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::kinds::{KINDS, Kind};
use super::status::Status;
use super::{defaults, rbac};
use crate::{clock, random};

/// A fresh server has compacted everything up to this version, so that version 1 is gone, as it
/// is on a real one.
const FIRST_REVISION: u64 = 9;

/// An object's place: namespace (`""` for cluster-wide kinds) and name.
type Place = (String, String);

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One entry of the history.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) resource: (&'static str, &'static str),
    pub(crate) namespace: String,
    pub(crate) change: Change,
    pub(crate) object: Arc<Value>,
    /// The object before the change; a watch with a selector needs it.
    pub(crate) previous: Option<Arc<Value>>,
}

/// All objects of the cluster.
pub(crate) struct Store {
    kinds: Vec<Kind>,
    objects: BTreeMap<(&'static str, &'static str), BTreeMap<Place, Arc<Value>>>,
    revision: u64,
    compacted: u64,
    history: VecDeque<Event>,
    history_limit: usize,
    changed: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn new(extra_kinds: &[Kind], history_limit: usize) -> Self {
        Self {
            kinds: KINDS.iter().chain(extra_kinds).copied().collect(),
            objects: BTreeMap::new(),
            revision: FIRST_REVISION,
            compacted: FIRST_REVISION,
            history: VecDeque::new(),
            history_limit,
            changed: watch::Sender::new(FIRST_REVISION),
        }
    }

    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The kind behind a resource of a group.
    pub(crate) fn kind(&self, group: &str, resource: &str) -> Option<Kind> {
        self.kinds
            .iter()
            .find(|kind| kind.group == group && kind.resource == resource)
            .copied()
    }

    /// The kind that an object says it is.
    pub(crate) fn kind_of(&self, object: &Value) -> Option<Kind> {
        let api_version = object["apiVersion"].as_str()?;
        let name = object["kind"].as_str()?;
        self.kinds
            .iter()
            .find(|kind| kind.kind == name && kind.api_version() == api_version)
            .copied()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Versions before this one have no history any more.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Tells the newest revision whenever it moves.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Forgets all history, so that every older version is "too old".
    pub(crate) fn compact(&mut self) {
        self.revision += 1;
        self.compacted = self.revision;
        self.history.clear();
        self.changed.send_replace(self.revision);
    }

    pub(crate) fn object(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects
            .get(&(kind.group, kind.resource))?
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// All objects of a kind, in one namespace or in all, ordered by namespace and name.
    pub(crate) fn objects<'a>(
        &'a self,
        group: &str,
        resource: &str,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        self.kind(group, resource)
            .and_then(|kind| self.objects.get(&(kind.group, kind.resource)))
            .into_iter()
            .flatten()
            .filter(move |((place, _), _)| namespace.is_empty() || place == namespace)
            .map(|(_, object)| object)
    }

    /// The history after a revision.
    pub(crate) fn events_after(&self, revision: u64) -> impl Iterator<Item = &Event> {
        let first = self
            .history
            .partition_point(|event| event.revision <= revision);
        self.history.range(first..)
    }

    /// Adds an object, completed as the API server does.
    pub(crate) fn create(
        &mut self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, Status> {
        let namespace = if kind.namespaced { namespace } else { "" };
        if kind.namespaced && !self.namespace_exists(namespace) {
            let namespaces = self.kind("", "namespaces").expect("it is in the table");
            return Err(Status::not_found(&namespaces, namespace));
        }
        let name = name_of(&mut object)
            .ok_or_else(|| Status::bad_request("name or generateName is required"))?;
        if self.object(kind, namespace, &name).is_some() {
            return Err(Status::already_exists(kind, &name));
        }
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.into();
        object["metadata"]["uid"] = random::uuid().into();
        object["metadata"]["creationTimestamp"] = clock::rfc3339(clock::now()).into();
        place_in(kind, namespace, &mut object);
        defaults::complete(kind, &mut object);
        let created = self.record(kind, namespace, &name, Change::Added, object);
        if kind.resource == "namespaces" {
            self.furnish(&name);
        }
        Ok(created)
    }

    /// Puts a new state in an object's place. A `resourceVersion` other than the stored one is a
    /// conflict; none is accepted.
    pub(crate) fn replace(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, Status> {
        let namespace = if kind.namespaced { namespace } else { "" };
        let stored = self
            .object(kind, namespace, name)
            .ok_or_else(|| Status::not_found(kind, name))?;
        let version = &object["metadata"]["resourceVersion"];
        if !version.is_null() && version != "" && *version != stored["metadata"]["resourceVersion"]
        {
            return Err(Status::conflict(kind, name));
        }
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.into();
        object["metadata"]["name"] = name.into();
        place_in(kind, namespace, &mut object);
        for key in ["uid", "creationTimestamp", "resourceVersion"] {
            if !stored["metadata"][key].is_null() {
                object["metadata"][key] = stored["metadata"][key].clone();
            }
        }
        defaults::complete(kind, &mut object);
        if object == *stored {
            return Ok(stored);
        }
        Ok(self.record(kind, namespace, name, Change::Modified, object))
    }

    /// Removes an object; a namespace goes with all that is in it.
    pub(crate) fn delete(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Value>, Status> {
        let namespace = if kind.namespaced { namespace } else { "" };
        let stored = self
            .object(kind, namespace, name)
            .ok_or_else(|| Status::not_found(kind, name))?;
        if kind.resource == "namespaces" {
            for inner in self
                .kinds
                .clone()
                .into_iter()
                .filter(|kind| kind.namespaced)
            {
                let names: Vec<String> = self
                    .objects(inner.group, inner.resource, name)
                    .map(|object| text(&object["metadata"]["name"]))
                    .collect();
                for inner_name in names {
                    self.delete(&inner, name, &inner_name)?;
                }
            }
        }
        Ok(self.record(kind, namespace, name, Change::Deleted, (*stored).clone()))
    }

    fn namespace_exists(&self, namespace: &str) -> bool {
        self.objects
            .get(&("", "namespaces"))
            .is_some_and(|all| all.contains_key(&(String::new(), namespace.to_owned())))
    }

    /// What controllers put into every new namespace.
    fn furnish(&mut self, namespace: &str) {
        let account = json!({"metadata": {"name": "default"}});
        let authority = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ""}});
        for (resource, object) in [("serviceaccounts", account), ("configmaps", authority)] {
            let kind = self.kind("", resource).expect("it is in the table");
            let _ = self.create(&kind, namespace, object);
        }
    }

    fn record(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        change: Change,
        mut object: Value,
    ) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        let key = (kind.group, kind.resource);
        let place = (namespace.to_owned(), name.to_owned());
        let all = self.objects.entry(key).or_default();
        let previous = if change == Change::Deleted {
            all.remove(&place)
        } else {
            all.insert(place, Arc::clone(&object))
        };
        self.history.push_back(Event {
            revision: self.revision,
            resource: key,
            namespace: namespace.to_owned(),
            change,
            object: Arc::clone(&object),
            previous,
        });
        while self.history.len() > self.history_limit {
            if let Some(forgotten) = self.history.pop_front() {
                self.compacted = forgotten.revision;
            }
        }
        self.changed.send_replace(self.revision);
        if kind.resource == "clusterroles" {
            self.aggregate(kind);
        }
        object
    }

    /// Brings the rules of aggregated ClusterRoles up to date, as the controller manager does.
    fn aggregate(&mut self, kind: &Kind) {
        for (name, rules) in rbac::stale_aggregations(self) {
            if let Some(stored) = self.object(kind, "", &name) {
                let mut role = (*stored).clone();
                role["rules"] = rules;
                // The change above comes back here until nothing is stale any more.
                self.record(kind, "", &name, Change::Modified, role);
                return;
            }
        }
    }
}

fn place_in(kind: &Kind, namespace: &str, object: &mut Value) {
    if kind.namespaced {
        object["metadata"]["namespace"] = namespace.into();
    } else if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
}

fn name_of(object: &mut Value) -> Option<String> {
    let metadata = &mut object["metadata"];
    if let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) {
        return Some(name.to_owned());
    }
    let prefix = metadata["generateName"]
        .as_str()
        .filter(|prefix| !prefix.is_empty())?;
    let name = format!("{prefix}{}", random::suffix());
    metadata["name"] = name.clone().into();
    Some(name)
}

/// A JSON string's text, `""` for anything else.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
