//! Answers to the Prometheus plugin's autodetection: no pods, and one Service, ours. That ends it before it lists what
//! most callers may not list.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::refusal::json_response;
use super::route::{List, Routes};
use crate::config::PortRef;
use crate::request::refusal::protect;
use crate::upstream::body::ResponseBody;

/// The answer to one of the lists. It is the same for everybody: it tells nothing of the cluster.
pub(super) fn response(list: List, routes: &Routes) -> Response<ResponseBody> {
    let list = match list {
        List::Pods => json!({
            "kind": "PodList",
            "apiVersion": "v1",
            "metadata": {},
            "items": [],
        }),
        List::Services => services(routes),
    };
    let body = ResponseBody::whole(list.to_string());
    let mut response = json_response(StatusCode::OK, body);
    protect(response.headers_mut());
    response
}

fn services(routes: &Routes) -> Value {
    let target = routes.reserved();
    let port = match &target.port {
        PortRef::Number(number) => json!(number),
        PortRef::Name(name) => json!(name),
    };
    json!({
        "kind": "ServiceList",
        "apiVersion": "v1",
        "metadata": {},
        "items": [{
            "metadata": {"name": target.name, "namespace": target.namespace},
            // Every port without a protocol, and every further one, costs the plugin a probe.
            "spec": {"ports": [{"port": port, "protocol": "TCP"}]},
        }],
    })
}
