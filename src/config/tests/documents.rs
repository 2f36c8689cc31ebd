//! Valid documents and what they mean.

use std::time::Duration;

use http::{HeaderName, header};

use super::{MINIMAL, parse, parse_more, parse_with};
use crate::config::*;
use crate::door::Door;
use crate::namespace::Namespace;

/// The document that the project promises to accept, as the README shows it.
const PROMISED: &str = r#"
listeners:
  service: { address: "0.0.0.0:9090" }        # tls: { certFile, keyFile }
  gateway: { address: "0.0.0.0:6443" }        # absent: no gateway; tls as above
  admin:   { address: "0.0.0.0:9091" }        # /metrics /livez /readyz
kubernetes: { kubeconfig: "" }                # empty: in-cluster, else the usual KUBECONFIG rules
authentication:
  audiences: []
  headlampCookie: true
  tokenHeaders: [authorization]
  cache: { ttl: 60s, rejectedTtl: 10s, staleFor: 10m, capacity: 10000 }
authorization:
  attributes: { verb: get, group: metrics.k8s.io, resource: pods }
  namespaceLabel: namespace
  metricRules:
    - { metrics: ["keda_*"], label: exported_namespace }
    - { metrics: ["karpenter_*", "volcano_*"], cluster: { verb: get, group: metrics.k8s.io, resource: nodes } }
  cache: { allowedTtl: 60s, deniedTtl: 10s, staleFor: 10m, capacity: 100000 }
upstreams:
  - name: default
    pathPrefix: /                             # the plugin's "subpath" selects an upstream
    url: http://prometheus.monitoring:9090    # or service: {namespace, name, port}, or pods: {namespace, selector, port}
limits: { maxQueryBytes: 131072, maxBodyBytes: 1048576, maxRange: 0s, maxPoints: 11000, concurrentPerCaller: 32 }
"#;

const SECOND: Duration = Duration::from_secs(1);

fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).expect(name)
}

fn attributes(resource: &str) -> ResourceAttributes {
    ResourceAttributes {
        verb: "get".into(),
        group: "metrics.k8s.io".into(),
        resource: resource.into(),
        subresource: String::new(),
    }
}

/// Every default, written out.
fn defaults() -> Config {
    Config {
        listeners: Listeners {
            service: Listener {
                address: ([0, 0, 0, 0], 9090).into(),
                tls: None,
            },
            gateway: None,
            admin: AdminListener {
                address: ([0, 0, 0, 0], 9091).into(),
            },
        },
        kubernetes: Kubernetes {
            kubeconfig: None,
            timeout: 3 * SECOND,
            request_timeout: Duration::from_secs(20),
            concurrent_reviews: 64,
        },
        authentication: Authentication {
            audiences: vec![],
            headlamp_cookie: true,
            token_headers: vec![header::AUTHORIZATION],
            cache: AuthenticationCache {
                ttl: 60 * SECOND,
                rejected_ttl: 10 * SECOND,
                stale_for: 600 * SECOND,
                capacity: 10_000,
            },
        },
        authorization: Authorization {
            attributes: attributes("pods"),
            namespace_label: "namespace".into(),
            namespaces: NamespaceSearch::All,
            namespace_parameters: vec![],
            metric_rules: vec![],
            changes: RightsChanges::Ttl,
            cache: AuthorizationCache {
                allowed_ttl: 60 * SECOND,
                denied_ttl: 10 * SECOND,
                watched_ttl: 300 * SECOND,
                stale_for: 600 * SECOND,
                capacity: 100_000,
            },
        },
        upstreams: vec![Upstream {
            name: "default".into(),
            path_prefix: "/".into(),
            address: UpstreamAddress::Url("http://prometheus.monitoring:9090".parse().expect("")),
            kind: UpstreamKind::Prometheus,
            tls: ClientTls::default(),
            bearer_token_file: None,
            headers: vec![],
            parameters: vec![],
            matchers: vec![],
            connect_timeout: 2 * SECOND,
            response_timeout: 110 * SECOND,
            idle_timeout: 60 * SECOND,
            sharing: Sharing {
                join: Door::ALL.to_vec(),
                align: vec![Door::Service, Door::Ingress, Door::Gateway],
                keep: vec![Door::Service, Door::Ingress, Door::Gateway],
                grid: 10 * SECOND,
                max_bytes: 64 * 1024 * 1024,
            },
        }],
        limits: Limits {
            max_query_bytes: 131_072,
            query: QueryLimits {
                max_depth: 200,
                max_operators: 1_000,
                max_selectors: 500,
                max_pattern_size: 131_072,
            },
            max_selectors: 256,
            max_parameters: 1_100,
            max_parameter_bytes: 1_024,
            max_body_bytes: 1_048_576,
            max_namespaces: 500,
            max_range: None,
            max_points: Some(11_000),
            concurrent_per_caller: 32,
            queued_per_caller: 1_024,
            concurrent: 4_096,
            queue_timeout: 10 * SECOND,
            max_duration: 300 * SECOND,
            header_timeout: 60 * SECOND,
            max_connections: 3_000,
            drain_timeout: 30 * SECOND,
        },
        readiness: Readiness {
            upstreams: NeededUpstreams::Any,
        },
        logging: Logging {
            level: "info".into(),
            audit: true,
            audit_query: AuditQuery::Hash,
            audit_groups: false,
            trusted_proxies: Vec::new(),
        },
        tracing: Tracing {
            endpoint: None,
            sample_ratio: Ratio::new(0.0).expect("a ratio"),
            timeout: 10 * SECOND,
            tls: ClientTls::default(),
            waiting: 2_048,
        },
    }
}

