//! Whatever is written, there is an answer: a configuration or faults.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::config::{Config, LoadError};

/// Keys of the configuration, so that trees get somewhere, and some that are none.
const KEYS: [&str; 32] = [
    "listeners",
    "service",
    "gateway",
    "admin",
    "address",
    "tls",
    "certFile",
    "keyFile",
    "answersFor",
    "alsoAnswersFor",
    "namespace",
    "name",
    "port",
    "authentication",
    "tokenHeaders",
    "cache",
    "ttl",
    "rejectedTtl",
    "capacity",
    "authorization",
    "metricRules",
    "metrics",
    "label",
    "cluster",
    "upstreams",
    "url",
    "pods",
    "headers",
    "parameters",
    "limits",
    "maxRange",
    "x\n\u{0}",
];

const TEXTS: [&str; 14] = [
    "",
    "60s",
    "1h30m",
    "60",
    "http://a:9090/b",
    "http://u:p@a",
    "0.0.0.0:1",
    "keda_*",
    "*",
    "authorization",
    "/a/b/",
    "//",
    "99999999999999999999d",
    "\u{1F980}é\r\n",
];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        proptest::sample::select(&TEXTS[..]).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 64, 6, |inner| {
        let key = proptest::sample::select(&KEYS[..]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..6).prop_map(|entries| entries
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect()),
        ]
    })
}

fn variables() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = proptest::sample::select(vec![
        "UPSTREAMS__0__URL",
        "UPSTREAMS",
        "UPSTREAMS__1",
        "UPSTREAMS__0__HEADERS__",
        "UPSTREAMS__0__HEADERS__X__Y",
        "LISTENERS__GATEWAY__ALSO_ANSWERS_FOR__0__PORT",
        "LIMITS__",
        "__",
        "LIMITS__MAX_RANGE",
    ]);
    proptest::collection::vec((name, any::<String>()), 0..4).prop_map(|variables| {
        variables
            .into_iter()
            .map(|(name, text)| (format!("PROM_RBAC_PROXY_{name}"), text))
            .collect()
    })
}

fn check(text: &str, variables: Vec<(String, String)>) {
    match Config::parse(text, variables.into_iter()) {
        Ok(config) => {
            assert!(!config.upstreams.is_empty());
            config.warnings();
        }
        Err(LoadError::Faults(faults)) => {
            let lines = faults.to_string();
            assert_eq!(lines.lines().count(), faults.iter().count(), "{lines}");
        }
        Err(other) => assert_eq!(other.to_string().lines().count(), 1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_answered(tree in tree(), variables in variables()) {
        check(&tree.to_string(), variables);
    }

    #[test]
    fn any_tree_below_known_keys_is_answered(
        upstream in tree(),
        rule in tree(),
        gateway in tree(),
        variables in variables(),
    ) {
        let document = json!({
            "upstreams": [{"url": "http://a"}, upstream],
            "authorization": {"metricRules": [rule]},
            "listeners": {"gateway": gateway},
        });
        check(&document.to_string(), variables);
    }

    #[test]
    fn any_text_is_answered(text in "[-a-z0-9:,\\[\\]{}&*!|>'\"%@`#\\\\ \n\t~.<]{0,120}") {
        check(&text, vec![]);
    }

    #[test]
    fn any_value_of_a_text_is_answered(text in ".{0,200}", key in proptest::sample::select(vec![
        "url", "pathPrefix", "name", "connectTimeout", "bearerTokenFile",
    ])) {
        let mut upstream = json!({"url": "http://a"});
        upstream[key] = json!(text);
        check(&json!({"upstreams": [upstream]}).to_string(), vec![]);
    }

    #[test]
    fn no_header_value_is_ever_in_a_fault(secret in "[a-z]{12,20}", shape in 0..5) {
        let headers = match shape {
            0 => json!({"Authorization": format!("{secret}\u{1}")}),
            1 => json!({"Host": secret}),
            2 => json!({"a": [secret]}),
            3 => json!(secret),
            _ => json!([{"a": secret}]),
        };
        let document = json!({"upstreams": [{"url": "http://a", "headers": headers}]}).to_string();
        let error = Config::parse(&document, std::iter::empty()).expect_err("a fault");
        let shown = format!("{error}{error:?}");
        prop_assert!(!shown.contains(&secret), "{}", shown);
    }
}
