//! `services/proxy` and `pods/proxy`: what the API server does to a request on its way to a
//! workload. Rewriting of links in HTML answers is left out.

use std::error::Error as _;
use std::io::ErrorKind;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::request::RequestInfo;
use super::status::Status;
use super::store::{Store, text};
use crate::body::{self, Body};
use crate::connect::HttpClient;
use crate::gunzip::Gunzip;
use crate::serve::Peer;
use crate::{headers, path, random, tunnel};

/// Where a proxied request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    scheme: &'static str,
    authority: String,
}

/// Finds the workload behind `[scheme:]name[:port]`.
pub(crate) fn destination(store: &Store, info: &RequestInfo) -> Result<Destination, Status> {
    let (scheme, name, port) = split(&info.name).ok_or_else(|| {
        let kind = info.resource.trim_end_matches('s');
        Status::bad_request(format!("invalid {kind} request \"{}\"", info.name))
    })?;
    let kind = store
        .kind("", &info.resource)
        .ok_or_else(Status::no_such_path)?;
    let object = store
        .object(&kind, &info.namespace, name)
        .ok_or_else(|| Status::not_found(&kind, name))?;
    let authority = if info.resource == "services" {
        service_address(store, &object, name, port)?
    } else {
        pod_address(&object, port)?
    };
    Ok(Destination { scheme, authority })
}

fn split(id: &str) -> Option<(&'static str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts.as_slice() {
        [name] => ("http", *name, ""),
        [name, port] => ("http", *name, *port),
        ["" | "http", name, port] => ("http", *name, *port),
        ["https", name, port] => ("https", *name, *port),
        _ => return None,
    };
    (!name.is_empty()).then_some((scheme, name, port))
}

fn service_address(
    store: &Store,
    service: &Value,
    name: &str,
    port: &str,
) -> Result<String, Status> {
    let empty = Vec::new();
    let ports = service["spec"]["ports"].as_array().unwrap_or(&empty);
    let found = match port.parse::<u64>() {
        Ok(number) => ports.iter().find(|port| port["port"] == number),
        Err(_) if port.is_empty() && ports.len() == 1 => ports.first(),
        Err(_) => ports.iter().find(|one| one["name"] == port),
    };
    let found = found.ok_or_else(|| {
        Status::unavailable(match port.parse::<u64>() {
            Ok(number) => format!("no service port {number} found for service \"{name}\""),
            Err(_) => format!("no endpoints available for service \"{name}\""),
        })
    })?;
    let namespace = text(&service["metadata"]["namespace"]);
    let mut addresses = slice_addresses(store, &namespace, name, &text(&found["name"]));
    if addresses.is_empty() {
        addresses = endpoints_addresses(store, &namespace, name, &text(&found["name"]));
    }
    if addresses.is_empty() {
        return Err(Status::unavailable(format!(
            "no endpoints available for service \"{name}\""
        )));
    }
    let [choice] = random::bytes::<1>();
    Ok(addresses.swap_remove(usize::from(choice) % addresses.len()))
}

fn slice_addresses(store: &Store, namespace: &str, service: &str, port: &str) -> Vec<String> {
    let mut addresses = Vec::new();
    for slice in store.objects("discovery.k8s.io", "endpointslices", namespace) {
        if slice["metadata"]["labels"]["kubernetes.io/service-name"] != service {
            continue;
        }
        let Some(number) = port_named(&slice["ports"], port) else {
            continue;
        };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            if endpoint["conditions"]["ready"] != false {
                addresses.extend(host_port(&endpoint["addresses"][0], number));
            }
        }
    }
    addresses
}

fn endpoints_addresses(store: &Store, namespace: &str, service: &str, port: &str) -> Vec<String> {
    let mut addresses = Vec::new();
    let kind = store.kind("", "endpoints").expect("it is in the table");
    let endpoints = store.object(&kind, namespace, service);
    let subsets = endpoints.as_ref().and_then(|all| all["subsets"].as_array());
    for subset in subsets.into_iter().flatten() {
        let Some(number) = port_named(&subset["ports"], port) else {
            continue;
        };
        for address in subset["addresses"].as_array().into_iter().flatten() {
            addresses.extend(host_port(&address["ip"], number));
        }
    }
    addresses
}

fn port_named(ports: &Value, name: &str) -> Option<u64> {
    ports
        .as_array()?
        .iter()
        .find(|port| text(&port["name"]) == name)?["port"]
        .as_u64()
}

fn pod_address(pod: &Value, port: &str) -> Result<String, Status> {
    let first = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
    let port = port.parse().ok().or_else(|| first.as_u64()).unwrap_or(80);
    host_port(&pod["status"]["podIP"], port)
        .ok_or_else(|| Status::bad_request("address not allowed"))
}

