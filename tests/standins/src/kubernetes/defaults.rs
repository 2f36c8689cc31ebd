//! Values that the API server fills in where an object has none. Only those that callers of the
//! stand-in look at.

use serde_json::{Value, json};

use super::kinds::Kind;
use crate::random;

/// Completes an object in place; doing it twice changes nothing more.
pub(crate) fn complete(kind: &Kind, object: &mut Value) {
    match kind.resource {
        "namespaces" => namespace(object),
        "services" => service(object),
        "pods" => default(&mut object["status"]["phase"], || json!("Pending")),
        "secrets" => secret(object),
        "roles" | "clusterroles" if object["rules"].is_null() => object["rules"] = json!([]),
        "rolebindings" | "clusterrolebindings" => binding(object),
        _ => {}
    }
}

fn default(place: &mut Value, value: impl FnOnce() -> Value) {
    if place.is_null() {
        *place = value();
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    default(&mut object["spec"]["finalizers"], || json!(["kubernetes"]));
    default(&mut object["status"]["phase"], || json!("Active"));
}

fn service(object: &mut Value) {
    let spec = &mut object["spec"];
    default(&mut spec["type"], || json!("ClusterIP"));
    default(&mut spec["clusterIP"], || {
        let [third, fourth] = random::bytes::<2>();
        json!(format!("10.96.{third}.{}", fourth.max(1)))
    });
    let address = spec["clusterIP"].clone();
    default(&mut spec["clusterIPs"], || json!([address]));
    default(&mut spec["sessionAffinity"], || json!("None"));
    default(&mut spec["ipFamilies"], || json!(["IPv4"]));
    default(&mut spec["ipFamilyPolicy"], || json!("SingleStack"));
    default(&mut spec["internalTrafficPolicy"], || json!("Cluster"));
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        let number = port["port"].clone();
        default(&mut port["protocol"], || json!("TCP"));
        default(&mut port["targetPort"], || number);
    }
    default(&mut object["status"]["loadBalancer"], || json!({}));
}

/// `stringData` is written into `data` and never read back.
fn secret(object: &mut Value) {
    use base64::Engine as _;
    let plain = object
        .as_object_mut()
        .and_then(|object| object.remove("stringData"));
    for (key, value) in plain
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        object["data"][key] = encoded.into();
    }
    default(&mut object["type"], || json!("Opaque"));
}

fn binding(object: &mut Value) {
    for subject in object["subjects"].as_array_mut().into_iter().flatten() {
        if subject["kind"] != "ServiceAccount" {
            default(&mut subject["apiGroup"], || {
                json!("rbac.authorization.k8s.io")
            });
        }
    }
}
