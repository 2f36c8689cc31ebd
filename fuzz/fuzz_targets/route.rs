//! Any target of a request at the gateway: what leads to a Prometheus in the reading of some server is answered here or
//! refused, and what is answered has one reading.

#![no_main]

use std::sync::LazyLock;

use http::Uri;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use prom_rbac_proxy::config::{AnsweredTarget, Gateway, PortRef, ProxyKind, ServiceReference};
use prom_rbac_proxy::gateway::{Routed, routed};
use prom_rbac_proxy::namespace::Namespace;
use prom_rbac_proxy::prometheus::Path;

static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| {
    let namespace = Namespace::parse("monitoring").expect("a name");
    Gateway {
        address: ([127, 0, 0, 1], 0).into(),
        tls: None,
        reserved_service: ServiceReference {
            namespace: namespace.clone(),
            name: "proxy".to_owned(),
            port: PortRef::Number(9090),
        },
        prometheus_services: vec![AnsweredTarget {
            kind: ProxyKind::Pods,
            namespace,
            name: "prometheus-0".to_owned(),
            port: PortRef::Name("web".to_owned()),
        }],
        namespace_list: false,
    }
});

const PREFIXES: [&str; 2] = [
    "/api/v1/namespaces/monitoring/services/proxy:9090/proxy",
    "/api/v1/namespaces/monitoring/pods/prometheus-0:web/proxy",
];

/// Empty and dot segments resolved.
fn resolved(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Whether a path is that of a target or below it.
fn leads_there(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        let rest = path.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fuzz_target!(|text: &str| {
    let Ok(uri) = text.parse::<Uri>() else { return };
    if !uri.path().starts_with('/') {
        return;
    }
    let decoded = percent_decode_str(uri.path()).decode_utf8_lossy();
    match routed(&GATEWAY, &uri) {
        Routed::Answered(plain) => {
            assert!(leads_there(plain.path()));
            let path = Path::parse(plain.path()).expect("what is answered has one reading");
            assert!(!path.rest.contains("//"));
            assert_eq!(plain.query(), uri.query());
            // Nothing is lost of what follows the prefix.
            let rest = PREFIXES
                .iter()
                .find_map(|prefix| plain.path().strip_prefix(prefix));
            let rest = rest.expect("it leads there").trim_start_matches('/');
            assert!(uri.path().ends_with(rest));
        }
        Routed::Passed => {
            let decoded_last = resolved(uri.path());
            let decoded_last = percent_decode_str(&decoded_last).decode_utf8_lossy();
            for reading in [&*decoded, &resolved(&decoded), &resolved(&decoded_last)] {
                assert!(!leads_there(reading), "{reading}");
            }
        }
        Routed::Refused => {}
    }
});