fn host_port(host: &Value, port: u64) -> Option<String> {
    let host = host.as_str()?;
    Some(if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    })
}

/// Sends the request on and hands the answer back as it comes.
pub(crate) async fn forward(
    client: &HttpClient,
    destination: &Destination,
    info: &RequestInfo,
    (mut parts, body): (Parts, Incoming),
    peer: &Peer,
) -> Result<Response<Body>, Status> {
    let query = parts
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let upgrade = tunnel::is_requested(&parts.headers);
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    if info.remainder.is_empty() && is_read && !upgrade {
        return Ok(redirect(&format!("{}/{query}", path::encode(&info.path))));
    }
    let target = path::clean(&info.remainder);
    let prefix = info
        .path
        .strip_suffix(&info.remainder)
        .unwrap_or(&info.path);
    let prefix = path::encode(prefix);
    let downstream = parts.extensions.remove();
    // Go takes the cleaned path off the end of the original one, and joins both again: what is not there to be
    // taken off is told twice.
    let before = info.path.strip_suffix(&target).unwrap_or(&info.path);
    let original = path::clean(&(path::encode(before) + &path::encode(&target)));
    edit_request(&mut parts.headers, &original, upgrade, peer);
    let adds_gzip = !upgrade
        && parts.method != Method::HEAD
        && !parts.headers.contains_key(header::RANGE)
        && !parts.headers.contains_key(header::ACCEPT_ENCODING);
    if adds_gzip {
        parts
            .headers
            .insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let uri = format!(
        "{}://{}{}{query}",
        destination.scheme,
        destination.authority,
        path::encode(&target)
    );
    let mut request = Request::new(body.map_err(Into::into).boxed_unsync());
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri
        .parse()
        .map_err(|_| Status::bad_request(format!("the destination {uri} is no URL")))?;
    *request.headers_mut() = parts.headers;
    let mut response = client
        .request(request)
        .await
        .map_err(|error| unreachable_service(&error, &destination.authority))?;
    if upgrade && tunnel::is_accepted(&response) {
        let upstream = hyper::upgrade::on(&mut response);
        if let Some(downstream) = downstream {
            tunnel::join(downstream, upstream, peer.stop.clone());
        }
        return Ok(response.map(|_| body::empty()));
    }
    Ok(edit_response(response, &prefix, adds_gzip))
}

fn edit_request(headers: &mut HeaderMap, original: &str, upgrade: bool, peer: &Peer) {
    headers.remove(header::AUTHORIZATION);
    let remote: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-remote-"))
        .cloned()
        .collect();
    for name in remote {
        headers.remove(name);
    }
    if upgrade {
        headers::keep_upgrade(headers);
    } else {
        headers::remove_hop_by_hop(headers);
        // Only the transport of plain requests tells the original path.
        if let Ok(value) = HeaderValue::from_str(original) {
            headers.insert("x-forwarded-uri", value);
        }
    }
    headers::append_forwarded_for(headers, peer.address.ip());
}

fn edit_response(mut response: Response<Incoming>, prefix: &str, gunzip: bool) -> Response<Body> {
    let headers = response.headers_mut();
    headers::remove_hop_by_hop(headers);
    for name in [
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        header::ACCESS_CONTROL_ALLOW_METHODS,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ] {
        headers.remove(name);
    }
    if let Some(location) = headers
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        && location.starts_with('/')
        && !location.starts_with("//")
        && !location.starts_with(prefix)
        && let Ok(value) = HeaderValue::from_str(&format!("{prefix}{location}"))
    {
        headers.insert(header::LOCATION, value);
    }
    let packed = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if gunzip && packed {
        headers.remove(header::CONTENT_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        return response.map(|body| Gunzip::new(body).boxed_unsync());
    }
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

fn redirect(location: &str) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(header::LOCATION, location);
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// Names the cause as Go's dialer does, where it is one that callers meet.
fn unreachable_service(error: &hyper_util::client::legacy::Error, authority: &str) -> Status {
    let mut cause = error.source();
    let mut kind = None;
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            kind = Some(io.kind());
        }
        cause = error.source();
    }
    let detail = match kind {
        Some(ErrorKind::ConnectionRefused) => {
            format!("dial tcp {authority}: connect: connection refused")
        }
        Some(ErrorKind::ConnectionReset) => {
            format!("read tcp {authority}: connection reset by peer")
        }
        _ if error.is_connect() => format!("dial tcp {authority}: connect: no route to host"),
        _ => "EOF".to_owned(),
    };
    Status::unavailable(format!("error trying to reach service: {detail}"))
}
