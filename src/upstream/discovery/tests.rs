use serde_json::{Value, json};

use super::*;
use crate::config::PortRef;

fn slice(endpoints: Value, ports: Value) -> EndpointSlice {
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "prometheus-abcde" },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    });
    serde_json::from_value(slice).expect("a slice")
}

fn pod_endpoint(name: &str, address: &str, conditions: Value) -> Value {
    json!({
        "addresses": [address],
        "conditions": conditions,
        "targetRef": { "kind": "Pod", "name": name, "namespace": "monitoring" },
    })
}

fn web() -> Value {
    json!([{ "name": "web", "port": 9090, "protocol": "TCP" }])
}

fn addresses(read: Result<Vec<Discovered>, NotUsed>) -> Vec<String> {
    let read = read.expect("usable").into_iter();
    read.flat_map(|one| one.addresses)
        .map(|one| one.to_string())
        .collect()
}

#[test]
fn an_endpoint_is_known_by_its_pod() {
    let slice = slice(
        json!([pod_endpoint("prometheus-0", "10.0.0.1", json!({})), { "addresses": ["10.0.0.2"] }]),
        web(),
    );
    let read = slices::read(&slice, &PortRef::Name("web".to_owned())).expect("usable");
    let names: Vec<_> = read.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["prometheus-0", "10.0.0.2:9090"]);
    assert!(
        read.iter().all(|one| one.offer == Offer::Ready),
        "nothing said is yes"
    );
}

#[test]
fn serving_counts_and_ready_where_that_is_missing_and_ending_is_no() {
    for (conditions, offer) in [
        (
            json!({ "ready": true, "serving": true, "terminating": false }),
            Offer::Ready,
        ),
        (
            json!({ "ready": true, "serving": false, "terminating": false }),
            Offer::Withdrawn,
        ),
        (
            json!({ "ready": false, "serving": true, "terminating": true }),
            Offer::Withdrawn,
        ),
        (
            json!({ "ready": true, "serving": true, "terminating": true }),
            Offer::Withdrawn,
        ),
        (json!({ "ready": false }), Offer::Withdrawn),
        (json!({ "ready": true }), Offer::Ready),
        (json!({}), Offer::Ready),
        (Value::Null, Offer::Ready),
    ] {
        let slice = slice(
            json!([pod_endpoint("a", "10.0.0.1", conditions.clone())]),
            web(),
        );
        let read = slices::read(&slice, &PortRef::Number(9090)).expect("usable");
        assert_eq!(read[0].offer, offer, "{conditions}");
    }
}

#[test]
fn the_port_of_a_service_is_found_in_the_slice_or_its_name_is_asked_for() {
    let one = web();
    let two = json!([
        { "name": "web", "port": 9090 },
        { "name": "grpc", "port": 10901, "protocol": "TCP" },
        { "name": "gossip", "port": 80, "protocol": "UDP" },
    ]);
    let nameless = json!([{ "port": 9090 }, { "port": 10901 }]);
    let name = |name: &str| PortRef::Name(name.to_owned());
    for (ports, wanted, found) in [
        (&one, name("web"), Some(9090)),
        (&one, PortRef::Number(9090), Some(9090)),
        // The Service's port 80 leads to the only port that the pods have.
        (&one, PortRef::Number(80), Some(9090)),
        (&one, name("http"), None),
        (&two, name("grpc"), Some(10901)),
        (&two, PortRef::Number(9090), Some(9090)),
        (&two, PortRef::Number(80), None),
        (&two, name("gossip"), None),
        (&nameless, PortRef::Number(10901), Some(10901)),
        (&nameless, name("web"), None),
    ] {
        let slice = slice(
            json!([pod_endpoint("a", "10.0.0.1", json!({}))]),
            ports.clone(),
        );
        let read = slices::read(&slice, &wanted);
        let port = read
            .ok()
            .map(|read| read[0].addresses[0].port_u16().expect("a port"));
        assert_eq!(port, found, "{wanted} in {ports}");
    }
    let slice = slice(json!([pod_endpoint("a", "10.0.0.1", json!({}))]), two);
    let error = slices::read(&slice, &PortRef::Number(80)).expect_err("two to choose from");
    assert_eq!(
        error.to_string(),
        "the Service has several ports (web 9090, grpc 10901), and none is 80 on the pods: set the upstream's service.port to the name of the right one"
    );
}

