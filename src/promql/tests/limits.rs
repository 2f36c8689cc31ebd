//! Bounds, with the grammar and without.

use super::*;
use crate::promql::measure;

fn limited(text: &str) -> [Result<(), QueryError>; 2] {
    let limits = Limits {
        max_bytes: 10 << 20,
        max_pattern_size: 50_000,
        ..Limits::default()
    };
    [
        measure(text, &limits),
        Query::parse(text, &limits).map(drop),
    ]
}

#[track_caller]
fn assert_too_deep(text: &str) {
    for result in limited(text) {
        assert!(
            matches!(result, Err(QueryError::TooDeep { limit: 200, .. })),
            "{result:?}"
        );
    }
}

#[track_caller]
fn assert_too_many_operators(text: &str) {
    for result in limited(text) {
        assert!(
            matches!(
                result,
                Err(QueryError::TooManyOperators { limit: 1000, .. })
            ),
            "{result:?}"
        );
    }
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn two_hundred_levels_are_the_limit() {
    let (open, close) = ("(", ")");
    assert_eq!(limited(&nested(open, "up", close, 200)), [Ok(()), Ok(())]);
    assert_too_deep(&nested(open, "up", close, 201));
    assert_eq!(limited(&nested("-", "up", "", 200)), [Ok(()), Ok(())]);
    assert_too_deep(&nested("-", "up", "", 201));
    assert_eq!(limited(&nested("-(", "up", ")", 100)), [Ok(()), Ok(())]);
    assert_too_deep(&nested("-(", "up", ")", 101));
    assert_too_deep(&format!("up[{}]", nested("(", "5m", ")", 201)));
    assert_too_deep(&format!("up[{}5m]", "-".repeat(201)));
    assert_too_deep(&format!("up offset {}", nested("-(", "5m+1m", ")", 101)));
    assert_too_deep(&format!(
        "up offset {}",
        nested("max_of(", "5m", ",1m)", 201)
    ));
    assert_too_deep(&nested("sum by (a) (", "up", ")", 201));
    assert_too_deep(&nested("-sum(-", "up", ")", 70));
}

#[test]
fn a_text_at_the_limit_stays_within_it() {
    for text in [
        format!("{}up", "-".repeat(200)),
        nested("(", "up", ")", 200),
        vec!["up"; 1001].join("+").replacen("up", "1", 501),
    ] {
        restricted(&text);
    }
}

#[test]
fn brackets_that_are_closed_do_not_count() {
    let text = format!("({}1)", "(1)+".repeat(500));
    assert_eq!(limited(&text), [Ok(()), Ok(())]);
    let text = vec!["- - -up"; 200].join(" or ");
    assert_eq!(limited(&text), [Ok(()), Ok(())]);
}

#[test]
fn a_thousand_operators_are_the_limit() {
    for operator in ["+", "-", "^", " or ", " AND ", " atan2 ", " == ", "</"] {
        assert_eq!(
            limited(&["1"; 1001].join(operator)),
            [Ok(()), Ok(())],
            "{operator}"
        );
        assert_too_many_operators(&["1"; 1002].join(operator));
    }
    assert_too_many_operators(&format!("up{}", "[5m:1m]".repeat(1001)));
    assert_too_many_operators(&format!("up[5m{}]", "+1m".repeat(1001)));
    assert_too_many_operators(&format!("f({}", "-1, ".repeat(1001)).replace("f(", "clamp("));
}

#[test]
fn what_is_quoted_or_a_comment_is_not_counted() {
    let brackets = "(".repeat(1000);
    for text in [
        format!("up{{a=\"{brackets}\"}}"),
        format!("up{{a='\\'{brackets}'}}"),
        format!("up{{a=`\\`}} or up{{a=`{brackets}`}}"),
        format!("up # \" {brackets}"),
        format!("up # {brackets}\r + up"),
    ] {
        assert_eq!(limited(&text), [Ok(()), Ok(())], "{text:.20}");
    }
}

#[test]
fn measuring_goes_on_where_a_lexer_would_stop() {
    for start in [
        "$",
        "1x ",
        "up{a=b} ",
        "]",
        "=~",
        "\u{1f600}",
        "{a=\"\\q\"}",
        "5m]",
    ] {
        let text = format!("{start}{}", "(".repeat(201));
        assert!(
            matches!(
                measure(&text, &Limits::default()),
                Err(QueryError::TooDeep { .. })
            ),
            "{start}"
        );
    }
}

#[test]
fn measuring_lets_pass_what_is_no_query() {
    for text in [
        "",
        "\"",
        "'\\",
        "`",
        "#",
        "}])",
        "up{",
        "info(up)",
        "\0\u{fffd}ä",
        "somenewfn(up)",
    ] {
        assert_eq!(measure(text, &Limits::default()), Ok(()), "{text}");
    }
}

#[test]
fn long_texts_are_refused_before_they_are_read() {
    let text = "x".repeat(128 * 1024 + 1);
    let expected = QueryError::TooLong {
        bytes: 128 * 1024 + 1,
        limit: 128 * 1024,
    };
    assert_eq!(refused(&text), expected);
    assert_eq!(measure(&text, &Limits::default()), Err(expected));
    parse(&"x".repeat(128 * 1024));
}

#[test]
fn selectors_are_counted() {
    let text = |count: usize| format!("label_join({})", vec!["up"; count].join(","));
    parse(&text(500));
    assert!(matches!(
        refused(&text(501)),
        QueryError::TooManySelectors { limit: 500, .. }
    ));
}

#[test]
fn q22_d02_repetitions_in_regular_expressions_are_counted() {
    let query = |value: &str, times: usize| {
        let matchers = vec![format!("a=~\"{value}\""); times].join(",");
        format!("up{{{matchers}}}")
    };
    for text in [
        query(r"(\\pL{100}){9}", 1500),
        query(r"\\pL{100}", 100),
        query(r"\\w{900}", 60),
        query(r"[a-z]{1,900}", 30),
        query(r"(x[(]{9}y[)]){900}", 10),
        query(r"(\\Q(\\E{900}y){9}", 10),
        query("(((x{9}){9}){9}){9}", 10),
        query(r"x\x7b900}", 60),
        query(r"(?:x|y|z){800,}", 60),
        query(r"(?i)\\pL\\pL\\pL", 60),
        query(r"(?i)[b-\\x{1e942}]", 150),
        query("(?i)[b-\u{1e942}]", 150),
        query(r"(?i)[\\PL]", 150),
        query(r"(?i)\\W\\D\\S", 30),
        query("(?i)[^a]", 30),
        query(r"\\S", 500),
        query("(?i)[[:^alpha:]]", 30),
        query("x(?s-m)(?sim:[^a])", 30),
        format!(
            "label_replace(up, \"a\", \"b\", \"c\", \"{}\")",
            "(x{900})".repeat(60)
        ),
    ] {
        for result in limited(&text) {
            assert!(
                matches!(result, Err(QueryError::PatternsTooLarge { .. })),
                "{result:?} {text:.60}"
            );
        }
    }
    for text in [
        query("web-[a-z0-9]{5,10}-[a-z0-9]{5}", 300),
        query(&"x".repeat(32_000), 1),
        query(r"\\d{1,3}", 500),
        query(r"\\p{Greek}", 50),
        query(r"(?i)\\p{Greek}", 20),
        query(r"(?i)[a-z]+\\d\\w[0-9]", 500),
        query(r"[^/]+\\S+\\W", 100),
        query("äöüß", 500),
        query("x{1000", 500),
        query(r"x\\{1000}", 500),
    ] {
        assert_eq!(limited(&text), [Ok(()), Ok(())], "{text:.60}");
    }
}
