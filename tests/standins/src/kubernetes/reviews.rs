//! The review APIs: questions that are answered and never stored.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::authentication::{DEFAULT_AUDIENCE, Tokens, User};
use super::rbac::{Attributes, authorize, rules_for};
use super::request::RequestInfo;
use super::status::{Status, json_response};
use super::store::{Store, text};
use crate::body::Body;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Whether a resource is a review.
pub(crate) fn is_review(info: &RequestInfo) -> bool {
    matches!(
        (info.group.as_str(), info.resource.as_str()),
        (AUTHENTICATION, "tokenreviews" | "selfsubjectreviews")
            | (
                AUTHORIZATION,
                "subjectaccessreviews"
                    | "selfsubjectaccessreviews"
                    | "selfsubjectrulesreviews"
                    | "localsubjectaccessreviews"
            )
    )
}

/// Answers a review from tokens and roles; `chosen` stands in for the status where a test
/// decides it.
pub(crate) fn answer(
    info: &RequestInfo,
    user: &User,
    review: &Value,
    (tokens, store): (&Tokens, &Store),
    chosen: impl Fn(&Value) -> Option<Value>,
) -> Result<Response<Body>, Status> {
    let (kind, status) = match info.resource.as_str() {
        "tokenreviews" => ("TokenReview", token_review(review, tokens, store)?),
        "selfsubjectreviews" => ("SelfSubjectReview", json!({"userInfo": user.object()})),
        "subjectaccessreviews" => ("SubjectAccessReview", access_review(review, store)?),
        "localsubjectaccessreviews" => {
            if review["spec"]["resourceAttributes"]["namespace"] != *info.namespace {
                return Err(Status::bad_request(
                    "spec.resourceAttributes.namespace must match the namespace of the request",
                ));
            }
            ("LocalSubjectAccessReview", access_review(review, store)?)
        }
        "selfsubjectaccessreviews" => (
            "SelfSubjectAccessReview",
            decision(store, user, &review["spec"]),
        ),
        "selfsubjectrulesreviews" => (
            "SelfSubjectRulesReview",
            rules_review(store, user, &review["spec"]),
        ),
        _ => return Err(Status::no_such_path()),
    };
    let status = chosen(&review["spec"]).unwrap_or(status);
    let mut answer = json!({
        "kind": kind,
        "apiVersion": format!("{}/{}", info.group, info.version),
        "metadata": review.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "status": status,
    });
    if let Some(spec) = review.get("spec") {
        answer["spec"] = spec.clone();
    }
    Ok(json_response(StatusCode::CREATED, &answer))
}

fn token_review(review: &Value, tokens: &Tokens, store: &Store) -> Result<Value, Status> {
    let token = text(&review["spec"]["token"]);
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let mut audiences = strings(&review["spec"]["audiences"]);
    if audiences.is_empty() {
        audiences.push(DEFAULT_AUDIENCE.to_owned());
    }
    Ok(match tokens.verify(store, &token, &audiences) {
        Ok(verified) => json!({
            "authenticated": true,
            "user": verified.user.object(),
            "audiences": verified.audiences,
        }),
        Err(error) => json!({"user": {}, "error": error}),
    })
}

fn access_review(review: &Value, store: &Store) -> Result<Value, Status> {
    let spec = &review["spec"];
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, values) in spec["extra"].as_object().into_iter().flatten() {
        extra.insert(key.clone(), strings(values));
    }
    let user = User {
        username: text(&spec["user"]),
        uid: text(&spec["uid"]),
        groups: strings(&spec["groups"]),
        extra,
    };
    let mut faults = Vec::new();
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_object() && path.is_object() {
        let (verb, path) = (text(&path["verb"]), text(&path["path"]));
        let value = format!(
            "Invalid value: {{\"Path\":\"{path}\",\"Verb\":\"{verb}\"}}: cannot be specified in combination with \
             resourceAttributes"
        );
        faults.push(("spec.nonResourceAttributes", value));
    } else if !resource.is_object() && !path.is_object() {
        let value = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be \
                     specified";
        faults.push(("spec.resourceAttributes", value.to_owned()));
    }
    if user.username.is_empty() && user.groups.is_empty() {
        let value = "Invalid value: \"\": at least one of user or group must be specified";
        faults.push(("spec.user", value.to_owned()));
    }
    if !faults.is_empty() {
        return Err(Status::invalid_fields(AUTHORIZATION, "", "", &faults));
    }
    Ok(decision(store, &user, spec))
}

fn decision(store: &Store, user: &User, spec: &Value) -> Value {
    let resource = &spec["resourceAttributes"];
    let path = &spec["nonResourceAttributes"];
    let attributes = if path.is_object() {
        Attributes {
            verb: text(&path["verb"]),
            path: Some(text(&path["path"])),
            ..Attributes::default()
        }
    } else {
        Attributes {
            verb: text(&resource["verb"]),
            group: text(&resource["group"]),
            resource: text(&resource["resource"]),
            subresource: text(&resource["subresource"]),
            namespace: text(&resource["namespace"]),
            name: text(&resource["name"]),
            path: None,
        }
    };
    let decision = authorize(store, user, &attributes);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    status
}

fn rules_review(store: &Store, user: &User, spec: &Value) -> Value {
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    for rule in rules_for(store, user, &text(&spec["namespace"])) {
        if rule["nonResourceURLs"].is_array() {
            paths.push(rule);
        } else {
            resources.push(rule);
        }
    }
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}
