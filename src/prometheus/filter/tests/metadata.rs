//! `/api/v1/metadata` and the names that it is filtered by.

use std::sync::Arc;

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

fn metadata(names: &[&str]) -> impl Fn() -> MetadataFilter {
    let names: Arc<MetricNames> = Arc::new(names.iter().copied().collect());
    move || MetadataFilter::new(Arc::clone(&names), Limits::default())
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

#[test]
fn e01_metadata_of_metrics_that_the_caller_cannot_see_is_dropped() {
    let text = filtered(metadata(&["v", "other"]), METADATA).expect("metadata");
    let mut expected = json(METADATA);
    let data = expected["data"].as_object_mut().expect("data");
    assert!(data.remove("secret_total").is_some());
    assert_eq!(json(&text), expected);
    let nothing = filtered(metadata(&[]), METADATA);
    assert_eq!(nothing.as_deref(), Ok(r#"{"status":"success","data":{}}"#));
}

#[test]
fn a_limit_counts_what_the_caller_gets() {
    let text = r#"{"status":"success","data":{"x":[],"a":[1],"b":[2],"c":[3]}}"#;
    for (limit, expected) in [
        (0, "{}"),
        (2, r#"{"a":[1],"b":[2]}"#),
        (9, r#"{"a":[1],"b":[2],"c":[3]}"#),
    ] {
        let names = metadata(&["a", "b", "c"]);
        let out = filtered(|| names().with_limit(limit), text).expect("metadata");
        assert_eq!(out, format!(r#"{{"status":"success","data":{expected}}}"#));
    }
}

#[test]
fn metadata_of_another_shape_is_an_error() {
    for text in [
        r#"{"status":"success","data":[]}"#,
        r#"{"status":"success","data":null}"#,
        r#"{"status":"success","data":{}"#,
        r#"{"status":"success"}"#,
    ] {
        assert!(filtered(metadata(&["v"]), text).is_err(), "{text}");
    }
    assert_no_prefix_is_complete(metadata(&["v"]), METADATA);
}
