//! Random documents against naive implementations on serde_json's trees, and random damage.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::telemetry::ids;

/// Any JSON, shallow.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z\"é]{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn labels() -> impl Strategy<Value = Value> {
    let namespace = proptest::sample::select(vec![
        None,
        None,
        None,
        Some("team-a"),
        Some("team-a"),
        Some("team-b"),
        Some("a"),
        Some(""),
        Some("{{ $labels.x }}"),
    ]);
    (namespace, proptest::option::of(".{0,6}")).prop_map(|(namespace, other)| {
        let mut labels = Map::new();
        labels.extend(namespace.map(|value| ("namespace".into(), value.into())));
        labels.extend(other.map(|value| ("pod".into(), value.into())));
        Value::Object(labels)
    })
}

fn alert() -> impl Strategy<Value = Value> {
    let state = proptest::sample::select(vec!["firing", "pending", "inactive"]);
    (labels(), state, any_json()).prop_map(
        |(labels, state, any)| json!({"labels": labels, "state": state, "annotations": any, "value": "1"}),
    )
}

fn rule() -> impl Strategy<Value = Value> {
    let alerting = (
        proptest::option::weighted(0.9, labels()),
        proptest::option::weighted(0.9, proptest::collection::vec(alert(), 0..4)),
        any_json(),
    )
        .prop_map(|(labels, alerts, any)| {
            let mut rule =
                json!({"state": "firing", "query": "q", "annotations": any, "unknown": any});
            if let Some(labels) = labels {
                rule["labels"] = labels;
            }
            rule["alerts"] = alerts.into();
            rule
        });
    let recording = (labels(), any_json())
        .prop_map(|(labels, any)| json!({"labels": labels, "query": any, "lastError": "e", "type": "recording"}));
    prop_oneof![3 => alerting, 1 => recording]
}

fn rules_answer() -> impl Strategy<Value = Value> {
    let group = (proptest::collection::vec(rule(), 0..4), any_json()).prop_map(
        |(rules, any)| json!({"name": "g", "file": "f", "rules": rules, "interval": any, "unknown": any}),
    );
    (proptest::collection::vec(group, 0..4), any_json()).prop_map(|(groups, any)| {
        json!({"status": "success", "data": {"groups": groups, "groupNextToken": any}})
    })
}

/// What the filter must give, said as plainly as possible.
fn expected_rules(mut answer: Value) -> Value {
    fn own(labels: &Value) -> bool {
        ["team-a", "a"]
            .iter()
            .any(|name| labels["namespace"] == *name)
    }
    let groups = answer["data"]["groups"].take();
    let mut kept_groups = Vec::new();
    for mut group in groups.as_array().expect("groups").clone() {
        let mut kept_rules = Vec::new();
        let mut shared = false;
        for mut rule in group["rules"].as_array().expect("rules").clone() {
            let label = rule["labels"]["namespace"].as_str().unwrap_or_default();
            let is_static = !label.is_empty() && !label.contains("{{");
            shared |= !(is_static && own(&rule["labels"]));
            if is_static && !own(&rule["labels"]) {
                continue;
            }
            let all = rule["alerts"].as_array().cloned();
            let mut kept = all.clone().unwrap_or_default();
            kept.retain(|alert| own(&alert["labels"]));
            if !is_static {
                if kept.is_empty() {
                    continue;
                }
                let members = rule.as_object_mut().expect("a rule");
                members.remove("lastError");
                members.remove("unknown");
                members.insert("query".into(), "".into());
                members.insert("annotations".into(), json!({}));
            }
            if let Some(all) = all {
                if !is_static || kept.len() < all.len() {
                    let has = |state: &str| kept.iter().any(|alert| alert["state"] == state);
                    let states = ["firing", "pending"];
                    let state = states.into_iter().find(|state| has(state));
                    rule["state"] = state.unwrap_or("inactive").into();
                }
                rule["alerts"] = kept.into();
            }
            kept_rules.push(rule);
        }
        if shared {
            group["file"] = "".into();
            group.as_object_mut().expect("a group").remove("unknown");
        }
        if !kept_rules.is_empty() {
            group["rules"] = kept_rules.into();
            kept_groups.push(group);
        }
    }
    json!({"status": "success", "data": {"groups": kept_groups}})
}

/// Writes a document with its members in another order, blanks, and escapes, as `seed` says.
fn spelled(value: &Value, seed: &mut u64, out: &mut String) {
    let mut next = || {
        *seed = seed.wrapping_add(ids::STEP);
        ids::mix(*seed)
    };
    let blank = ["", "", "", " ", "\n\t"][(next() % 5) as usize];
    out.push_str(blank);
    match value {
        Value::Array(elements) => {
            out.push('[');
            for (at, element) in elements.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                spelled(element, seed, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if !members.is_empty() {
                let length = members.len();
                members.rotate_left(next() as usize % length);
                members.swap(0, next() as usize % length);
            }
            out.push('{');
            for (at, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                spelled(&Value::from(key.as_str()), seed, out);
                out.push(':');
                spelled(value, seed, out);
            }
            out.push('}');
        }
        Value::String(text) if next() % 4 == 0 => {
            out.push('"');
            for unit in text.encode_utf16() {
                out.push_str(&format!("\\u{unit:04X}"));
            }
            out.push('"');
        }
        other => out.push_str(&other.to_string()),
    }
    out.push_str(blank);
}

/// Cuts a document at random places.
fn chunks<'a>(document: &'a [u8], seed: &'a mut u64) -> Vec<&'a [u8]> {
    let mut rest = document;
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (chunk, tail) = rest.split_at(((*seed >> 33) as usize % 40 + 1).min(rest.len()));
        chunks.push(chunk);
        rest = tail;
    }
    chunks
}

