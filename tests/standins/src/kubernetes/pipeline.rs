//! The life of a request in the API server: recorded, authenticated, impersonated, authorized,
//! answered.

use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::authentication::{TokenRequest, User, authenticate};
use super::collection::{self, Form, respond};
use super::control::{Recorded, lock};
use super::impersonation::impersonate;
use super::kinds::Kind;
use super::rbac::{Attributes, authorize};
use super::request::RequestInfo;
use super::status::{Status, json_response};
use super::{Inner, discovery, proxying, reviews, watches};
use crate::body::{self, Body};
use crate::serve::{Cut, Peer};
use crate::{clock, random, tunnel};

/// The API server's own limit for the bodies of writes.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// Answers one request.
pub(crate) async fn answer(
    inner: Arc<Inner>,
    mut request: Request<Incoming>,
    peer: Peer,
) -> Result<Response<Body>, Cut> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (mut parts, incoming) = request.into_parts();
    parts.extensions.insert(upgrade);
    let query = parts.uri.query().unwrap_or_default();
    let info = RequestInfo::of(&parts.method, parts.uri.path(), query);
    // Bodies that belong to a workload are streamed; all others are read before anything else.
    let (json, incoming) = if is_streamed(&info) || is_bodiless(&parts.method) {
        (Ok(Value::Null), Some(incoming))
    } else {
        (read_json(incoming).await, None)
    };
    let caller = {
        let cluster = lock(&inner.cluster);
        authenticate(&parts.headers, &cluster.tokens, &cluster.store)
            .and_then(|user| impersonate(&parts.headers, user, &cluster.store))
    };
    let recorded = Recorded {
        method: parts.method.clone(),
        uri: parts
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string),
        version: parts.version,
        headers: parts.headers.clone(),
        user: caller
            .as_ref()
            .map_or_else(|_| String::new(), |user| user.username.clone()),
        body: json.as_ref().map_or(Value::Null, Clone::clone),
        at: Instant::now(),
        info,
    };
    inner.records.add(recorded.clone());
    if let Some(answer) = inner.controls.apply(&recorded).await {
        return answer;
    }
    let response = match caller.and_then(|user| permitted(&inner, user, &recorded.info)) {
        Ok(user) => {
            let call = Call {
                inner: &inner,
                user,
                info: recorded.info,
                parts,
            };
            call.dispatch(json, incoming, &peer).await
        }
        Err(refusal) => Err(refusal),
    };
    let mut response = response.unwrap_or_else(|status| status.response());
    if let Ok(id) = HeaderValue::from_str(&random::uuid()) {
        response
            .headers_mut()
            .insert(HeaderName::from_static("audit-id"), id);
    }
    Ok(response)
}

fn permitted(inner: &Inner, user: User, info: &RequestInfo) -> Result<User, Status> {
    let decision = authorize(&lock(&inner.cluster).store, &user, &Attributes::from(info));
    if decision.allowed {
        Ok(user)
    } else {
        Err(Status::forbidden(&user, info, &decision.reason))
    }
}

fn is_bodiless(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn is_streamed(info: &RequestInfo) -> bool {
    matches!(
        info.subresource.as_str(),
        "proxy" | "exec" | "attach" | "portforward"
    )
}

async fn read_json(incoming: Incoming) -> Result<Value, Status> {
    let bytes = body::read(incoming, MAX_BODY_BYTES)
        .await
        .map_err(|error| Status::new(413, "RequestEntityTooLarge", error.to_string()))?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Status::bad_request(format!("the body is no object: {error}")))
}

/// A permitted request.
struct Call<'a> {
    inner: &'a Arc<Inner>,
    user: User,
    info: RequestInfo,
    parts: Parts,
}

