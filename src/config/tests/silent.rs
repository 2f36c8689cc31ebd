//! What would be accepted by whoever reads it in the end, and would then mean nothing.

use super::{faults_of, faults_with, parse, parse_more};

#[test]
fn a_word_that_is_no_level_does_not_silence_the_log() {
    for level in [
        "warning",
        "prom_rbac_proxy",
        "info,authz",
        "info,",
        "=debug",
        "Info",
        "a=loud",
    ] {
        let faults = faults_of(&format!("logging: {{level: \"{level}\"}}"));
        assert!(
            faults[0].starts_with(&format!("logging.level: \"{level}\" is neither a level")),
            "{faults:?}"
        );
    }
    for level in ["warn", "INFO", "off", "info, prom_rbac_proxy::authz=debug"] {
        parse_more(&format!("logging: {{level: \"{level}\"}}"));
    }
}

#[test]
fn a_metric_rule_behind_a_wider_one_is_refused() {
    let rules = |rules: &str| format!("authorization: {{metricRules: [{rules}]}}");
    let wide = "{metrics: ['capi_*'], cluster: {}}";
    let narrow = "{metrics: ['capi_cluster_*', up], label: cluster_namespace}";
    assert_eq!(
        faults_of(&rules(&format!("{wide}, {narrow}"))),
        [
            "authorization.metricRules[1].metrics[0]: is never looked at, since metricRules[0] has capi_*; \
             move the narrower rule before it"
        ]
    );
    parse_more(&rules(&format!("{narrow}, {wide}")));
    parse_more(&rules(
        "{metrics: ['a_*', a_b], label: x}, {metrics: [a], label: y}",
    ));
}

#[test]
fn a_selector_that_kubernetes_would_refuse_is_refused() {
    let pods = |selector: &str| {
        format!("upstreams: [{{pods: {{namespace: a, selector: '{selector}', port: 9090}}}}]")
    };
    let faults = faults_with(&pods("app b"), &[]);
    assert!(
        faults[0].starts_with("upstreams[0].pods.selector: \"app b\" is not a label selector"),
        "{faults:?}"
    );
    parse(&pods("app.kubernetes.io/name=prometheus,tier in (a, b)"));
}

#[test]
fn strict_caches_are_other_defaults_and_what_is_written_still_counts() {
    let lifetimes = |text: &str| {
        let config = parse_more(text);
        let (tokens, access) = (config.authentication.cache, config.authorization.cache);
        let tokens = [tokens.ttl, tokens.rejected_ttl, tokens.stale_for];
        let watched = access.watched_ttl;
        let access = [access.allowed_ttl, access.denied_ttl, access.stale_for];
        let [tokens, access] =
            [tokens, access].map(|cache| cache.map(|lifetime| lifetime.as_secs()));
        (tokens, access, watched.as_secs())
    };
    let standard = ([60, 10, 600], [60, 10, 600], 300);
    assert_eq!(lifetimes("caches: standard"), standard);
    assert_eq!(lifetimes(""), standard);
    assert_eq!(lifetimes("caches: strict"), ([10, 10, 0], [10, 10, 0], 0));
    let own =
        "caches: strict\nauthorization: {cache: {allowedTtl: 30s, staleFor: 1m, watchedTtl: 2m}}";
    assert_eq!(lifetimes(own), ([10, 10, 0], [30, 10, 60], 120));
    assert!(faults_of("caches: lax")[0].starts_with("caches: \"lax\" is not a choice"));
}
