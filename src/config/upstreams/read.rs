//! Reads `upstreams`.

use std::time::Duration;

use http::{HeaderName, header};

use super::{ClientTls, Scheme, SecretValue, Sharing, Upstream, UpstreamAddress, UpstreamKind};
use crate::config::fault::{named, quoted, wrong};
use crate::config::format::{
    BASE_PATH, HEADER_NAME, LABEL, NAMESPACE, OBJECT_NAME, PARAMETER, PATH, PATH_PREFIX, PLAIN,
    PORT, SECRET, SERVER_NAME, UPSTREAM_NAME, URL,
};
use crate::config::section::Section;
use crate::config::selector::SELECTOR;
use crate::config::{DAY, MILLISECOND, PortRef, TlsFiles, is_hop_by_hop};

/// First segments of paths that mean something else on the service listener.
const RESERVED_SEGMENTS: [&str; 4] = ["-", "api", "clusters", "federate"];

/// Parameters of Prometheus' own API. What they may hold is the endpoint table's business, and passing one
/// on as it is could undo a restriction.
const RESERVED_PARAMETERS: &[&str] = &[
    "end",
    "exclude_alerts",
    "file",
    "group_limit",
    "group_next_token",
    "limit",
    "limit_per_metric",
    "lookback_delta",
    "match",
    "match_target",
    "max_time",
    "metric",
    "min_time",
    "query",
    "rule_group",
    "rule_name",
    "scrapepool",
    "search",
    "start",
    "state",
    "stats",
    "step",
    "time",
    "timeout",
    "type",
];

pub(in crate::config) fn upstreams(root: &mut Section) -> Vec<Upstream> {
    let upstreams = root.list(
        "upstreams",
        "The Prometheus servers; each needs one of url, service and pods",
        Upstream::read,
    );
    let hint = "add - url: http://PROMETHEUS:9090";
    root.at_least_one("upstreams", upstreams.is_empty(), hint);
    refuse_repeated(root, "name", &upstreams, |upstream| &upstream.name);
    refuse_repeated(root, "pathPrefix", &upstreams, |upstream| {
        &upstream.path_prefix
    });
    upstreams.into_iter().flatten().collect()
}

/// What tells upstreams apart must differ.
fn refuse_repeated(
    root: &Section,
    key: &str,
    upstreams: &[Option<Upstream>],
    value: fn(&Upstream) -> &String,
) {
    let values: Vec<_> = upstreams
        .iter()
        .map(|upstream| upstream.as_ref().map(value))
        .collect();
    for (index, value) in values.iter().enumerate() {
        let Some(value) = value else { continue };
        if let Some(other) = values[..index].iter().position(|v| *v == Some(value)) {
            let problem = format!("{} is that of upstreams[{other}] too", quoted(value));
            let hint = format!("give each upstream a {key} of its own");
            root.fault(&format!("upstreams[{index}].{key}"), wrong(problem, hint));
        }
    }
}

impl Upstream {
    fn read(section: &mut Section) -> Option<Self> {
        let name = section.text(
            "name",
            "default",
            "Name in logs and metrics, of a-z, 0-9 and -; unique",
            &UPSTREAM_NAME,
        );
        let path_prefix = section.text(
            "pathPrefix",
            "/",
            "Requests under this path go here (the plugin's \"subpath\"); unique",
            &PATH_PREFIX,
        );
        let first = path_prefix[1..].split('/').next().unwrap_or_default();
        if RESERVED_SEGMENTS.contains(&first) {
            let problem = format!("/{first} is the start of another path of this program");
            section.fault("pathPrefix", wrong(problem, "start with another word"));
        }
        let address = address(section);
        let kind = section.choice(
            "kind",
            [
                ("prometheus", UpstreamKind::Prometheus),
                ("victoriametrics", UpstreamKind::VictoriaMetrics),
            ],
            "What it is; victoriametrics: times relative to now are taken too",
        );
        let tls = section.section("tls", "How HTTPS to it is set up", tls);
        let is_http = address
            .as_ref()
            .is_some_and(|address| address.scheme() == Scheme::Http);
        if is_http && tls != ClientTls::default() {
            let hint = "write https in its address, or remove tls";
            section.fault("tls", wrong("is of no use with plain http", hint));
        }
        let bearer_token_file = section.optional_text(
            "bearerTokenFile",
            "File with a bearer token to send, read again when it changes",
            &PATH,
        );
        let headers = headers(section);
        let authorizes = |(name, _): &(HeaderName, _)| name == header::AUTHORIZATION;
        if bearer_token_file.is_some() && headers.iter().any(authorizes) {
            let problem = "is set beside headers.authorization";
            section.fault("bearerTokenFile", wrong(problem, "keep one of the two"));
        }
        let parameters = parameters(section);
        let matchers = matchers(section);
        let connect_timeout = timeout(section, "connectTimeout", "2s", "Longest time to connect");
        let response_timeout = timeout(
            section,
            "responseTimeout",
            "110s",
            "Longest time until the head of its answer",
        );
        let idle_timeout = timeout(
            section,
            "idleTimeout",
            "60s",
            "Longest time between two pieces of its answer",
        );
        let sharing = section.section(
            "sharing",
            "Which of its answers several callers get",
            Sharing::read,
        );
        Some(Self {
            name,
            path_prefix,
            address: address?,
            kind,
            tls,
            bearer_token_file,
            headers,
            parameters,
            matchers,
            connect_timeout,
            response_timeout,
            idle_timeout,
            sharing,
        })
    }
}

