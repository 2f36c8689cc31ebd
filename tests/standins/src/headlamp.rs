//! What Headlamp's backend (0.45) does to requests on `/clusters/{name}/...`: the login cookie
//! becomes the caller's `Authorization`, everything is passed to the API server.
//!
//! Plain HTTP, one cluster. Helm, port forwarding, `serviceproxy`, OIDC and the frontend are left
//! out and answer 404.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::body::{self, Body};
use crate::connect::{self, HttpClient};
use crate::gunzip::Gunzip;
use crate::serve::{self, Cut, Peer};
use crate::{headers, path, tunnel};

/// Headlamp writes a token in cookies of this many bytes each.
pub const COOKIE_CHUNK_BYTES: usize = 3800;

/// The subprotocol by which browsers hand a token to a WebSocket.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// How a Headlamp starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// The API server's URL; a path in it is put before every path.
    pub api_url: String,
    /// The authority of its certificate.
    pub ca_pem: String,
    /// The cluster's name in URLs and cookies. Default: `main`.
    pub cluster: String,
}

impl Options {
    /// For the cluster `main` behind that API server.
    pub fn new(api_url: &str, ca_pem: &str) -> Self {
        Self {
            api_url: api_url.trim_end_matches('/').to_owned(),
            ca_pem: ca_pem.to_owned(),
            cluster: "main".to_owned(),
        }
    }
}

/// A running Headlamp backend. Dropping it closes its port.
pub struct Headlamp {
    listener: serve::Listener,
}

struct Backend {
    options: Options,
    authority: String,
    client: HttpClient,
    /// Upgrades need HTTP/1.1, and so connections of their own.
    upgrade_client: HttpClient,
}

impl Headlamp {
    /// Starts on a free loopback port.
    ///
    /// # Errors
    /// If no port can be bound, or the URL has no host.
    pub async fn start(options: Options) -> io::Result<Self> {
        let uri: Uri = options.api_url.parse().map_err(io::Error::other)?;
        let authority = uri
            .authority()
            .ok_or_else(|| io::Error::other("the API server's URL has no host"))?
            .to_string();
        let backend = Arc::new(Backend {
            client: connect::trusting(&options.ca_pem, true),
            upgrade_client: connect::trusting(&options.ca_pem, false),
            authority,
            options,
        });
        let listener = serve::serve(serve::Settings::plain(), move |request, peer| {
            let backend = Arc::clone(&backend);
            async move { Ok::<_, Cut>(backend.answer(request, peer).await) }
        })
        .await?;
        Ok(Self { listener })
    }

    /// `http://127.0.0.1:PORT`, without `/clusters/..`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Closes the port and cuts every connection.
    pub async fn stop(self) {
        self.listener.stop().await;
    }
}

/// The cookies in which Headlamp keeps a token: name and value, in order.
pub fn cookies(cluster: &str, token: &str) -> Vec<(String, String)> {
    let name: String = cluster
        .chars()
        .filter(|character| character.is_ascii_alphanumeric() || "-_".contains(*character))
        .take(50)
        .collect();
    token
        .as_bytes()
        .chunks(COOKIE_CHUNK_BYTES)
        .enumerate()
        .map(|(index, chunk)| {
            let value = String::from_utf8_lossy(chunk).into_owned();
            (format!("headlamp-auth-{name}.{index}"), value)
        })
        .collect()
}

/// The `Cookie` header a browser sends for a token.
pub fn cookie_header(cluster: &str, token: &str) -> String {
    cookies(cluster, token)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("; ")
}

/// A request's cookies with chunks of a token: names and values from 0 up to the first gap.
fn chunks_of(headers: &HeaderMap, cluster: &str) -> Vec<(String, String)> {
    let (prefix, _) = cookies(cluster, "x").remove(0);
    let prefix = prefix.trim_end_matches('0');
    let pairs: Vec<(&str, &str)> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .collect();
    (0..)
        .map_while(|index| {
            let name = format!("{prefix}{index}");
            let (_, chunk) = pairs.iter().find(|(other, _)| *other == name)?;
            Some((name, (*chunk).to_owned()))
        })
        .collect()
}

/// The token in a request's cookies.
fn token_of(headers: &HeaderMap, cluster: &str) -> Option<String> {
    let chunks = chunks_of(headers, cluster).into_iter();
    let token: String = chunks.map(|(_, chunk)| chunk).collect();
    (!token.is_empty()).then_some(token)
}

impl Backend {
    async fn answer(&self, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let decoded = path::decode(request.uri().path());
        let cleaned = path::clean(&decoded);
        if cleaned != decoded {
            let query = request.uri().query().map(|query| format!("?{query}"));
            let location = path::encode(&cleaned) + &query.unwrap_or_default();
            return redirect(&location);
        }
        let prefix = format!("/clusters/{}/", self.options.cluster);
        let Some(api) = decoded.strip_prefix(&prefix) else {
            return status(StatusCode::NOT_FOUND);
        };
        match api.split('/').next().unwrap_or_default() {
            "set-token" if *request.method() == Method::POST => self.set_token(request).await,
            "set-token" | "me" | "portforward" | "serviceproxy" | "helm" => {
                status(StatusCode::NOT_FOUND)
            }
            _ => {
                let target = path::encode(&format!("/{api}"));
                self.forward(request, &target, peer).await
            }
        }
    }

