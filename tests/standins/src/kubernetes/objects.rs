//! Objects straight into the store, past HTTP and past every right: how tests and the demo
//! furnish a cluster.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::api_server::ApiServer;
use super::control::lock;
use super::kinds::Kind;
use super::manifests::{self, ManifestError};
use super::status::Status;
use super::store::{Store, text};

/// Whom a binding names.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A user name.
    User(&'a str),
    /// A group.
    Group(&'a str),
    /// Namespace and name of a ServiceAccount.
    ServiceAccount(&'a str, &'a str),
}

impl Subject<'_> {
    fn object(self) -> Value {
        match self {
            Self::User(name) => json!({"kind": "User", "name": name}),
            Self::Group(name) => json!({"kind": "Group", "name": name}),
            Self::ServiceAccount(namespace, name) => {
                json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
            }
        }
    }
}

impl ApiServer {
    /// Creates or replaces an object and returns what is stored.
    ///
    /// # Panics
    /// If its kind is not in the table, or it is refused.
    pub fn apply(&self, object: Value) -> Value {
        let described = format!("{} {}", object["kind"], object["metadata"]["name"]);
        self.try_apply(object, "")
            .unwrap_or_else(|status| panic!("{described} is refused: {}", status.message))
    }

    fn try_apply(&self, object: Value, default_namespace: &str) -> Result<Value, Status> {
        let mut cluster = lock(&self.inner.cluster);
        let store = &mut cluster.store;
        let kind = store
            .kind_of(&object)
            .ok_or_else(|| Status::bad_request("its kind is not in the stand-in's table"))?;
        let mut namespace = text(&object["metadata"]["namespace"]);
        if namespace.is_empty() {
            default_namespace.clone_into(&mut namespace);
        }
        if kind.namespaced {
            ensure_namespace(store, &namespace);
        }
        let name = text(&object["metadata"]["name"]);
        let exists = store.object(&kind, if kind.namespaced { &namespace } else { "" }, &name);
        let stored = match exists {
            Some(_) => store.replace(&kind, &namespace, &name, object)?,
            None => store.create(&kind, &namespace, object)?,
        };
        Ok((*stored).clone())
    }

    /// The stored object, if it exists. A resource outside the core group is written
    /// `deployments.apps`.
    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let cluster = lock(&self.inner.cluster);
        let kind = find_kind(&cluster.store, resource);
        let stored = cluster.store.object(&kind, namespace, name);
        stored.map(|object| (*object).clone())
    }

    /// Deletes an object; false if there was none.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> bool {
        let mut cluster = lock(&self.inner.cluster);
        let kind = find_kind(&cluster.store, resource);
        cluster.store.delete(&kind, namespace, name).is_ok()
    }

    /// Applies the manifests of a file or of a folder's files. Objects without a namespace get
    /// `namespace`, which is created if need be; kustomization files are skipped. Returns kind
    /// and name of each.
    ///
    /// # Errors
    /// If something cannot be read or is refused.
    pub fn apply_manifests(
        &self,
        path: &Path,
        namespace: &str,
    ) -> Result<Vec<(String, String)>, ManifestError> {
        self.apply_all(manifests::load(path)?, namespace)
    }

    /// As [`ApiServer::apply_manifests`], from a YAML text of one or more documents.
    ///
    /// # Errors
    /// If it is not YAML or an object is refused.
    pub fn apply_yaml(
        &self,
        text: &str,
        namespace: &str,
    ) -> Result<Vec<(String, String)>, ManifestError> {
        self.apply_all(manifests::parse(text, "the text")?, namespace)
    }

    fn apply_all(
        &self,
        objects: Vec<Value>,
        namespace: &str,
    ) -> Result<Vec<(String, String)>, ManifestError> {
        let mut applied = Vec::new();
        for object in objects {
            let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
            if kind == "Kustomization" {
                continue;
            }
            self.try_apply(object, namespace)
                .map_err(|status| ManifestError::Refused {
                    kind: kind.clone(),
                    name: name.clone(),
                    message: status.message,
                })?;
            applied.push((kind, name));
        }
        Ok(applied)
    }

    /// Creates a namespace with these labels.
    pub fn create_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": map(labels)},
        }));
    }

    /// Creates a ServiceAccount, and its namespace if need be.
    pub fn create_service_account(&self, namespace: &str, name: &str) {
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        }));
    }

    /// Binds a ClusterRole cluster-wide.
    pub fn bind_cluster_role(&self, name: &str, role: &str, subject: Subject<'_>) {
        self.apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [subject.object()],
        }));
    }

    /// Binds a role in one namespace; `role` is `ClusterRole/view` or `Role/some-role`.
    pub fn bind_role(&self, namespace: &str, name: &str, role: &str, subject: Subject<'_>) {
        let (kind, role) = role.split_once('/').unwrap_or(("ClusterRole", role));
        self.apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [subject.object()],
        }));
    }

    /// Creates a ClusterRole of these rules.
    pub fn create_cluster_role(&self, name: &str, labels: &[(&str, &str)], rules: Value) {
        self.apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name, "labels": map(labels)},
            "rules": rules,
        }));
    }

    /// Creates a Service with one port `http` and the EndpointSlice that leads to `address`.
    /// A Service that exists keeps its own definition, and the slice takes its first port's name.
    pub fn create_service_at(
        &self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        port: u16,
        address: SocketAddr,
    ) {
        let service = self.object("services", namespace, name).unwrap_or_else(|| {
            self.apply(json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": namespace, "labels": map(labels)},
                "spec": {"ports": [{"name": "http", "port": port, "protocol": "TCP"}]},
            }))
        });
        let ports = service["spec"]["ports"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = ports
            .iter()
            .find(|one| one["port"] == port)
            .or_else(|| ports.first());
        let port_name = found.map_or(Value::Null, |port| port["name"].clone());
        let mut slice_labels = map(labels);
        slice_labels["kubernetes.io/service-name"] = name.into();
        self.apply(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": format!("{name}-{port}"), "namespace": namespace, "labels": slice_labels},
            "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{
                "addresses": [address.ip().to_string()],
                "conditions": {"ready": true, "serving": true, "terminating": false},
            }],
            "ports": [{"name": port_name, "protocol": "TCP", "port": address.port()}],
        }));
    }

    /// Creates a running, ready pod at an address, with one container port named `http`.
    pub fn create_pod_at(
        &self,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        address: SocketAddr,
    ) {
        let port = json!({"name": "http", "containerPort": address.port(), "protocol": "TCP"});
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": map(labels)},
            "spec": {"containers": [{"name": "main", "image": "example/main", "ports": [port]}]},
            "status": {
                "phase": "Running",
                "podIP": address.ip().to_string(),
                "podIPs": [{"ip": address.ip().to_string()}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }));
    }
}

fn ensure_namespace(store: &mut Store, namespace: &str) {
    let kind = find_kind(store, "namespaces");
    if store.object(&kind, "", namespace).is_none() {
        let object = json!({"metadata": {"name": namespace}});
        let _ = store.create(&kind, "", object);
    }
}

/// # Panics
/// If the resource is not in the table: a test misspelt it.
fn find_kind(store: &Store, resource: &str) -> Kind {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    store
        .kind(group, resource)
        .unwrap_or_else(|| panic!("no kind {resource:?} in group {group:?}"))
}

fn map(labels: &[(&str, &str)]) -> Value {
    labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
