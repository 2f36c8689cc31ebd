//! Which requests are answered here and which pass, by path, query and method alone.
//!
//! A path is compared in every reading that a server might give it. In the plain reading it is answered; where
//! only another reading leads to what is answered here, it is refused; and what leads there in no reading
//! passes byte for byte.

use std::borrow::Cow;

use http::header::ACCEPT;
use http::{HeaderMap, Method, Request, Uri};
use percent_encoding::percent_decode_str;

use super::namespace_list;
use super::refusal::GatewayRefusal;
use crate::config::{self, PortRef, ProxyKind};
use crate::prometheus::Path;

/// What the plugin lists first, in all namespaces, to find a Prometheus.
const AUTODETECT: (&str, &str) = ("labelSelector", "headlamp-prometheus=true");

/// Where a request goes.
#[derive(Debug, PartialEq)]
pub(super) enum Route {
    /// To the API server.
    Pass,
    /// To a list of ours.
    Autodetect(List),
    /// To the pipeline, with this target: the path in its plain form.
    Prometheus(Uri),
    /// To the API server, and where that refuses it, to the list of the caller's namespaces.
    Namespaces(namespace_list::Target),
    /// Nowhere: it is answered here in some reading, but not in all.
    Refused(GatewayRefusal),
}

/// What the plugin lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Pods,
    Services,
}

/// The proxy paths that are answered here.
#[derive(Debug)]
pub(super) struct Routes {
    /// The reserved Service first.
    targets: Vec<Target>,
    namespace_list: bool,
}

/// A Service or pod whose proxy path is answered here.
#[derive(Debug)]
pub(super) struct Target {
    kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: PortRef,
    port_text: String,
}

/// How a path writes the port of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// As it is configured.
    Plain,
    /// As another text that the API server reads as the same number.
    Odd,
}

/// Whether a server may read `text` as the port `number`. Go's parsers of numbers take a sign and zeros in front
/// (`strconv.ParseInt` for Services, `net.LookupPort` for pods), and the latter the names of these two.
fn may_be_read_as(text: &[u8], number: u16) -> bool {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let digits = digits.strip_prefix(b"-").unwrap_or(digits);
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    digits[zeros..] == *number.to_string().as_bytes()
        || matches!((text, number), (b"http", 80) | (b"https", 443))
}

impl Target {
    fn new(kind: ProxyKind, namespace: &str, name: &str, port: &PortRef) -> Self {
        let kind = match kind {
            ProxyKind::Services => "services",
            ProxyKind::Pods => "pods",
        };
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            port: port.clone(),
            port_text: port.to_string(),
        }
    }

    /// Whether a decoded path is that of the proxy of this target, or below it, and how it writes the port.
    fn covers(&self, path: &[u8]) -> Option<Spelling> {
        let mut segments = path.split(|&byte| byte == b'/');
        let begins = [
            "",
            "api",
            "v1",
            "namespaces",
            self.namespace.as_str(),
            self.kind,
        ];
        let begins = begins
            .iter()
            .all(|part| segments.next() == Some(part.as_bytes()));
        let named = self.named(begins.then(|| segments.next()).flatten()?)?;
        (segments.next() == Some(b"proxy")).then_some(named)
    }

    /// `NAME:PORT`, or the same with a scheme in front, which may be empty: how the API server reads it.
    fn named(&self, segment: &[u8]) -> Option<Spelling> {
        let parts: Vec<_> = segment.split(|&byte| byte == b':').collect();
        let (name, port) = match parts[..] {
            [name, port] | [b"" | b"http" | b"https", name, port] => (name, port),
            _ => return None,
        };
        if name != self.name.as_bytes() {
            return None;
        }
        if port == self.port_text.as_bytes() {
            return Some(Spelling::Plain);
        }
        match self.port {
            PortRef::Number(number) if may_be_read_as(port, number) => Some(Spelling::Odd),
            PortRef::Number(_) | PortRef::Name(_) => None,
        }
    }

    /// The path of its proxy, without a slash at the end.
    fn path(&self) -> String {
        let Self {
            kind,
            namespace,
            name,
            port_text,
            ..
        } = self;
        format!("/api/v1/namespaces/{namespace}/{kind}/{name}:{port_text}/proxy")
    }
}

