//! Warnings that are added to any answer.

use super::*;

fn warnings() -> WarningsFilter {
    WarningsFilter::new(["no access to \"team-b\"", "two"])
}

const ADDED: &str = r#""no access to \"team-b\"","two""#;

#[test]
fn warnings_are_added_and_the_rest_stays_byte_for_byte() {
    for (before, after) in [
        (r#"{"status":"success","data":[1.0e2]"#, "}"),
        ("{ \"data\" : {\"a\":[ ]}\n", "}\r\n"),
        (
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]},"infos":["i"]"#,
            "} ",
        ),
        (
            r#"{"x":{"data":1,"warnings":[1]},"y":[{"warnings":2}],"data":-1"#,
            "}",
        ),
    ] {
        let text = format!("{before}{after}");
        let expected = format!(r#"{before},"warnings":[{ADDED}]{after}"#);
        assert_eq!(filtered(warnings, &text), Ok(expected));
        assert_eq!(filtered(|| WarningsFilter::new([""; 0]), &text), Ok(text));
    }
    assert_eq!(
        filtered(warnings, "{}"),
        Ok(format!(r#"{{"warnings":[{ADDED}]}}"#))
    );
    assert_eq!(
        filtered(warnings, "{ }"),
        Ok(format!(r#"{{ "warnings":[{ADDED}]}}"#))
    );
}

#[test]
fn prometheus_own_warnings_stay_in_front() {
    for (before, own, after) in [
        (
            r#"{"status":"success","warnings":["#,
            r#""own""#,
            r#"],"data":[]}"#,
        ),
        (
            r#"{"status":"success","data":[],"warnings":["#,
            r#" "a" , "b" "#,
            "] }",
        ),
        (
            r#"{"data":[],"w\u0061rnings" : [ "#,
            "[1,{\"warnings\":[]}],2 ",
            "]}",
        ),
    ] {
        let text = format!("{before}{own}{after}");
        assert_eq!(
            filtered(warnings, &text),
            Ok(format!("{before}{own},{ADDED}{after}"))
        );
        assert_eq!(filtered(|| WarningsFilter::new([""; 0]), &text), Ok(text));
    }
    let empty = filtered(warnings, r#"{"warnings":[ ],"data":1}"#);
    assert_eq!(empty, Ok(format!(r#"{{"warnings":[ {ADDED}],"data":1}}"#)));
    let null = filtered(warnings, r#"{"warnings": null ,"data":1}"#);
    assert_eq!(null, Ok(format!(r#"{{"warnings": [{ADDED}] ,"data":1}}"#)));
}

#[test]
fn answers_of_another_shape_are_errors() {
    for text in [
        "[]",
        "null",
        "1 ",
        "\"x\"",
        "",
        "{",
        r#"{"data":1}}"#,
        r#"{"data":1}x"#,
        r#"{"data":1,"data":2}"#,
        r#"{"data":1,"d\u0061ta":2}"#,
        r#"{"status":"a","status":"b"}"#,
        r#"{"warnings":[],"warnings":[]}"#,
        r#"{"warnings":{}}"#,
        r#"{"warnings":"x"}"#,
        r#"{"warnings":nil}"#,
        r#"{"warnings":1}"#,
        r#"{"warnings":[}"#,
        r#"{"warnings":[1 2]}"#,
    ] {
        assert!(filtered(warnings, text).is_err(), "{text}");
    }
}

#[test]
fn a_key_that_merely_begins_like_one_of_interest_is_another() {
    let escaped: String = "warnings"
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    let long = "x".repeat(500);
    for key in [
        "warnings2",
        "warning",
        "",
        long.as_str(),
        &format!("{escaped}x"),
        "Warnings",
    ] {
        let text = format!(r#"{{"{key}":{{"a":1}},"{key}":2"#);
        let expected = format!(r#"{text},"warnings":[{ADDED}]}}"#);
        assert_eq!(filtered(warnings, &format!("{text}}}")), Ok(expected));
    }
    let text = filtered(warnings, &format!(r#"{{"{escaped}":[]}}"#));
    assert_eq!(text, Ok(format!(r#"{{"{escaped}":[{ADDED}]}}"#)));
}

#[test]
fn no_beginning_of_an_answer_is_a_whole_answer() {
    assert_no_prefix_is_complete(warnings, RULES_3);
    assert_no_prefix_is_complete(warnings, r#"{"warnings":["x"],"data":[1]}"#);
}

#[test]
fn a_large_answer_leaves_with_each_chunk() {
    let mut filter = warnings();
    let mut out = Vec::new();
    filter
        .push(br#"{"status":"success","data":{"result":["#, &mut out)
        .expect("JSON");
    let sample = r#"{"metric":{"pod":"x"},"values":[[1700000000.123,"1.5"],[1700000015,"NaN"]]},"#;
    let chunk = sample.repeat(100);
    for _ in 0..500 {
        out.clear();
        filter.push(chunk.as_bytes(), &mut out).expect("JSON");
        assert_eq!(out.len(), chunk.len());
    }
    assert!(out.capacity() <= 4 * chunk.len());
}