#[test]
fn a_slice_without_endpoints_is_no_error() {
    let slice = slice(Value::Null, Value::Null);
    assert_eq!(slices::read(&slice, &PortRef::Number(9090)), Ok(Vec::new()));
}

#[test]
fn a_name_for_services_outside_of_the_cluster_is_not_used() {
    let slice = slice(json!([{ "addresses": ["prometheus.example.com"] }]), web());
    assert!(addresses(slices::read(&slice, &PortRef::Number(9090))).is_empty());
}

#[test]
fn a_pod_with_two_families_is_one_endpoint() {
    let four = slice(json!([pod_endpoint("a", "10.0.0.1", json!({}))]), web());
    let six = slice(json!([pod_endpoint("a", "fd00::1", json!({}))]), web());
    let port = PortRef::Number(9090);
    for order in [[&six, &four], [&four, &six]] {
        let merged = merged(
            "default",
            order.into_iter().map(|slice| slices::read(slice, &port)),
        );
        assert_eq!(merged.len(), 1);
        assert_eq!(addresses(Ok(merged)), ["10.0.0.1:9090", "[fd00::1]:9090"]);
    }
}

#[test]
fn a_slice_that_cannot_be_used_does_not_take_the_others_with_it() {
    let good = slice(json!([pod_endpoint("a", "10.0.0.1", json!({}))]), web());
    let bad = slice(
        json!([pod_endpoint("b", "10.0.0.2", json!({}))]),
        json!([{ "name": "http", "port": 8080 }]),
    );
    let port = PortRef::Name("web".to_owned());
    let merged = merged(
        "default",
        [&bad, &good]
            .into_iter()
            .map(|slice| slices::read(slice, &port)),
    );
    assert_eq!(addresses(Ok(merged)), ["10.0.0.1:9090"]);
}

fn pod(change: impl FnOnce(&mut Value)) -> Pod {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "prometheus-0" },
        "spec": {
            "containers": [
                { "name": "config-reloader", "ports": [{ "name": "reloader-web", "containerPort": 8080 }] },
                { "name": "prometheus", "ports": [{ "name": "http-web", "containerPort": 9090 }] },
            ],
            "initContainers": [
                { "name": "sidecar", "restartPolicy": "Always", "ports": [{ "name": "grpc", "containerPort": 10901 }] },
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }],
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    });
    change(&mut pod);
    serde_json::from_value(pod).expect("a pod")
}

#[test]
fn a_pod_is_found_by_the_name_or_number_of_its_port() {
    for (port, found) in [
        (PortRef::Name("http-web".to_owned()), 9090),
        (PortRef::Name("grpc".to_owned()), 10901),
        (PortRef::Number(1234), 1234),
    ] {
        let expected = [format!("10.0.0.1:{found}"), format!("[fd00::1]:{found}")];
        assert_eq!(addresses(pods::read(&pod(|_| {}), &port)), expected);
    }
    let error = pods::read(&pod(|_| {}), &PortRef::Name("web".to_owned()));
    assert_eq!(
        error.expect_err("no such port").to_string(),
        "there is no port named web; there are: reloader-web, http-web, grpc"
    );
}

#[test]
fn a_pod_is_offered_while_it_is_ready_and_not_ending() {
    let offer = |change: fn(&mut Value)| {
        let read = pods::read(&pod(change), &PortRef::Number(9090)).expect("usable");
        read.first().map(|one| one.offer)
    };
    assert_eq!(offer(|_| {}), Some(Offer::Ready));
    assert_eq!(
        offer(|pod| pod["status"]["conditions"][0]["status"] = "False".into()),
        Some(Offer::Withdrawn)
    );
    assert_eq!(
        offer(|pod| pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into()),
        Some(Offer::Withdrawn)
    );
    assert_eq!(offer(|pod| pod["status"]["phase"] = "Failed".into()), None);
    assert_eq!(
        offer(|pod| pod["status"] = json!({ "phase": "Pending" })),
        None
    );
}
