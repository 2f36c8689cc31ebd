//! `/api/v1/alerts`.

use super::*;

#[test]
fn e14_recorded_alerts_are_the_callers_own_byte_for_byte() {
    let text = filtered(alerts, ALERTS).expect("alerts");
    let mut expected = json(ALERTS);
    let list = expected["data"]["alerts"].as_array_mut().expect("alerts");
    list.retain(|alert| alert["labels"]["namespace"] == "team-a");
    assert_eq!(list.len(), 9);
    assert_eq!(json(&text), expected);
    // Prometheus spells these with escapes, serde_json would not.
    assert!(text.contains(r"pod \u003cv-0\u003e \u0026 \"));
}

#[test]
fn another_label_may_carry_the_namespace() {
    let filter = || {
        ListFilter::new(
            List::Alerts,
            namespaces(&["team-b"]),
            "ns",
            Limits::default(),
        )
    };
    let answer = json(&filtered(filter, ALERTS).expect("alerts"));
    assert_eq!(answer["data"]["alerts"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_answer_without_alerts_stays_one() {
    for text in [
        r#"{"status":"success","data":{"alerts":[]}}"#,
        r#"{"status":"success","data":{"alerts":null}}"#,
    ] {
        assert_eq!(filtered(alerts, text).as_deref(), Ok(text));
    }
}

#[test]
fn e14_answers_of_another_shape_are_errors() {
    for text in [
        r#"{"status":"success","data":{"alerts":[],"alerts":[]}}"#,
        r#"{"status":"success","data":{"alerts":{}}}"#,
        r#"{"status":"success","data":{"alerts":[[]]}}"#,
        r#"{"status":"success","data":{"alerts":["x"]}}"#,
        r#"{"status":"success","data":{"alerts":[{"labels":{}}]}}"#,
        r#"{"status":"success","data":{}}"#,
        r#"{"status":"success","data":[]}"#,
        r#"{"status":"success","data":"x"}"#,
        r#"{"data":{"alerts":[]}}"#,
        r#"[{"status":"success","data":{"alerts":[]}}]"#,
    ] {
        assert!(filtered(alerts, text).is_err(), "{text}");
    }
}

#[test]
fn no_beginning_of_an_answer_is_a_whole_answer() {
    assert_no_prefix_is_complete(alerts, ALERTS);
}

#[test]
fn h26_200_mb_of_alerts_pass_in_bounded_memory() {
    const TOTAL: usize = 200 << 20;
    let alert = |namespace: &str| {
        let text = "all work and no play ".repeat(1_500);
        format!(
            r#"{{"labels":{{"namespace":"{namespace}"}},"annotations":{{"d":"{text}"}},"state":"firing"}}"#
        )
    };
    let pair = format!("{},{}", alert("team-b"), alert("team-a"));
    let mut filter = alerts();
    let mut out = Vec::new();
    let (mut read, mut written, mut largest) = (0, 0, 0);
    let mut push = |bytes: &[u8]| {
        for chunk in bytes.chunks(16 << 10) {
            filter.push(chunk, &mut out).expect("alerts");
            read += chunk.len();
            written += out.len();
            largest = largest.max(filter.held_capacity() + out.capacity());
            out.clear();
        }
        read
    };
    push(br#"{"status":"success","data":{"alerts":["#);
    push(pair.as_bytes());
    while push(b",") < TOTAL {
        push(pair.as_bytes());
    }
    push(pair.as_bytes());
    push(b"]}}");
    filter.finish(&mut out).expect("complete");
    assert!(written > TOTAL / 3, "{written}");
    assert!(largest < 256 << 10, "{largest}");
}
