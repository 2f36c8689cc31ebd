//! `/api/v1/metadata` and the names that it is filtered by.

use std::sync::Arc;

use serde_json::{Map, json};

use super::*;

const NAMES: &str = r#"{"status":"success","data":["v","up","v","\u0061b"]}"#;

fn read(text: &str, max_bytes: usize) -> Result<MetricNames, FilterError> {
    let read = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = MetricNamesReader::new(max_bytes, Limits::default());
        for chunk in chunks {
            reader.push(chunk)?;
        }
        reader.finish()
    };
    let text = text.as_bytes();
    let whole = read(&mut [text].into_iter());
    for at in 0..=text.len() {
        let (head, tail) = text.split_at(at);
        assert_eq!(read(&mut [head, tail].into_iter()), whole, "cut at {at}");
    }
    whole
}

fn texts(document: &str, metric: Option<&str>, max_bytes: usize) -> Result<OwnTexts, FilterError> {
    let own = namespaces(&["team-a"]);
    let mut reader = OwnTextsReader::new(own, "namespace", metric, max_bytes, Limits::default());
    reader.push(document.as_bytes())?;
    reader.finish()
}

/// What targets say: namespace, metric, type, help and unit.
fn said(said: &[[&str; 5]]) -> String {
    let entries = said.iter().map(|[namespace, metric, kind, help, unit]| {
        json!({"target": {"instance": "i", "namespace": namespace}, "metric": metric, "type": kind, "help": help, "unit": unit})
    });
    json!({"status": "success", "data": entries.collect::<Vec<_>>()}).to_string()
}

fn metadata(names: &[&str], targets: &str) -> impl Fn() -> MetadataFilter + use<> {
    let targets = targets.to_owned();
    let names: Arc<MetricNames> = Arc::new(names.iter().copied().collect());
    move || {
        let texts = texts(&targets, None, 1 << 20).expect("texts");
        MetadataFilter::new(Arc::clone(&names), texts, Limits::default())
    }
}

fn families(data: Value) -> String {
    json!({"status": "success", "data": data}).to_string()
}

fn data(names: &[&str], targets: &str, document: &str) -> Value {
    let text = filtered(metadata(names, targets), document).expect("metadata");
    json(&text)["data"].take()
}