#[test]
fn an_address_of_prometheus_is_all_that_must_be_given() {
    assert_eq!(parse(MINIMAL), defaults());
}

#[test]
fn keys_without_a_value_have_their_defaults() {
    let nothing = "listeners:\n  gateway:\nlimits: {maxPoints: ~}\nlogging:\n";
    assert_eq!(parse_more(nothing), defaults());
}

#[test]
fn the_promised_document_means_what_it_says() {
    let mut expected = defaults();
    expected.listeners.gateway = Some(Gateway {
        address: ([0, 0, 0, 0], 6443).into(),
        tls: None,
        reserved_service: ServiceReference {
            namespace: namespace("monitoring"),
            name: "prom-rbac-proxy".into(),
            port: PortRef::Number(9090),
        },
        prometheus_services: vec![],
        namespace_list: false,
    });
    let prefix = |name: &str| MetricPattern::Prefix(name.into());
    expected.authorization.metric_rules = vec![
        MetricRule {
            metrics: vec![prefix("keda_")],
            rule: MetricAccess::Label("exported_namespace".into()),
        },
        MetricRule {
            metrics: vec![prefix("karpenter_"), prefix("volcano_")],
            rule: MetricAccess::Cluster(attributes("nodes")),
        },
    ];
    assert_eq!(parse(PROMISED), expected);
}

#[test]
fn every_key_can_be_set() {
    let config = parse(
        r#"
listeners:
  service: { address: "127.0.0.1:1", tls: { certFile: /a, keyFile: /b } }
  gateway:
    address: "[::1]:2"
    tls: { certFile: /c, keyFile: /d }
    answersFor: { namespace: ns, name: proxy, port: http }
    alsoAnswersFor:
      - { namespace: ns, name: prometheus, port: http-web }
      - { kind: pods, namespace: ns, name: prometheus-0.x, port: 9090 }
kubernetes: { kubeconfig: /k, timeout: 1500ms, concurrentReviews: 7 }
authentication: { audiences: [prom], headlampCookie: false, tokenHeaders: [X-Auth-Token, Authorization] }
authorization:
  attributes: { verb: list, group: "", resource: pods, subresource: log }
  namespaceLabel: kubernetes_namespace
  metricRules: [{ metrics: [up, "a:b*"], cluster: {} }, { metrics: [http.server.*], label: k8s.namespace.name }]
upstreams:
  - name: a
    pathPrefix: /a/b/
    service: { namespace: ns, name: thanos, port: "10902", scheme: https, basePath: /p/ }
    tls: { caFile: /ca, certFile: /e, keyFile: /f, serverName: thanos.example }
    bearerTokenFile: /t
    headers: { X-Scope-OrgID: "1" }
    parameters: [dedup, "replicaLabels[]"]
    matchers: { cluster: prod-1, region: eu }
    connectTimeout: 1s
    responseTimeout: 1h1m1s
    idleTimeout: 1d
  - name: b
    pathPrefix: /b
    kind: victoriametrics
    pods: { namespace: ns, selector: "app=prometheus,role in (a, b)", port: 9090 }
  - name: c
    pathPrefix: /c
    url: HTTPS://[::1]:9090/prometheus/
limits: { maxRange: 90d, maxPoints: 0, maxQueryBytes: 1e3, queueTimeout: 0 }
logging: { level: "info,prom_rbac_proxy=debug", audit: false, auditQuery: full }
tracing: { endpoint: "https://collector.observability/otlp/", sampleRatio: 0.05, timeout: 1s }
"#,
    );
    let tracing = &config.tracing;
    let endpoint = tracing.endpoint.as_ref().expect("a collector");
    assert_eq!(endpoint, "https://collector.observability/otlp/v1/traces");
    assert_eq!(tracing.sample_ratio.as_f64(), 0.05);
    assert_eq!(tracing.timeout, SECOND);
    let gateway = config.listeners.gateway.expect("a gateway");
    assert_eq!(gateway.reserved_service.port.to_string(), "http");
    let kinds: Vec<_> = gateway.prometheus_services.iter().map(|s| s.kind).collect();
    assert_eq!(kinds, [ProxyKind::Services, ProxyKind::Pods]);
    assert_eq!(gateway.prometheus_services[1].name, "prometheus-0.x");
    let tls = config.listeners.service.tls.expect("a certificate");
    assert_eq!((tls.cert_file, tls.key_file), ("/a".into(), "/b".into()));
    assert_eq!(config.kubernetes.kubeconfig, Some("/k".into()));
    assert_eq!(config.kubernetes.timeout, Duration::from_millis(1_500));
    assert_eq!(
        config.authentication.token_headers,
        [
            HeaderName::from_static("x-auth-token"),
            header::AUTHORIZATION
        ]
    );
    assert_eq!(config.authorization.attributes.subresource, "log");
    assert_eq!(config.authorization.attributes.group, "");
    assert_eq!(
        config.authorization.metric_rules,
        [
            MetricRule {
                metrics: vec![
                    MetricPattern::Exact("up".into()),
                    MetricPattern::Prefix("a:b".into())
                ],
                rule: MetricAccess::Cluster(attributes("nodes")),
            },
            MetricRule {
                metrics: vec![MetricPattern::Prefix("http.server.".into())],
                rule: MetricAccess::Label("k8s.namespace.name".into()),
            }
        ]
    );
    let [a, b, c] = &config.upstreams[..] else {
        panic!("three upstreams")
    };
    assert_eq!(a.kind, UpstreamKind::Prometheus);
    assert_eq!(b.kind, UpstreamKind::VictoriaMetrics);
    assert_eq!(a.path_prefix, "/a/b");
    assert_eq!(
        a.address,
        UpstreamAddress::Service {
            namespace: namespace("ns"),
            name: "thanos".into(),
            port: PortRef::Number(10_902),
            scheme: Scheme::Https,
            base_path: "/p".into(),
        }
    );
    assert_eq!(a.tls.server_name.as_deref(), Some("thanos.example"));
    assert_eq!(a.tls.client.as_ref().expect("a pair").key_file, *"/f");
    assert_eq!(a.headers[0].0, "x-scope-orgid");
    assert_eq!(a.headers[0].1.expose(), "1");
    assert_eq!(a.parameters, ["dedup", "replicaLabels[]"]);
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let matchers = [pair("cluster", "prod-1"), pair("region", "eu")];
    assert_eq!(a.matchers, matchers);
    assert_eq!(a.response_timeout, Duration::from_secs(3_661));
    assert_eq!(a.idle_timeout, Duration::from_secs(86_400));
    assert!(matches!(&b.address, UpstreamAddress::Pods { selector, .. } if selector.len() == 29));
    assert_eq!(b.address.scheme(), Scheme::Http);
    let UpstreamAddress::Url(url) = &c.address else {
        panic!("a URL")
    };
    assert_eq!(url, "https://[::1]:9090/prometheus");
    assert_eq!(c.address.scheme(), Scheme::Https);
    assert_eq!(
        config.limits.max_range,
        Some(Duration::from_secs(7_776_000))
    );
    assert_eq!(config.limits.max_points, None);
    assert_eq!(config.limits.max_query_bytes, 1_000);
    assert_eq!(config.limits.queue_timeout, Duration::ZERO);
    assert_eq!(config.logging.audit_query, AuditQuery::Full);
}

