//! Documents that say something impossible, and what the operator reads about it.

use super::{faults_of, faults_with, parse_more, parse_with};
use crate::config::{Config, LoadError};

/// Expects exactly one line for each document below the minimal one.
fn expect(cases: &[(&str, &str)]) {
    for (text, line) in cases {
        assert_eq!(faults_of(text), [*line], "{text}");
    }
}

#[test]
fn a_number_is_no_duration() {
    let line = "authentication.cache.ttl: \"60\" is not a duration; \
                write a number with a unit such as 60s, 10m or 1h";
    expect(&[
        ("authentication: {cache: {ttl: 60}}", line),
        ("authentication: {cache: {ttl: '60'}}", line),
    ]);
    for text in [
        "''", "s", "1 s", "1.5s", "-1s", "1S", "s1", "1w", "1h30", "1é", "９s",
    ] {
        let [line] = &faults_of(&format!("limits: {{maxRange: {text}}}"))[..] else {
            panic!("one line for {text}")
        };
        assert!(line.contains("is not a duration"), "{line}");
    }
    let long = "99999999999999999999999s";
    assert_eq!(faults_of(&format!("limits: {{maxRange: {long}}}")).len(), 1);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    expect(&[
        (
            "authentication: {cach: {ttl: 1s}}",
            "authentication.cach: is not a known key; did you mean cache?",
        ),
        (
            "limits: {max_query_bytes: 5}",
            "limits.max_query_bytes: is not a known key; did you mean maxQueryBytes?",
        ),
        (
            "kubernetes: {zzz: 5}",
            "kubernetes.zzz: is not a known key; the keys here are kubeconfig, timeout, requestTimeout, \
             concurrentReviews",
        ),
        (
            "upstream: []",
            "upstream: is not a known key; did you mean upstreams?",
        ),
        (
            "\"a\\nb\": 1",
            "\"a\\nb\": is not a known key; the keys here are caches, listeners, kubernetes, \
             authentication, authorization, upstreams, limits, readiness, logging, tracing",
        ),
    ]);
}

#[test]
fn values_of_another_kind_are_refused_by_kind() {
    expect(&[
        ("limits: []", "limits: is a list where keys are expected"),
        (
            "authentication: {audiences: a}",
            "authentication.audiences: is a text where a list is expected; \
             write audiences: [...] or a line with - for each",
        ),
        (
            "authentication: {audiences: [1]}",
            "authentication.audiences[0]: is a number where text is expected; put it in quotes",
        ),
        (
            "authentication: {headlampCookie: 'yes'}",
            "authentication.headlampCookie: \"yes\" is not true or false",
        ),
        (
            "limits: {maxPoints: many}",
            "limits.maxPoints: \"many\" is not a whole number; write 0 to 4294967295",
        ),
        (
            "limits: {maxPoints: 1.5}",
            "limits.maxPoints: \"1.5\" is not a whole number; write 0 to 4294967295",
        ),
        (
            "limits: {concurrent: []}",
            "limits.concurrent: a list is not a whole number; write 1 to 1000000",
        ),
        (
            "logging: {auditQuery: {}}",
            "logging.auditQuery: a map of keys is not a choice; write one of hash, none, full",
        ),
        (
            "logging: {level: {}}",
            "logging.level: is a map of keys where text is expected",
        ),
    ]);
    let not_a_map = faults_with("[]", &[]);
    assert_eq!(
        not_a_map,
        ["the document: is a list where keys are expected"]
    );
}

#[test]
fn numbers_and_durations_have_a_range() {
    expect(&[
        (
            "authentication: {cache: {capacity: 0}}",
            "authentication.cache.capacity: 0 is out of range; write 1 to 10000000",
        ),
        (
            "authorization: {cache: {capacity: -1}}",
            "authorization.cache.capacity: \"-1\" is not a whole number; write 1 to 10000000",
        ),
        (
            "limits: {concurrent: 99999999999}",
            "limits.concurrent: \"99999999999\" is out of range; write 1 to 1000000",
        ),
        (
            "kubernetes: {timeout: 0s}",
            "kubernetes.timeout: 0s is out of range; write 1ms to 3600s",
        ),
    ]);
}

#[test]
fn a_collector_has_an_address_and_a_ratio_is_a_part_of_one() {
    for ratio in ["1.1", "-0.1", "'0.5'", "[]", "5%"] {
        let [line] = &faults_of(&format!("tracing: {{sampleRatio: {ratio}}}"))[..] else {
            panic!("one line for {ratio}")
        };
        let said = "is not a number from 0 to 1; write it like 0.05";
        assert!(line.ends_with(said), "{line}");
    }
    expect(&[
        (
            "tracing: {endpoint: 'collector:4318'}",
            "tracing.endpoint: \"collector:4318\" does not start with http:// or https://; \
             write http://HOST:4318 or https://HOST",
        ),
        (
            "tracing: {endpoint: 'http://user:word@collector'}",
            "tracing.endpoint: the value has a user name or password; \
             write http://HOST:4318 or https://HOST",
        ),
        (
            "tracing: {endpoint: 'http://collector:4318/v1/traces'}",
            "tracing.endpoint: ends with /v1/traces; leave it out: it is added",
        ),
        (
            "tracing: {timeout: 0s}",
            "tracing.timeout: 0s is out of range; write 1ms to 3600s",
        ),
    ]);
    let without = parse_more("tracing: {sampleRatio: 1}").warnings();
    let said = "tracing.sampleRatio: means nothing without a collector: set tracing.endpoint, or OTEL_EXPORTER_OTLP_ENDPOINT";
    assert!(without.iter().any(|line| line == said), "{without:?}");
}

