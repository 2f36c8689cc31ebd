//! What clients ask a server about itself: groups, resources, version, health. Aggregated
//! discovery and OpenAPI are not served; clients fall back.

use std::collections::BTreeSet;

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::kinds::Kind;
use super::status::{Status, json_response};
use crate::body::{self, Body};

/// Subresources that roles and clients name, per resource.
const SUBRESOURCES: &[(&str, &str)] = &[
    ("namespaces", "status"),
    ("pods", "status"),
    ("pods", "proxy"),
    ("pods", "log"),
    ("pods", "exec"),
    ("pods", "attach"),
    ("pods", "portforward"),
    ("services", "status"),
    ("services", "proxy"),
    ("serviceaccounts", "token"),
    ("nodes", "proxy"),
    ("deployments", "status"),
];

/// Reviews: group, kind, resource, namespaced.
const REVIEWS: &[(&str, &str, &str, bool)] = &[
    (
        "authentication.k8s.io",
        "TokenReview",
        "tokenreviews",
        false,
    ),
    (
        "authentication.k8s.io",
        "SelfSubjectReview",
        "selfsubjectreviews",
        false,
    ),
    (
        "authorization.k8s.io",
        "SubjectAccessReview",
        "subjectaccessreviews",
        false,
    ),
    (
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        false,
    ),
    (
        "authorization.k8s.io",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        false,
    ),
    (
        "authorization.k8s.io",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        true,
    ),
];

/// Answers a path that is no resource.
pub(crate) fn answer(path: &str, kinds: &[Kind]) -> Result<Response<Body>, Status> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let value = match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => return Ok(plain("ok")),
        ["version"] => version(),
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
        }),
        ["apis"] => json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": groups(kinds).iter().map(|(group, version)| api_group(group, version))
                .collect::<Vec<_>>(),
        }),
        ["apis", wanted] => {
            let (group, version) = groups(kinds)
                .into_iter()
                .find(|(group, _)| group == wanted)
                .ok_or_else(Status::no_such_path)?;
            let mut group = api_group(&group, &version);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["api", "v1"] => resources("", "v1", kinds),
        ["apis", group, version] => {
            if !groups(kinds).contains(&((*group).to_owned(), (*version).to_owned())) {
                return Err(Status::no_such_path());
            }
            resources(group, version, kinds)
        }
        _ => return Err(Status::no_such_path()),
    };
    Ok(json_response(StatusCode::OK, &value))
}

fn plain(text: &'static str) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.0+standin",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "go1.26.6",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

fn groups(kinds: &[Kind]) -> BTreeSet<(String, String)> {
    let stored = kinds
        .iter()
        .filter(|kind| !kind.group.is_empty())
        .map(|kind| (kind.group.to_owned(), kind.version.to_owned()));
    let reviews = REVIEWS
        .iter()
        .map(|(group, ..)| ((*group).to_owned(), "v1".to_owned()));
    stored.chain(reviews).collect()
}

fn api_group(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version], "preferredVersion": version})
}

fn resources(group: &str, version: &str, kinds: &[Kind]) -> Value {
    let mut resources = Vec::new();
    let verbs = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    for kind in kinds
        .iter()
        .filter(|kind| kind.group == group && kind.version == version)
    {
        resources.push(json!({
            "name": kind.resource,
            "singularName": kind.kind.to_ascii_lowercase(),
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": verbs,
            "shortNames": kind.short_names,
        }));
        for (_, subresource) in SUBRESOURCES
            .iter()
            .filter(|(parent, _)| *parent == kind.resource)
        {
            resources.push(json!({
                "name": format!("{}/{subresource}", kind.resource),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": ["create", "delete", "get", "update"],
            }));
        }
    }
    for (_, kind, resource, namespaced) in REVIEWS.iter().filter(|(other, ..)| *other == group) {
        resources.push(json!({
            "name": resource,
            "singularName": kind.to_ascii_lowercase(),
            "namespaced": namespaced,
            "kind": kind,
            "verbs": ["create"],
        }));
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}