impl Call<'_> {
    async fn dispatch(
        mut self,
        json: Result<Value, Status>,
        incoming: Option<Incoming>,
        peer: &Peer,
    ) -> Result<Response<Body>, Status> {
        let info = &self.info;
        if !info.is_resource {
            return discovery::answer(&info.path, lock(&self.inner.cluster).store.kinds());
        }
        let json = json?;
        if reviews::is_review(info) {
            return self.review(&json);
        }
        match (info.resource.as_str(), info.subresource.as_str()) {
            ("services" | "pods", "proxy") => {
                let destination = proxying::destination(&lock(&self.inner.cluster).store, info)?;
                let incoming = incoming.expect("bodies for workloads are not read");
                let client = &self.inner.client;
                proxying::forward(client, &destination, info, (self.parts, incoming), peer).await
            }
            ("pods", "exec" | "attach" | "portforward") => self.echo(peer),
            ("pods", "log") => Ok(self.log()),
            ("serviceaccounts", "token") => self.token(&json),
            (_, "" | "status") => self.stored(json),
            _ => Err(Status::no_such_path()),
        }
    }

    fn review(&self, review: &Value) -> Result<Response<Body>, Status> {
        if self.info.verb != "create" {
            return Err(Status::method_not_allowed());
        }
        let controls = &self.inner.controls;
        let chosen = match self.info.resource.as_str() {
            "tokenreviews" => lock(&controls.token_reviews).clone(),
            "subjectaccessreviews" => lock(&controls.access_reviews).clone(),
            _ => None,
        };
        let cluster = lock(&self.inner.cluster);
        reviews::answer(
            &self.info,
            &self.user,
            review,
            (&cluster.tokens, &cluster.store),
            |spec| chosen.as_ref().and_then(|chosen| chosen(spec)),
        )
    }

    /// Streams to containers: no container is there, so the bytes come back.
    fn echo(&mut self, peer: &Peer) -> Result<Response<Body>, Status> {
        if !tunnel::is_requested(&self.parts.headers) {
            return Err(Status::bad_request("Upgrade request required"));
        }
        if let Some(upgrade) = self.parts.extensions.remove() {
            tunnel::echo(upgrade, peer.stop.clone());
        }
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let asked = &self.parts.headers;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        for name in [
            header::UPGRADE,
            HeaderName::from_static("x-stream-protocol-version"),
        ] {
            if let Some(value) = asked.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let offered = asked
            .get(header::SEC_WEBSOCKET_PROTOCOL)
            .and_then(|value| value.to_str().ok());
        let chosen = offered
            .into_iter()
            .flat_map(|offered| offered.split(','))
            .next();
        if let Some(Ok(chosen)) = chosen.map(|one| HeaderValue::from_str(one.trim())) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        if let Some(accept) = asked.get(header::SEC_WEBSOCKET_KEY).and_then(accept_key) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        Ok(response)
    }

    fn log(&self) -> Response<Body> {
        let text = format!("{} has nothing to say\n", self.info.name);
        let mut response = Response::new(body::full(text));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response
    }

    fn token(&self, json: &Value) -> Result<Response<Body>, Status> {
        if self.info.verb != "create" {
            return Err(Status::method_not_allowed());
        }
        let spec = &json["spec"];
        let seconds = spec["expirationSeconds"].as_u64().unwrap_or(3600);
        if seconds < 600 {
            return Err(Status::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                "",
                "spec.expirationSeconds",
                &format!(
                    "Invalid value: {seconds}: may not specify a duration less than 10 minutes"
                ),
            ));
        }
        let audiences = spec["audiences"].as_array().into_iter().flatten();
        let bound = &spec["boundObjectRef"];
        let request = TokenRequest {
            audiences: audiences
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
            seconds,
            pod: (bound["kind"] == "Pod").then(|| {
                (
                    super::store::text(&bound["name"]),
                    super::store::text(&bound["uid"]),
                )
            }),
        };
        let mut cluster = lock(&self.inner.cluster);
        let kind = self.kind(&cluster.store)?;
        let account = collection::get(&cluster.store, &kind, &self.info, Form::Whole)?;
        let (token, expires) = cluster.tokens.issue(&account, &request);
        let mut answer = json.clone();
        answer["kind"] = "TokenRequest".into();
        answer["apiVersion"] = "authentication.k8s.io/v1".into();
        answer["metadata"] = json!({"name": self.info.name, "namespace": self.info.namespace});
        answer["status"] = json!({"token": token, "expirationTimestamp": clock::rfc3339(expires)});
        Ok(json_response(StatusCode::CREATED, &answer))
    }

    fn kind(&self, store: &super::store::Store) -> Result<Kind, Status> {
        store
            .kind(&self.info.group, &self.info.resource)
            .filter(|kind| kind.version == self.info.version)
            .ok_or_else(Status::no_such_path)
    }

    fn stored(&self, json: Value) -> Result<Response<Body>, Status> {
        let info = &self.info;
        let query = self.parts.uri.query().unwrap_or_default();
        let form = Form::asked(&self.parts.headers);
        let kind = self.kind(&lock(&self.inner.cluster).store)?;
        if info.verb == "watch" {
            let settings = self.inner.watches;
            return watches::open(
                &self.inner.cluster,
                settings,
                (kind, &info.namespace),
                (query, form),
            );
        }
        let dry_run = super::request::parameter(query, "dryRun").is_some();
        let mut cluster = lock(&self.inner.cluster);
        let store = &mut cluster.store;
        let (code, value) = match info.verb.as_str() {
            "get" => (StatusCode::OK, collection::get(store, &kind, info, form)?),
            "list" => {
                let list = collection::list(store, &kind, &info.namespace, query, form)?;
                (StatusCode::OK, list)
            }
            // A dry run answers with what was sent and stores nothing.
            _ if dry_run => (StatusCode::OK, json),
            "create" if info.name.is_empty() => (
                StatusCode::CREATED,
                collection::create(store, &kind, info, json)?,
            ),
            "update" => (
                StatusCode::OK,
                collection::update(store, &kind, info, json)?,
            ),
            "delete" => (StatusCode::OK, collection::delete(store, &kind, info)?),
            "deletecollection" => {
                let deleted = collection::delete_all(store, &kind, &info.namespace, query)?;
                (StatusCode::OK, deleted)
            }
            _ => return Err(Status::method_not_allowed()),
        };
        Ok(respond(code, &value, &self.parts.headers))
    }
}

/// RFC 6455, section 4.2.2: the key and a fixed text, hashed.
fn accept_key(key: &HeaderValue) -> Option<HeaderValue> {
    use base64::Engine as _;
    let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.to_str().ok()?);
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let encoded = base64::engine::general_purpose::STANDARD.encode(digest);
    HeaderValue::from_str(&encoded).ok()
}