#[test]
fn secrets_are_not_in_the_debug_form() {
    let config =
        parse("upstreams: [{url: 'http://localhost', headers: {Authorization: Basic c2VjcmV0}}]");
    let shown = format!("{config:?}");
    assert!(shown.contains("[redacted]") && !shown.contains("c2VjcmV0"));
}

#[test]
fn plain_http_outside_of_loopback_is_allowed_with_a_warning() {
    let warnings = |text: &str| parse(text).warnings();
    let [service] = &warnings(MINIMAL)[..] else {
        panic!("one warning")
    };
    assert!(service.starts_with("listeners.service: plain HTTP"));
    let local = "listeners: {service: {address: '127.0.0.1:1'}, gateway: {address: '[::1]:2'}}\n";
    assert!(warnings(&format!("{local}{MINIMAL}")).is_empty());
    let all = parse_with(
        "upstreams: [{url: 'http://p', headers: {A: b}, responseTimeout: 1h}]",
        &[
            ("PROM_RBAC_PROXY_LISTENERS__GATEWAY", "{}"),
            ("PROM_RBAC_PROXY_LOGGING__AUDIT_QUERY", "full"),
        ],
    );
    let all = all.expect("valid").warnings();
    let keys: Vec<_> = all.iter().filter_map(|w| w.split(':').next()).collect();
    assert_eq!(
        keys,
        [
            "listeners.service",
            "listeners.gateway",
            "upstreams[0]",
            "upstreams[0].responseTimeout",
            "upstreams[0].responseTimeout",
            "logging.auditQuery"
        ]
    );
    assert!(all[3].contains("Headlamp gives up after 120 s"), "{all:?}");
}

#[test]
fn labels_that_old_releases_do_not_read_are_told_of() {
    let told = |text: &str| {
        let warnings = parse_more(text).warnings();
        let told = warnings.iter().filter(|text| text.contains("in quotes"));
        told.count()
    };
    assert_eq!(told(""), 0);
    assert_eq!(
        told("authorization: {namespaceLabel: k8s.namespace.name}"),
        1
    );
    let rule = "{metrics: [http.server.*], label: k8s.namespace.name}";
    assert_eq!(
        told(&format!("authorization: {{metricRules: [{rule}]}}")),
        1
    );
}