    /// Login: all cookies of an earlier token go, then the token goes into new ones. Without a token it is the logout.
    async fn set_token(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, incoming) = request.into_parts();
        let Ok(bytes) = body::read(incoming, 1024 * 1024).await else {
            return status(StatusCode::BAD_REQUEST);
        };
        let Ok(json) = serde_json::from_slice::<Value>(&bytes) else {
            return status(StatusCode::BAD_REQUEST);
        };
        let token = json["token"].as_str().unwrap_or_default();
        let cluster = &self.options.cluster;
        let cookie = |name: &str, value: &str, age: u32| {
            format!(
                "{name}={value}; Path=/clusters/{cluster}; Max-Age={age}; HttpOnly; SameSite=Strict"
            )
        };
        let old = chunks_of(&parts.headers, cluster).into_iter();
        let mut set: Vec<String> = old.map(|(name, _)| cookie(&name, "", 0)).collect();
        let new = cookies(cluster, token).into_iter();
        set.extend(new.map(|(name, value)| cookie(&name, &value, 86_400)));
        let mut response = status(StatusCode::OK);
        for cookie in set {
            match HeaderValue::from_str(&cookie) {
                Ok(value) => response.headers_mut().append(header::SET_COOKIE, value),
                Err(_) => return status(StatusCode::BAD_REQUEST),
            };
        }
        response
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        target: &str,
        peer: Peer,
    ) -> Response<Body> {
        let upgrade = tunnel::is_requested(request.headers());
        let downstream = hyper::upgrade::on(&mut request);
        let query = request.uri().query().map(|query| format!("?{query}"));
        let uri = format!(
            "{}{target}{}",
            self.options.api_url,
            query.unwrap_or_default()
        );
        let (parts, incoming) = request.into_parts();
        let mut outgoing = Request::new(incoming.map_err(Into::into).boxed_unsync());
        *outgoing.method_mut() = parts.method;
        match uri.parse() {
            Ok(uri) => *outgoing.uri_mut() = uri,
            Err(_) => return status(StatusCode::BAD_REQUEST),
        }
        *outgoing.headers_mut() = parts.headers;
        self.edit(outgoing.headers_mut(), upgrade, &peer);
        // As Go's transport does for callers that did not ask for compression, who get the plain body.
        let adds_gzip = outgoing.method() != Method::HEAD
            && !outgoing.headers().contains_key(header::RANGE)
            && !outgoing.headers().contains_key(header::ACCEPT_ENCODING);
        if adds_gzip {
            let gzip = HeaderValue::from_static("gzip");
            outgoing.headers_mut().insert(header::ACCEPT_ENCODING, gzip);
        }
        let client = if upgrade {
            &self.upgrade_client
        } else {
            &self.client
        };
        let Ok(mut response) = client.request(outgoing).await else {
            return status(StatusCode::BAD_GATEWAY);
        };
        if upgrade && tunnel::is_accepted(&response) {
            let upstream = hyper::upgrade::on(&mut response);
            tunnel::join(downstream, upstream, peer.stop.clone());
            return response.map(|_| body::empty());
        }
        let headers = response.headers_mut();
        headers::remove_hop_by_hop(headers);
        let packed = headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        if adds_gzip && packed {
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
            return response.map(|body| Gunzip::new(body).boxed_unsync());
        }
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }

    fn edit(&self, headers: &mut HeaderMap, upgrade: bool, peer: &Peer) {
        let protocol_token = take_protocol_token(headers);
        let token = token_of(headers, &self.options.cluster);
        if let Some(token) = token.or(protocol_token)
            && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            headers.insert(header::AUTHORIZATION, value);
        }
        if upgrade {
            headers::keep_upgrade(headers);
        } else {
            headers::remove_hop_by_hop(headers);
        }
        headers.remove("x-headlamp_backend-token");
        headers.remove(header::HOST);
        headers::append_forwarded_for(headers, peer.address.ip());
        if let Ok(host) = HeaderValue::from_str(&self.authority) {
            if upgrade {
                headers.insert(header::HOST, host.clone());
            }
            headers.insert(HeaderName::from_static("x-forwarded-host"), host);
        }
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static("Headlamp unknown (linux/amd64)"),
        );
    }
}

/// Takes Headlamp's own entries out of the offered subprotocols; one of them may hold a token,
/// which counts only when there is no cookie and no header.
fn take_protocol_token(headers: &mut HeaderMap) -> Option<String> {
    let offered: Vec<String> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|protocol| protocol.trim().to_owned())
        .collect();
    if offered.is_empty() {
        return None;
    }
    let (own, kept): (Vec<_>, Vec<_>) = offered.into_iter().partition(|protocol| {
        protocol.starts_with(BEARER_PROTOCOL) || protocol.starts_with("base64url.headlamp.")
    });
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_str(&kept.join(", "))) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let has_header = headers.contains_key(header::AUTHORIZATION);
    own.iter()
        .find_map(|protocol| protocol.strip_prefix(BEARER_PROTOCOL))
        .filter(|_| !has_header)
        .and_then(|encoded| URL_SAFE_NO_PAD.decode(encoded).ok())
        .and_then(|token| String::from_utf8(token).ok())
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = code;
    response
}

fn redirect(location: &str) -> Response<Body> {
    let mut response = status(StatusCode::MOVED_PERMANENTLY);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
#[path = "headlamp_tests.rs"]
mod tests;