#[test]
fn names_are_read_from_the_values_of_the_name_label() {
    let names = read(NAMES, 1 << 20).expect("names");
    assert_eq!(names, ["up", "v", "ab"].into_iter().collect());
    assert_eq!(names.len(), 3);
    assert!(names.contains("ab") && !names.contains("secret_total"));
    let none = read(r#"{"status":"success","data":[]}"#, 0).expect("names");
    assert!(none.is_empty());
}

#[test]
fn names_of_another_shape_and_too_many_of_them_are_errors() {
    for text in [
        r#"{"status":"success","data":[1]}"#,
        r#"{"status":"success","data":[["v"]]}"#,
        r#"{"status":"success","data":{"v":[]}}"#,
        r#"{"status":"success","data":null}"#,
        r#"{"status":"success"}"#,
        r#"{"status":"error","data":["v"]}"#,
        r#"{"status":"success","data":["\ud800"]}"#,
        r#"{"status":"success","data":["v"]"#,
    ] {
        assert!(read(text, 1 << 20).is_err(), "{text}");
    }
    assert_eq!(read(NAMES, 100), Err(FilterError::TooLarge { limit: 100 }));
}

const V: [&str; 5] = [
    "team-a",
    "v",
    "gauge",
    "A value with \"quotes\" and \\ backslash.",
    "",
];

#[test]
fn e01_metadata_of_metrics_that_the_caller_cannot_see_is_dropped() {
    let text = filtered(metadata(&["v", "other"], &said(&[V])), METADATA).expect("metadata");
    let mut expected = json(METADATA);
    let data = expected["data"].as_object_mut().expect("data");
    assert!(data.remove("secret_total").is_some());
    assert_eq!(json(&text), expected);
    let nothing = filtered(metadata(&[], &said(&[V])), METADATA);
    assert_eq!(nothing.as_deref(), Ok(r#"{"status":"success","data":{}}"#));
}

#[test]
fn e24_texts_pass_only_if_a_target_of_the_callers_own_says_the_same() {
    let entry =
        |kind: &str, help: &str, unit: &str| json!({"type": kind, "help": help, "unit": unit});
    let both =
        families(json!({"v": [entry("gauge", "theirs", "victims"), entry("gauge", "mine", "s")]}));
    let theirs = ["victim", "v", "gauge", "theirs", "victims"];
    let mine = ["team-a", "v", "gauge", "mine", "s"];
    let blank = entry("gauge", "", "");
    for (targets, expected) in [
        // That others' targets were not asked for is not relied upon.
        (vec![theirs, mine], json!([entry("gauge", "mine", "s")])),
        (vec![theirs], json!([blank])),
        (vec![], json!([blank])),
        // The same text of another family, type or unit.
        (vec![["team-a", "w", "gauge", "mine", "s"]], json!([blank])),
        (
            vec![["team-a", "v", "counter", "mine", "s"]],
            json!([blank]),
        ),
        (vec![["team-a", "v", "gauge", "mine", "m"]], json!([blank])),
        (vec![["team-a", "v", "gauge", "mine s", ""]], json!([blank])),
    ] {
        assert_eq!(
            data(&["v"], &said(&targets), &both),
            json!({"v": expected}),
            "{targets:?}"
        );
    }
    // The types are a closed set, and other members are not known.
    let odd = families(
        json!({"v": [{"type": "VICTIMDATA", "help": "VICTIMDATA", "unit": "VICTIMDATA", "more": "VICTIMDATA"}]}),
    );
    assert_eq!(
        data(&["v"], &said(&[]), &odd),
        json!({"v": [entry("unknown", "", "")]})
    );
    // Another type stays beside the caller's own.
    let types =
        families(json!({"v": [entry("counter", "theirs", ""), entry("gauge", "mine", "s")]}));
    let expected = json!({"v": [entry("counter", "", ""), entry("gauge", "mine", "s")]});
    assert_eq!(data(&["v"], &said(&[mine]), &types), expected);
}

#[test]
fn e24_a_question_for_one_metric_is_answered_without_its_name() {
    let document = r#"{"status":"success","data":[{"target":{"namespace":"team-a"},"type":"gauge","help":"mine","unit":""}]}"#;
    let own = texts(document, Some("v"), 1 << 20).expect("texts");
    let names = Arc::new(["v"].into_iter().collect());
    let text = families(json!({"v": [{"type": "gauge", "help": "mine", "unit": ""}]}));
    let (out, result) = outcome(
        MetadataFilter::new(names, own, Limits::default()),
        [text.as_bytes()],
    );
    assert_eq!((json(&out), result), (json(&text), Ok(())));
    assert!(texts(document, None, 1 << 20).is_err());
}

#[test]
fn e24_what_targets_say_in_another_shape_or_at_length_is_an_error() {
    for data in [
        "null",
        "{}",
        "[1]",
        "[[]]",
        r#"[{"metric":"v","type":"gauge"}]"#,
        r#"[{"target":[],"metric":"v","type":"gauge"}]"#,
        r#"[{"target":{"namespace":"team-a"},"metric":"v"}]"#,
        r#"[{"target":{"namespace":"team-a"},"metric":"v","type":"gauge","help":1}]"#,
        r#"[{"target":{"namespace":"team-b"},"target":{"namespace":"team-a"},"metric":"v","type":"gauge"}]"#,
        r#"[{"target":{"namespace":"team-b","namespace":"team-a"},"metric":"v","type":"gauge"}]"#,
    ] {
        let document = format!(r#"{{"status":"success","data":{data}}}"#);
        assert!(texts(&document, None, 1 << 20).is_err(), "{data}");
    }
    let long = said(&[V, ["team-a", "w", "gauge", "x", ""]]);
    assert_eq!(
        texts(&long, None, 100).map(|_| ()),
        Err(FilterError::TooLarge { limit: 100 })
    );
}

#[test]
fn e26_families_are_kept_for_their_series() {
    let types = [
        ("a", "histogram"),
        ("b", "counter"),
        ("c", "gauge"),
        ("s", "summary"),
        ("d", "info"),
        ("z", "gauge"),
        ("b_other", "counter"),
    ];
    let all: Map<String, Value> = types
        .iter()
        .map(|(name, kind)| {
            (
                (*name).to_owned(),
                json!([{"type": kind, "help": "", "unit": ""}]),
            )
        })
        .collect();
    let document = families(Value::Object(all.clone()));
    let series = [
        "a_bucket", "a_count", "a_sum", "b_total", "c", "s", "s_count", "s_sum", "d_info",
    ];
    let kept = data(&series, &said(&[]), &document);
    let mut expected = all;
    expected.retain(|name, _| ["a", "b", "c", "d", "s"].contains(&name.as_str()));
    assert_eq!(kept, Value::Object(expected));
    // A gauge of another's is no family of the caller's series, whatever these are called.
    for (kind, series, kept) in [
        ("gauge", "x_total", false),
        ("unknown", "x_count", false),
        ("counter", "x_total", true),
        ("counter", "x_created", true),
        ("counter", "x_count", false),
        ("histogram", "x", true),
        ("histogram", "x_gsum", false),
        ("gaugehistogram", "x_gcount", true),
        ("summary", "x_bucket", false),
        ("stateset", "x", true),
    ] {
        let document = families(json!({"x": [{"type": kind, "help": "", "unit": ""}]}));
        let data = data(&[series], &said(&[]), &document);
        assert_eq!(data.get("x").is_some(), kept, "{kind} {series}");
    }
}

#[test]
fn a_limit_counts_what_the_caller_gets() {
    let entry = |kind: &str| format!(r#"{{"type":"{kind}","help":"","unit":""}}"#);
    let (gauge, info) = (entry("gauge"), entry("info"));
    let text = format!(
        r#"{{"status":"success","data":{{"x":[{gauge}],"a":[{gauge},{info}],"b":null,"c":[{info},{gauge}]}}}}"#
    );
    for (families, entries, expected) in [
        (Some(0), None, "{}".to_owned()),
        (Some(1), None, format!(r#"{{"a":[{gauge},{info}]}}"#)),
        (
            Some(2),
            Some(1),
            format!(r#"{{"a":[{gauge}],"c":[{info}]}}"#),
        ),
        (
            Some(9),
            Some(9),
            format!(r#"{{"a":[{gauge},{info}],"c":[{info},{gauge}]}}"#),
        ),
    ] {
        let filter = metadata(&["a", "b", "c"], &said(&[]));
        let out = filtered(|| filter().with_limits(families, entries), &text).expect("metadata");
        assert_eq!(out, format!(r#"{{"status":"success","data":{expected}}}"#));
    }
}

#[test]
fn metadata_of_another_shape_is_an_error() {
    let filter = metadata(&["v"], &said(&[]));
    for text in [
        r#"{"status":"success","data":[]}"#,
        r#"{"status":"success","data":null}"#,
        r#"{"status":"success","data":{}"#,
        r#"{"status":"success","data":{"v":{}}}"#,
        r#"{"status":"success","data":{"v":[1]}}"#,
        r#"{"status":"success","data":{"v":[["gauge","",""]]}}"#,
        r#"{"status":"success","data":{"v":[{"help":"","unit":""}]}}"#,
        r#"{"status":"success","data":{"v":[{"type":"gauge","type":"gauge"}]}}"#,
        r#"{"status":"success"}"#,
    ] {
        assert!(filtered(&filter, text).is_err(), "{text}");
    }
    assert_no_prefix_is_complete(&filter, METADATA);
}
