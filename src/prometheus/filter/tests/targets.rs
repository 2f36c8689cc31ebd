//! `/api/v1/targets` and `/api/v1/alertmanagers`.

use serde_json::json;

use super::*;

fn target(label: Option<&str>, found: Option<&str>) -> Value {
    let mut target = json!({
        "discoveredLabels": {"__address__": "10.0.0.1:80"},
        "labels": {"job": "web"},
        "scrapeUrl": "http://10.0.0.1:80/metrics",
        "health": "up",
        "unknown": [1],
    });
    if let Some(label) = label {
        target["labels"]["namespace"] = label.into();
    }
    if let Some(found) = found {
        target["discoveredLabels"]["__meta_kubernetes_namespace"] = found.into();
    }
    target
}

fn answer(active: &[Value]) -> String {
    json!({"status": "success", "data": {
        "activeTargets": active,
        "droppedTargets": [target(Some("team-a"), Some("team-a"))],
        "droppedTargetCounts": {"victim": 7},
        "unknown": "victim",
    }})
    .to_string()
}

#[test]
fn targets_are_shown_whose_label_and_namespace_are_the_callers() {
    let own = [
        target(Some("team-a"), Some("team-a")),
        target(Some("team-a"), None),
    ];
    let others = [
        target(Some("victim"), Some("team-a")),
        target(Some("team-a"), Some("victim")),
        target(Some("victim"), None),
        target(None, Some("team-a")),
        target(Some(""), None),
        target(None, None),
    ];
    let all: Vec<_> = others.iter().chain(&own).chain(&others).cloned().collect();
    let text = filtered(|| list(List::Targets), &answer(&all)).expect("targets");
    let expected = json!({"activeTargets": own, "droppedTargets": [], "droppedTargetCounts": {}});
    assert_eq!(json(&text)["data"], expected);
    let none = filtered(|| list(List::Targets), &answer(&others)).expect("targets");
    assert_eq!(json(&none)["data"]["activeTargets"], json!([]));
}

#[test]
fn alertmanagers_are_nobodys() {
    let text = r#"{"status":"success","data":{"activeAlertmanagers":[{"url":"http://victim"}],"droppedAlertmanagers":[{"url":"x"}]}}"#;
    assert_eq!(
        filtered(|| list(List::Alertmanagers), text).as_deref(),
        Ok(r#"{"status":"success","data":{"activeAlertmanagers":[],"droppedAlertmanagers":[]}}"#)
    );
}

#[test]
fn targets_of_another_shape_are_errors() {
    for data in [
        "null",
        "[]",
        "{}",
        r#"{"activeTargets":{}}"#,
        r#"{"activeTargets":[1]}"#,
        r#"{"activeTargets":[[]]}"#,
        r#"{"activeTargets":[{}]}"#,
        r#"{"activeTargets":[{"labels":{"namespace":"victim"},"labels":{"namespace":"team-a"}}]}"#,
        r#"{"activeTargets":[{"labels":{"namespace":"victim","namespace":"team-a"}}]}"#,
        r#"{"activeTargets":[{"labels":{"namespace":"team-a"},"discoveredLabels":[]}]}"#,
        r#"{"activeTargets":[],"activeTargets":[]}"#,
    ] {
        let text = format!(r#"{{"status":"success","data":{data}}}"#);
        assert!(filtered(|| list(List::Targets), &text).is_err(), "{data}");
    }
    let whole = answer(&[target(Some("team-a"), Some("team-a"))]);
    assert_no_prefix_is_complete(|| list(List::Targets), &whole);
}