fn address(section: &mut Section) -> Option<UpstreamAddress> {
    let url = section.optional_text(
        "url",
        "One address, with a path if Prometheus has one",
        &URL,
    );
    let service = section.optional("service", "The ready pods of a Service", |section| {
        let (namespace, name) = (
            section.required_text("namespace", "Namespace of the Service", &NAMESPACE),
            section.required_text("name", "Name of the Service", &OBJECT_NAME),
        );
        let Pods { port, scheme, base } = pods(section, "Port of the Service, by number or name");
        Some(UpstreamAddress::Service {
            namespace: namespace?,
            name: name?,
            port: port?,
            scheme,
            base_path: base,
        })
    });
    let selected = section.optional("pods", "The ready pods with certain labels", |section| {
        let (namespace, selector) = (
            section.required_text("namespace", "Namespace of the pods", &NAMESPACE),
            section.required_text("selector", "Label selector, as of kubectl -l", &SELECTOR),
        );
        let Pods { port, scheme, base } = pods(section, "Port of the pods, by number or name");
        Some(UpstreamAddress::Pods {
            namespace: namespace?,
            selector: selector?,
            port: port?,
            scheme,
            base_path: base,
        })
    });
    section.exactly_one(&["url", "service", "pods"]);
    url.map(UpstreamAddress::Url)
        .or(service.flatten())
        .or(selected.flatten())
}

/// What both ways to name pods share.
struct Pods {
    port: Option<PortRef>,
    scheme: Scheme,
    base: String,
}

fn pods(section: &mut Section, port: &str) -> Pods {
    Pods {
        port: section.required_text("port", port, &PORT),
        scheme: section.choice(
            "scheme",
            [("http", Scheme::Http), ("https", Scheme::Https)],
            "What the pods speak",
        ),
        base: section.text("basePath", "", "Path before Prometheus' own", &BASE_PATH),
    }
}

fn tls(section: &mut Section) -> ClientTls {
    let ca_file = section.optional_text(
        "caFile",
        "PEM file with the authorities to trust; empty: the system's",
        &PATH,
    );
    let cert_file = section.optional_text(
        "certFile",
        "PEM file with the proxy's own certificate, if it must show one",
        &PATH,
    );
    let key_file = section.optional_text("keyFile", "PEM file with that certificate's key", &PATH);
    section.together("certFile", "keyFile");
    let server_name = section.optional_text(
        "serverName",
        "Name that the certificate must have; empty: the host",
        &SERVER_NAME,
    );
    ClientTls {
        ca_file,
        client: cert_file
            .zip(key_file)
            .map(|(cert_file, key_file)| TlsFiles {
                cert_file,
                key_file,
            }),
        server_name,
    }
}

fn headers(section: &mut Section) -> Vec<(HeaderName, SecretValue)> {
    let given = section.map(
        "headers",
        "Fixed headers to send, such as X-Scope-OrgID",
        &SECRET,
    );
    let mut headers: Vec<(HeaderName, SecretValue)> = Vec::new();
    for (text, value) in given {
        let key = format!("headers.{}", named(&text));
        let Ok(name) = (HEADER_NAME.read)(&text) else {
            let hint = "use letters, digits and - as in X-Scope-OrgID";
            section.fault(&key, wrong("is not the name of a header", hint));
            continue;
        };
        let framing = [header::HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE];
        if is_hop_by_hop(&name) || framing.contains(&name) {
            section.fault(&key, wrong("is set by the proxy itself", "remove it"));
        } else if headers.iter().any(|(other, _)| *other == name) {
            section.fault(&key, wrong("is there twice", "capitals make no difference"));
        } else {
            headers.push((name, value));
        }
    }
    headers
}

fn parameters(section: &mut Section) -> Vec<String> {
    let parameters = section.texts(
        "parameters",
        &[],
        "Further query parameters that callers may pass on, such as dedup",
        &PARAMETER,
    );
    refuse_reserved(section, "parameters", &parameters);
    parameters
}

fn matchers(section: &mut Section) -> Vec<(String, String)> {
    let given = section.map(
        "matchers",
        "Labels that every series must have for any caller, such as cluster: prod-1",
        &PLAIN,
    );
    let mut matchers = Vec::new();
    for (label, value) in given {
        match (LABEL.read)(&label) {
            Ok(label) => matchers.push((label, value)),
            Err(wrong) => section.fault(&format!("matchers.{}", named(&label)), wrong),
        }
    }
    matchers
}

/// The names under `key` must be none of Prometheus' own parameters, and each there once.
pub(in crate::config) fn refuse_reserved(section: &mut Section, key: &str, parameters: &[String]) {
    for (index, name) in parameters.iter().enumerate() {
        let place = format!("{key}[{index}]");
        let bare = name.trim_end_matches("[]").to_ascii_lowercase();
        if RESERVED_PARAMETERS.contains(&bare.as_str()) {
            let problem = format!("\"{name}\" is a parameter of Prometheus' API");
            section.fault(
                &place,
                wrong(problem, "remove it: the proxy sends it where it belongs"),
            );
        } else if parameters[..index].contains(name) {
            section.fault(
                &place,
                wrong(format!("\"{name}\" is there twice"), "remove one"),
            );
        }
    }
}

fn timeout(section: &mut Section, key: &'static str, default: &str, doc: &str) -> Duration {
    section.duration(key, default, MILLISECOND..=DAY, doc)
}