#[test]
fn lifetimes_that_do_not_fit_how_changes_are_noticed_are_warned_of() {
    let told = |changes: &str, cache: &str| {
        let text = format!("authorization: {{changes: {changes}, cache: {{{cache}}}}}");
        let warnings = parse_more(&text).warnings();
        let told = warnings.into_iter();
        let told = told.filter(|line| line.starts_with("authorization.cache."));
        told.map(|line| line["authorization.cache.".len()..].to_owned())
            .collect::<Vec<_>>()
    };
    for (changes, cache) in [
        ("ttl", ""),
        ("ttl", "allowedTtl: 5m, watchedTtl: 0s"),
        ("watch", ""),
        ("watch", "watchedTtl: 0s"),
        ("watch", "watchedTtl: 1h"),
        ("watch", "allowedTtl: 2m, watchedTtl: 3m"),
    ] {
        assert_eq!(told(changes, cache), [""; 0], "{changes} {cache}");
    }
    for (changes, cache, expected) in [
        (
            "ttl",
            "allowedTtl: 10m",
            "allowedTtl: a right that was taken away",
        ),
        ("ttl", "watchedTtl: 1h", "watchedTtl: means nothing without"),
        (
            "watch",
            "allowedTtl: 10m",
            "allowedTtl: while changes cannot",
        ),
        (
            "watch",
            "watchedTtl: 60s",
            "watchedTtl: means nothing, as allowedTtl",
        ),
    ] {
        let told = told(changes, cache);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    }
}

#[test]
fn keys_are_compared_with_each_other() {
    expect(&[
        (
            "listeners: {admin: {address: '127.0.0.1:9090'}}",
            "listeners.admin.address: 127.0.0.1:9090 is taken by listeners.service.address; \
             give each listener a port of its own",
        ),
        (
            "listeners: {service: {tls: {certFile: /a}}}",
            "listeners.service.tls.keyFile: is missing; PEM file with the private key",
        ),
        (
            "authentication: {cache: {ttl: 5s}}",
            "authentication.cache.rejectedTtl: is longer than ttl; \
             lower it, or a caller who was let in again waits longer than others",
        ),
        (
            "authorization: {cache: {deniedTtl: 2m}}",
            "authorization.cache.deniedTtl: is longer than allowedTtl; \
             lower it, or a caller who was just granted access waits for long",
        ),
        (
            "limits: {maxBodyBytes: 2048}",
            "limits.maxBodyBytes: is less than maxQueryBytes; raise it: a query is sent in a body too",
        ),
        (
            "authentication: {tokenHeaders: [], headlampCookie: false}",
            "authentication.tokenHeaders: is empty and headlampCookie is false, so that nobody can be \
             known; add authorization",
        ),
    ]);
    parse_more("listeners: {service: {address: '0.0.0.0:0'}, admin: {address: '0.0.0.0:0'}}");
    parse_more("listeners: {service: {address: '127.0.0.1:1'}, admin: {address: '127.0.0.2:1'}}");
}

#[test]
fn token_headers_are_headers_that_can_carry_a_token() {
    expect(&[
        (
            "authentication: {tokenHeaders: [cookie]}",
            "authentication.tokenHeaders[0]: \"cookie\" cannot carry a token; \
             use authorization or a header of your own",
        ),
        (
            "authentication: {tokenHeaders: [x-a, X-A]}",
            "authentication.tokenHeaders[1]: \"x-a\" stands here twice; remove one",
        ),
        (
            "authentication: {tokenHeaders: [x a]}",
            "authentication.tokenHeaders[0]: \"x a\" is not the name of a header; \
             use letters, digits and - as in X-Auth-Token",
        ),
    ]);
}