impl Routes {
    pub(super) fn new(gateway: &config::Gateway) -> Self {
        let reserved = &gateway.reserved_service;
        let reserved = Target::new(
            ProxyKind::Services,
            reserved.namespace.as_str(),
            &reserved.name,
            &reserved.port,
        );
        let others = gateway.prometheus_services.iter().map(|target| {
            Target::new(
                target.kind,
                target.namespace.as_str(),
                &target.name,
                &target.port,
            )
        });
        Self {
            targets: std::iter::once(reserved).chain(others).collect(),
            namespace_list: gateway.namespace_list,
        }
    }

    /// The Service whose name the plugin is given.
    pub(super) fn reserved(&self) -> &Target {
        &self.targets[0]
    }

    /// Finds where a request goes.
    pub(super) fn route<B>(&self, request: &Request<B>) -> Route {
        let uri = request.uri();
        if let Some(list) = autodetect(request.method(), uri, request.headers()) {
            return Route::Autodetect(list);
        }
        if self.namespace_list
            && let Some(target) = namespace_list::Target::of(request.method(), uri)
        {
            return Route::Namespaces(target);
        }
        let path = uri.path();
        let covered = readings(path).iter().find_map(|reading| {
            let covers =
                |target| Target::covers(target, reading).map(|spelling| (target, spelling));
            self.targets.iter().find_map(covers)
        });
        match covered {
            None => Route::Pass,
            Some((_, Spelling::Odd)) => Route::Refused(GatewayRefusal::Port),
            Some((target, Spelling::Plain)) => match Path::parse(path) {
                Ok(_) => Route::Prometheus(plain(target, uri)),
                Err(error) => Route::Refused(GatewayRefusal::Path(error)),
            },
        }
    }
}

/// Whether it is one of the two lists, in exactly the form in which the plugin asks for them.
fn autodetect(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<List> {
    let list = match uri.path() {
        "/api/v1/pods" => List::Pods,
        "/api/v1/services" => List::Services,
        _ => return None,
    };
    let mut parameters = form_urlencoded::parse(uri.query()?.as_bytes());
    let (key, value) = parameters.next()?;
    let asked = (&*key, &*value) == AUTODETECT && parameters.next().is_none();
    (asked && *method == Method::GET && accepts_json(headers)).then_some(list)
}

/// Whether plain JSON is what is asked for: no table, no other encoding.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut json = !headers.contains_key(ACCEPT);
    let values = headers.get_all(ACCEPT).iter();
    for range in values.flat_map(|value| value.to_str().unwrap_or_default().split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        // A parameter other than the preference asks for another form of the object.
        if parts.any(|parameter| !parameter.starts_with("q=")) {
            return false;
        }
        json |= matches!(media_type, "*/*" | "application/*" | "application/json");
    }
    json
}

/// The readings of a path: decoded; with empty and dot segments resolved, too; and both with these resolved
/// before decoding. One alone where all are the same.
fn readings(path: &str) -> Vec<Cow<'_, [u8]>> {
    let decoded: Cow<'_, [u8]> = percent_decode_str(path).into();
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return vec![decoded];
    }
    let cleaned = clean(&decoded);
    let decoded_last: Vec<u8> = percent_encoding::percent_decode(&clean(path.as_bytes())).collect();
    let cleaned_twice = clean(&decoded_last);
    let others = [cleaned, decoded_last, cleaned_twice].map(Cow::Owned);
    std::iter::once(decoded).chain(others).collect()
}

/// Resolves empty and dot segments (RFC 3986, 5.2.4; an empty segment counts as none, as in Go's `path.Clean`).
fn clean(path: &[u8]) -> Vec<u8> {
    let mut segments = Vec::new();
    for segment in path.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut cleaned = Vec::with_capacity(path.len());
    for segment in segments {
        cleaned.push(b'/');
        cleaned.extend_from_slice(segment);
    }
    cleaned
}

/// The target of a request below `target`, with the prefix written out and the rest as it came. The path must
/// be one whose segments all servers read alike.
fn plain(target: &Target, uri: &Uri) -> Uri {
    // "", api, v1, namespaces, NAMESPACE, KIND, NAME, proxy: eight segments.
    let rest = uri.path().splitn(9, '/').nth(8).unwrap_or_default();
    let mut text = format!("{}/{rest}", target.path());
    if let Some(query) = uri.query() {
        text = format!("{text}?{query}");
    }
    text.parse()
        .expect("parts of a target, put together, are one")
}

#[cfg(test)]
mod tests;
