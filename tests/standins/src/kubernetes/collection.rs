//! Reading and writing stored objects: everything of the API that is the same for every kind.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::kinds::Kind;
use super::request::{RequestInfo, parameter};
use super::selector::Selector;
use super::status::{Status, json_response};
use super::store::{Store, text};
use crate::body::{self, Body};

/// Larger answers are compressed when the caller accepts gzip, as on the real server.
const GZIP_FROM_BYTES: usize = 128 * 1024;

/// Whether whole objects were asked for or their metadata alone. Tables are not made: callers
/// accept plain objects as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Metadata,
}

impl Form {
    pub(crate) fn asked(headers: &HeaderMap) -> Self {
        let accept = headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let first = accept.split(',').next().unwrap_or_default();
        if first.contains("as=PartialObjectMetadata") {
            Self::Metadata
        } else {
            Self::Whole
        }
    }

    pub(crate) fn of(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            }),
        }
    }
}

pub(crate) fn get(
    store: &Store,
    kind: &Kind,
    info: &RequestInfo,
    form: Form,
) -> Result<Value, Status> {
    let namespace = if kind.namespaced { &info.namespace } else { "" };
    store
        .object(kind, namespace, &info.name)
        .map(|object| form.of(&object))
        .ok_or_else(|| Status::not_found(kind, &info.name))
}

/// A list, or one page of it.
pub(crate) fn list(
    store: &Store,
    kind: &Kind,
    namespace: &str,
    query: &str,
    form: Form,
) -> Result<Value, Status> {
    let selector = Selector::of(query)?;
    let limit: usize = parameter(query, "limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(0);
    let start = match parameter(query, "continue").filter(|token| !token.is_empty()) {
        None => 0,
        Some(token) => page_start(&token).ok_or_else(|| {
            Status::bad_request("continue key is not valid: it cannot be decoded")
        })?,
    };
    let matching: Vec<_> = store
        .objects(kind.group, kind.resource, namespace)
        .filter(|object| selector.matches(object))
        .collect();
    let end = if limit == 0 {
        matching.len()
    } else {
        matching.len().min(start + limit)
    };
    let items: Vec<Value> = matching
        .get(start..end)
        .unwrap_or_default()
        .iter()
        .map(|object| match form {
            Form::Metadata => form.of(object),
            Form::Whole => {
                // Items of a list carry neither kind nor version of their own.
                let mut item = (***object).clone();
                if let Some(item) = item.as_object_mut() {
                    item.remove("kind");
                    item.remove("apiVersion");
                }
                item
            }
        })
        .collect();
    let (list_kind, api_version) = match form {
        Form::Whole => (format!("{}List", kind.kind), kind.api_version()),
        Form::Metadata => (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        ),
    };
    let mut metadata = json!({"resourceVersion": store.revision().to_string()});
    if end < matching.len() {
        let token = json!({"v": "meta.k8s.io/v1", "rv": store.revision(), "start": end});
        metadata["continue"] = URL_SAFE_NO_PAD.encode(token.to_string()).into();
        metadata["remainingItemCount"] = (matching.len() - end).into();
    }
    Ok(json!({"kind": list_kind, "apiVersion": api_version, "metadata": metadata, "items": items}))
}

fn page_start(token: &str) -> Option<usize> {
    let decoded = URL_SAFE_NO_PAD.decode(token).ok()?;
    let token: Value = serde_json::from_slice(&decoded).ok()?;
    usize::try_from(token["start"].as_u64()?).ok()
}

pub(crate) fn create(
    store: &mut Store,
    kind: &Kind,
    info: &RequestInfo,
    object: Value,
) -> Result<Value, Status> {
    check_kind(kind, &object)?;
    let place = &object["metadata"]["namespace"];
    if kind.namespaced && place.is_string() && *place != *info.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    store
        .create(kind, &info.namespace, object)
        .map(|created| (*created).clone())
}

pub(crate) fn update(
    store: &mut Store,
    kind: &Kind,
    info: &RequestInfo,
    object: Value,
) -> Result<Value, Status> {
    check_kind(kind, &object)?;
    let object = if info.subresource == "status" {
        let mut stored = stored(store, kind, info)?;
        stored["status"] = object["status"].clone();
        stored
    } else {
        object
    };
    store
        .replace(kind, &info.namespace, &info.name, object)
        .map(|updated| (*updated).clone())
}

fn stored(store: &Store, kind: &Kind, info: &RequestInfo) -> Result<Value, Status> {
    get(store, kind, info, Form::Whole)
}

pub(crate) fn delete(store: &mut Store, kind: &Kind, info: &RequestInfo) -> Result<Value, Status> {
    let deleted = store.delete(kind, &info.namespace, &info.name)?;
    let mut details = json!({
        "name": info.name,
        "kind": kind.resource,
        "uid": deleted["metadata"]["uid"],
    });
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    Ok(json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }))
}

pub(crate) fn delete_all(
    store: &mut Store,
    kind: &Kind,
    namespace: &str,
    query: &str,
) -> Result<Value, Status> {
    let list = list(store, kind, namespace, query, Form::Whole)?;
    for item in list["items"].as_array().into_iter().flatten() {
        let metadata = &item["metadata"];
        store.delete(
            kind,
            &text(&metadata["namespace"]),
            &text(&metadata["name"]),
        )?;
    }
    Ok(list)
}

fn check_kind(kind: &Kind, object: &Value) -> Result<(), Status> {
    let fits = |key: &str, wanted: &str| object[key].is_null() || object[key] == wanted;
    if object.is_object() && fits("kind", kind.kind) && fits("apiVersion", &kind.api_version()) {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {} {}",
        kind.kind, object["apiVersion"], object["kind"]
    )))
}

/// A JSON answer, compressed if it is large and the caller accepts gzip.
pub(crate) fn respond(code: StatusCode, value: &Value, request: &HeaderMap) -> Response<Body> {
    let accepts = request
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|one| one.trim().starts_with("gzip")));
    let mut response = json_response(code, value);
    if accepts {
        response
            .headers_mut()
            .insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        let text = value.to_string();
        if text.len() > GZIP_FROM_BYTES {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let packed = encoder
                .write_all(text.as_bytes())
                .and_then(|()| encoder.finish());
            if let Ok(packed) = packed {
                *response.body_mut() = body::full(packed);
                response
                    .headers_mut()
                    .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
    }
    response
}
