//! Overrides from environment variables.

use std::time::Duration;

use super::{MINIMAL, faults_with, parse, parse_with};
use crate::config::{Config, UpstreamAddress};

fn overridden(variables: &[(&str, &str)]) -> Config {
    parse_with(MINIMAL, variables).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_variable_overrides_a_key_of_any_kind() {
    let config = overridden(&[
        ("PROM_RBAC_PROXY_AUTHENTICATION__CACHE__REJECTED_TTL", "5s"),
        ("PROM_RBAC_PROXY_AUTHENTICATION__HEADLAMP_COOKIE", "false"),
        ("PROM_RBAC_PROXY_AUTHENTICATION__AUDIENCES", "[a, b]"),
        ("PROM_RBAC_PROXY_LIMITS__MAX_POINTS", "5"),
        ("PROM_RBAC_PROXY_LOGGING__AUDIT_QUERY", "none"),
        ("PROM_RBAC_PROXY_LOGGING__LEVEL", "debug"),
        ("PROM_RBAC_PROXY_TRACING__ENDPOINT", "http://collector:4318"),
        ("PROM_RBAC_PROXY_TRACING__SAMPLE_RATIO", "1"),
        (
            "PROM_RBAC_PROXY_LISTENERS__ADMIN",
            "{address: '127.0.0.1:0'}",
        ),
        ("PROM_RBAC_PROXYX", "somebody else's"),
        ("HOME", "/"),
    ]);
    assert_eq!(
        config.authentication.cache.rejected_ttl,
        Duration::from_secs(5)
    );
    assert!(!config.authentication.headlamp_cookie);
    assert_eq!(config.authentication.audiences, ["a", "b"]);
    assert_eq!(config.limits.max_points, Some(5));
    assert_eq!(config.logging.level, "debug");
    assert!(config.tracing.endpoint.is_some());
    assert_eq!(config.tracing.sample_ratio.as_f64(), 1.0);
    assert_eq!(config.listeners.admin.address, ([127, 0, 0, 1], 0).into());
}

#[test]
fn a_variable_for_a_text_is_taken_as_it_is() {
    let config = overridden(&[
        ("PROM_RBAC_PROXY_UPSTREAMS__0__NAME", "1"),
        (
            "PROM_RBAC_PROXY_UPSTREAMS__0__HEADERS__X_SCOPE_ORGID",
            "007: [x",
        ),
        ("PROM_RBAC_PROXY_UPSTREAMS__0__BEARER_TOKEN_FILE", "true"),
    ]);
    assert_eq!(config.upstreams[0].name, "1");
    assert_eq!(config.upstreams[0].headers[0].0, "x-scope-orgid");
    assert_eq!(config.upstreams[0].headers[0].1.expose(), "007: [x");
    assert_eq!(config.upstreams[0].bearer_token_file, Some("true".into()));
}

#[test]
fn elements_of_lists_are_replaced_or_added() {
    let config = overridden(&[
        ("PROM_RBAC_PROXY_UPSTREAMS__0__URL", "http://other/x"),
        ("PROM_RBAC_PROXY_UPSTREAMS__1__NAME", "second"),
        ("PROM_RBAC_PROXY_UPSTREAMS__1__PATH_PREFIX", "/second"),
        (
            "PROM_RBAC_PROXY_UPSTREAMS__1__PODS",
            "{namespace: a, selector: app=b, port: 1}",
        ),
        ("PROM_RBAC_PROXY_UPSTREAMS__1__PODS__PORT", "web"),
        (
            "PROM_RBAC_PROXY_AUTHENTICATION__TOKEN_HEADERS__0",
            "x-token",
        ),
        (
            "PROM_RBAC_PROXY_AUTHENTICATION__TOKEN_HEADERS__1",
            "x-other",
        ),
    ]);
    let UpstreamAddress::Url(url) = &config.upstreams[0].address else {
        panic!("a URL")
    };
    assert_eq!(url, "http://other/x");
    assert!(matches!(
        &config.upstreams[1].address,
        UpstreamAddress::Pods { port, .. } if port.to_string() == "web"
    ));
    assert_eq!(config.authentication.token_headers, ["x-token", "x-other"]);
}

#[test]
fn an_empty_document_can_be_filled_by_variables_alone() {
    let url = (
        "PROM_RBAC_PROXY_UPSTREAMS__0__URL",
        "http://prometheus.monitoring:9090",
    );
    assert_eq!(parse_with("", &[url]).expect("valid"), parse(MINIMAL));
}

#[test]
fn a_variable_turns_a_section_on_and_off() {
    let on = [("PROM_RBAC_PROXY_LISTENERS__GATEWAY__ADDRESS", "127.0.0.1:0")];
    assert!(overridden(&on).listeners.gateway.is_some());
    let off = [("PROM_RBAC_PROXY_LISTENERS__GATEWAY", "")];
    let text = format!("listeners: {{gateway: {{}}}}\n{MINIMAL}");
    let config = parse_with(&text, &off).expect("valid");
    assert!(config.listeners.gateway.is_none());
}

#[test]
fn variables_that_kubernetes_sets_for_services_are_passed_over() {
    overridden(&[
        ("PROM_RBAC_PROXY_SERVICE_HOST", "10.0.0.1"),
        ("PROM_RBAC_PROXY_SERVICE_PORT", "9090"),
        ("PROM_RBAC_PROXY_SERVICE_PORT_HTTP", "9090"),
        ("PROM_RBAC_PROXY_PORT", "tcp://10.0.0.1:9090"),
        ("PROM_RBAC_PROXY_PORT_9090_TCP", "tcp://10.0.0.1:9090"),
        ("PROM_RBAC_PROXY_PORT_9090_TCP_PROTO", "tcp"),
        ("PROM_RBAC_PROXY_PORT_9090_TCP_PORT", "9090"),
        ("PROM_RBAC_PROXY_PORT_9090_TCP_ADDR", "10.0.0.1"),
        ("PROM_RBAC_PROXY_METRICS_SERVICE_HOST", "10.0.0.2"),
        ("PROM_RBAC_PROXY_METRICS_PORT_9091_TCP_ADDR", "10.0.0.2"),
    ]);
}

#[test]
fn a_variable_that_overrides_nothing_is_a_fault_that_names_it() {
    let faults = faults_with(
        MINIMAL,
        &[
            ("PROM_RBAC_PROXY_LOG", "debug"),
            ("PROM_RBAC_PROXY_LOGGING__LEVLE", "debug"),
            ("PROM_RBAC_PROXY_LISTENERS__GATWAY__ADDRESS", "127.0.0.1:1"),
            ("PROM_RBAC_PROXY_UPSTREAMS__2__URL", "http://secret"),
            ("PROM_RBAC_PROXY_LIMITS__MAXRANGE__X", "1"),
        ],
    );
    let no = "overrides no key of the configuration";
    assert_eq!(
        faults,
        [
            format!(
                "PROM_RBAC_PROXY_LIMITS__MAXRANGE__X: {no}; did you mean PROM_RBAC_PROXY_LIMITS__MAX_RANGE?"
            ),
            format!(
                "PROM_RBAC_PROXY_LISTENERS__GATWAY__ADDRESS: {no}; \
                 did you mean PROM_RBAC_PROXY_LISTENERS__GATEWAY__ADDRESS?"
            ),
            format!(
                "PROM_RBAC_PROXY_LOG: {no}; write PROM_RBAC_PROXY_ and the key's levels, \
                 with __ between them"
            ),
            format!(
                "PROM_RBAC_PROXY_LOGGING__LEVLE: {no}; did you mean PROM_RBAC_PROXY_LOGGING__LEVEL?"
            ),
            format!(
                "PROM_RBAC_PROXY_UPSTREAMS__2__URL: {no}; did you mean PROM_RBAC_PROXY_UPSTREAMS__0__URL?"
            ),
        ]
    );
}

#[test]
fn a_fault_of_a_variable_names_key_and_variable() {
    let faults = faults_with(
        MINIMAL,
        &[
            ("PROM_RBAC_PROXY_KUBERNETES__TIMEOUT", "5d"),
            ("PROM_RBAC_PROXY_LIMITS", "{maxPoint: 1, maxRange: 5}"),
            ("PROM_RBAC_PROXY_LOGGING__AUDIT", "yes"),
        ],
    );
    assert_eq!(
        faults,
        [
            "kubernetes.timeout (PROM_RBAC_PROXY_KUBERNETES__TIMEOUT): 432000s is out of range; \
             write 1ms to 3600s",
            "limits.maxRange (PROM_RBAC_PROXY_LIMITS): \"5\" is not a duration; \
             write a number with a unit such as 60s, 10m or 1h",
            "limits.maxPoint (PROM_RBAC_PROXY_LIMITS): is not a known key; did you mean maxPoints?",
            "logging.audit (PROM_RBAC_PROXY_LOGGING__AUDIT): \"yes\" is not true or false",
        ]
    );
}
