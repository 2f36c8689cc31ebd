//! What all spans say of this process: its name and version, its pod and namespace.

use std::path::Path;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{
    EnvResourceDetector, ResourceDetector, SdkProvidedResourceDetector,
};

/// Of every pod with a ServiceAccount.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The host's name, which in a pod is the pod's.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

const SERVICE_NAME: &str = "service.name";

/// The attributes known here, overridden by `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`.
pub(super) fn resource() -> Resource {
    over(known(Path::new(NAMESPACE), Path::new(HOST_NAME)))
}

fn known(namespace: &Path, host_name: &Path) -> Vec<KeyValue> {
    let mut known = vec![
        KeyValue::new(SERVICE_NAME, env!("CARGO_PKG_NAME")),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let line = |path: &Path| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    if let Some(namespace) = line(namespace) {
        known.push(KeyValue::new("k8s.namespace.name", namespace));
        // Outside of a pod it is somebody's machine.
        known.extend(line(host_name).map(|pod| KeyValue::new("k8s.pod.name", pod)));
    }
    known
}

fn over(known: Vec<KeyValue>) -> Resource {
    let given = EnvResourceDetector::new();
    let resource = Resource::builder_empty()
        .with_attributes(known)
        .with_detector(Box::new(given));
    // It makes up a name where there is none.
    let named = SdkProvidedResourceDetector.detect();
    let name = named.get(&SERVICE_NAME.into());
    let name = name.filter(|name| !name.as_str().starts_with("unknown_service"));
    match name {
        Some(name) => resource.with_attribute(KeyValue::new(SERVICE_NAME, name)),
        None => resource,
    }
    .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_with_its_namespace_and_a_machine_is_not() {
        let folder = std::env::temp_dir().join(format!("resource-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (namespace, host) = (folder.join("namespace"), folder.join("hostname"));
        std::fs::write(&host, "prom-rbac-proxy-7d4b9c6f5-abcde\n").expect("written");
        let has = |attributes: &[KeyValue], key: &str| {
            let found = attributes.iter().find(|one| one.key.as_str() == key);
            found.map(|one| one.value.to_string())
        };
        let outside = known(&namespace, &host);
        assert_eq!(
            has(&outside, "service.name").as_deref(),
            Some("prom-rbac-proxy")
        );
        assert_eq!(has(&outside, "k8s.pod.name"), None);
        std::fs::write(&namespace, "monitoring").expect("written");
        let inside = known(&namespace, &host);
        for (key, value) in [
            ("k8s.namespace.name", "monitoring"),
            ("k8s.pod.name", "prom-rbac-proxy-7d4b9c6f5-abcde"),
            ("service.version", env!("CARGO_PKG_VERSION")),
        ] {
            assert_eq!(has(&inside, key).as_deref(), Some(value));
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