fn two_namespaces() -> RulesFilter {
    RulesFilter::new(namespaces(&["team-a", "a"]), "namespace", Limits::default())
}

/// Runs a document through every filter, whatever it is.
fn run_all(document: &[u8], seed: u64) {
    let cut = |mut seed| {
        chunks(document, &mut seed)
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    let cut = cut(seed);
    fn run(mut filter: impl Filter, chunks: &[Vec<u8>]) -> Result<Vec<u8>, FilterError> {
        let mut out = Vec::new();
        chunks
            .iter()
            .try_for_each(|chunk| filter.push(chunk, &mut out))?;
        filter.finish(&mut out)?;
        Ok(out)
    }
    let names: MetricNames = ["v"].into_iter().collect();
    let mut reader = MetricNamesReader::new(1 << 20, Limits::default());
    let read = cut.iter().try_for_each(|chunk| reader.push(chunk));
    assert!(read.is_ok() || reader.finish().is_err());
    let mut texts = OwnTextsReader::new(
        namespaces(&["team-a"]),
        "namespace",
        None,
        1 << 20,
        Limits::default(),
    );
    let read = cut.iter().try_for_each(|chunk| texts.push(chunk));
    assert!(read.is_ok() || texts.finish().is_err());
    let texts = OwnTexts::default();
    with_message(document);
    for out in [
        run(rules(), &cut),
        run(rules().without_alerts(), &cut),
        run(alerts(), &cut),
        run(
            MetadataFilter::new(names.into(), texts, Limits::default()),
            &cut,
        ),
        run(WarningsFilter::new(["w"]), &cut),
    ]
    .into_iter()
    .flatten()
    {
        // What is given as complete is JSON, and only for what is JSON.
        let text = std::str::from_utf8(&out).expect("UTF-8");
        assert!(
            serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(),
            "{text}"
        );
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(document).is_ok());
    }
}

proptest! {
    #[test]
    fn e14_rules_are_what_a_naive_filter_gives(answer in rules_answer(), mut seed in 1..u64::MAX) {
        let mut text = String::new();
        spelled(&answer, &mut seed, &mut text);
        let (out, result) = outcome(two_namespaces(), chunks(text.as_bytes(), &mut seed));
        prop_assert_eq!(result, Ok(()), "{}", text);
        prop_assert_eq!(json(&out), expected_rules(json(&text)), "{}", text);
        // Filtering twice is filtering once, but for the labels that a template fills in.
        let (again, result) = outcome(two_namespaces(), [out.as_bytes()]);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(json(&again), json(&out));
    }

    #[test]
    fn warnings_are_all_that_changes(
        data in any_json(),
        own in proptest::option::of(proptest::collection::vec(any_json(), 0..3)),
        others in proptest::collection::btree_map("[a-z]{0,9}", any_json(), 0..3),
        added in proptest::collection::vec(".{0,9}", 1..3),
        mut seed in 1..u64::MAX,
    ) {
        let mut answer = Map::from_iter(others);
        answer.insert("data".into(), data);
        answer.remove("warnings");
        if let Some(own) = own {
            answer.insert("warnings".into(), own.into());
        }
        let mut text = String::new();
        spelled(&Value::Object(answer), &mut seed, &mut text);
        let filter = WarningsFilter::new(&added);
        let (out, result) = outcome(filter, chunks(text.as_bytes(), &mut seed));
        prop_assert_eq!(result, Ok(()), "{}", text);
        let mut expected = json(&text);
        let mut warnings = expected["warnings"].as_array().cloned().unwrap_or_default();
        warnings.extend(added.iter().map(|warning| Value::from(warning.as_str())));
        expected["warnings"] = warnings.into();
        prop_assert_eq!(json(&out), expected, "{}", text);
        let grown: usize = out.len() - text.len();
        let quoted: usize = added.iter().map(|warning| Value::from(warning.as_str()).to_string().len() + 1).sum();
        prop_assert!(grown >= quoted - 1 && grown <= quoted + r#","warnings":[]"#.len());
    }

    #[test]
    fn e14_truncated_answers_are_errors(answer in rules_answer(), seed in 1..u64::MAX, end in any::<proptest::sample::Index>()) {
        let mut text = String::new();
        spelled(&answer, &mut { seed }, &mut text);
        let text = text.trim_end();
        let (out, result) = outcome(two_namespaces(), [&text.as_bytes()[..end.index(text.len())]]);
        prop_assert!(result.is_err());
        prop_assert!(serde_json::from_str::<Value>(&out).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), seed in 1..u64::MAX) {
        run_all(&bytes, seed);
    }

    #[test]
    fn any_damage_is_survived(
        document in proptest::sample::select(vec![RULES_3, METADATA, ALERTS]),
        damage in proptest::collection::vec(
            (any::<proptest::sample::Index>(), proptest::option::of(any::<u8>()), 0..30_usize),
            1..4,
        ),
        seed in 1..u64::MAX,
    ) {
        let mut bytes = document.as_bytes().to_vec();
        for (at, inserted, removed) in damage {
            let at = at.index(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted);
            if bytes.is_empty() {
                break;
            }
        }
        run_all(&bytes, seed);
    }
}