#[test]
fn metric_rules_are_exact_names_or_prefixes_with_one_access() {
    let cases = [
        (
            "{metrics: ['a*b'], label: x}",
            ".metrics[0]: \"a*b\" has a * that is not at its end; write * at the end only, as in keda_*",
        ),
        (
            "{metrics: ['*'], label: x}",
            ".metrics[0]: \"*\" means every metric; \
             set authorization.namespaceLabel or authorization.attributes for that",
        ),
        (
            "{metrics: [up time], label: x}",
            ".metrics[0]: \"up time\" is not the name of a metric; write it as in keda_scaler_active or http.server.*",
        ),
        (
            "{metrics: ['http.{*'], label: x}",
            ".metrics[0]: \"http.{*\" is not the name of a metric; write it as in keda_scaler_active or http.server.*",
        ),
        (
            "{metrics: [up], label: 'namespace=x'}",
            ".label: \"namespace=x\" is not the name of a label; \
             write it as in namespace or k8s.namespace.name, not starting with a digit or __",
        ),
        ("{label: x}", ".metrics: is missing; write it like [keda_*]"),
        (
            "{metrics: [], label: x}",
            ".metrics: is empty; write it like [keda_*]",
        ),
        (
            "{metrics: [up]}",
            ": has none of label, cluster; give exactly one of label, cluster",
        ),
        (
            "{metrics: [up], label: x, cluster: {}}",
            ": has both label and cluster; give exactly one of label, cluster",
        ),
        (
            "{metrics: [up], label: __name__}",
            ".label: \"__name__\" is not the name of a label; \
             write it as in namespace or k8s.namespace.name, not starting with a digit or __",
        ),
        (
            "{metrics: [up], cluster: {verb: '*'}}",
            ".cluster.verb: \"*\" cannot be reviewed; use letters, digits, . and -; \
             a wildcard asks for everything and is refused",
        ),
        (
            "{metrics: [up, up], label: x}",
            ".metrics[1]: stands in an earlier place too; keep the one that is meant",
        ),
    ];
    for (rule, rest) in cases {
        let text = format!("authorization: {{metricRules: [{rule}]}}");
        let line = format!("authorization.metricRules[0]{rest}");
        assert_eq!(faults_of(&text), [line], "{text}");
    }
}

#[test]
fn k02_names_of_namespaces_and_labels_are_plain() {
    for name in ["''", "'*'", "a/b", "..", "TEAM-A", "' '"] {
        let text = format!("listeners: {{gateway: {{answersFor: {{namespace: {name}}}}}}}");
        let [line] = &faults_of(&text)[..] else {
            panic!("one line for {name}")
        };
        assert!(line.contains("is not the name of a namespace"), "{line}");
    }
    assert_eq!(
        faults_of("authorization: {namespaceLabel: 'a\"} or b{'}").len(),
        1
    );
}

#[test]
fn all_faults_are_reported_at_once_in_the_documents_order() {
    let text = "
listeners: {service: {address: here}, admin: {address: '0.0.0.0:6443'}, gateway: {}}
authentication: {cache: {ttl: 60, capacity: 0}}
authorization: {metricRules: [{metrics: ['*'], label: a}, {metrics: [up]}]}
upstreams: [{url: 'http://a'}, {url: nowhere, conectTimeout: 1s}, {url: 'http://a'}]
limits: 5
";
    let lines = faults_with(text, &[("PROM_RBAC_PROXY_LOGGING__AUDIT", "maybe")]);
    let keys: Vec<_> = lines
        .iter()
        .map(|line| line.split(": ").next().unwrap_or_default())
        .collect();
    assert_eq!(
        keys,
        [
            "listeners.service.address",
            "listeners.admin.address",
            "authentication.cache.ttl",
            "authentication.cache.capacity",
            "authorization.metricRules[0].metrics[0]",
            "authorization.metricRules[1]",
            "upstreams[1].url",
            "upstreams[1].conectTimeout",
            "upstreams[2].name",
            "upstreams[2].pathPrefix",
            "limits",
            "logging.audit (PROM_RBAC_PROXY_LOGGING__AUDIT)",
        ]
    );
}

#[test]
fn a_long_value_is_cut_in_the_message() {
    for c in ["x", "\\u0001", "\u{1F980}"] {
        let [line] = &faults_of(&format!("logging: {{auditQuery: \"{}\"}}", c.repeat(500)))[..]
        else {
            panic!("one line")
        };
        let quoted = line
            .split("auditQuery: ")
            .nth(1)
            .and_then(|l| l.split(" is not").next());
        let length = quoted.expect("a value").chars().count();
        assert!(length <= 80, "{length}: {line}");
    }
}

#[test]
fn what_is_no_yaml_is_told_with_its_line_and_without_its_text() {
    for (text, line, problem) in [
        ("a: 1\nb: [hidden", 2, "unclosed bracket '['"),
        (
            "a: 1\nb: 1\na: hidden",
            3,
            "the key a stands twice in one map",
        ),
        (
            "a: 1\n---\nb: hidden",
            3,
            "there is more than one document; remove all but one",
        ),
        (
            "a: b: hidden",
            1,
            "mapping values are not allowed in this context",
        ),
    ] {
        let error = parse_with(text, &[]).expect_err("no YAML");
        assert_eq!(
            error.to_string(),
            format!("not valid YAML at line {line}: {problem}")
        );
    }
    let deep = "[".repeat(100_000);
    let error = Config::parse(&deep, std::iter::empty()).expect_err("too deep");
    assert!(matches!(error, LoadError::Syntax { line: Some(1), .. }));
}
