//! The cases of the threat list by which a query would change its meaning, or be refused for no reason.

use super::*;

#[test]
fn q25_raw_strings_keep_their_backslashes() {
    assert_eq!(
        restricted(r"up{a=~`\d+`}"),
        r#"up{a=~"\\d+", namespace="team-a"}"#
    );
    assert_eq!(
        restricted(r"up{a=~`.*\.svc`}"),
        r#"up{a=~".*\\.svc", namespace="team-a"}"#
    );
    assert_eq!(
        restricted(r#"label_replace(up,"a",`$1`,"b",`(.*)\.x`)"#),
        r#"label_replace(up{namespace="team-a"}, "a", "$1", "b", "(.*)\\.x")"#
    );
}

#[test]
fn q26_q27_q28_numbers_and_durations_keep_their_meaning() {
    for query in [
        "up @ -100",
        "up @ -0.5",
        "up offset 0.0001 + 5",
        "up[0.0001]",
        "up[5m:0.0001]",
        "up offset -0.0001 - 5",
        "up offset 1h5000000000ms",
    ] {
        assert_eq!(unchanged(query), query);
    }
    // More than 292 years are no duration, for Prometheus either.
    refused("up[1h99999999999s]");
}

#[test]
fn q29_bytes_that_are_no_characters_stay_bytes() {
    for (query, expected) in [
        (r#"up{a="\xff"}"#, r#"up{a="\xff"}"#),
        (r#"up{a="\377"}"#, r#"up{a="\xff"}"#),
        (r#"{"\xff"}"#, r#"{"\xff"}"#),
        (
            r#"count_values("a\xc5z", v)"#,
            r#"count_values("a\xc5z", v)"#,
        ),
        (r#"up{a="\xc3\xa4\u00e4"}"#, r#"up{a="ää"}"#),
        (r#"up{a="\x00\x1f\x7f\n"}"#, r#"up{a="\x00\x1f\x7f\n"}"#),
    ] {
        assert_eq!(unchanged(query), expected);
    }
}

#[test]
fn q30_what_is_written_can_be_read() {
    for query in [
        "a + ignoring () group_left b",
        r#"sum by ("nan") (up)"#,
        r#"up{a="\ufffd"}"#,
        "up[0.0001]",
    ] {
        assert_eq!(unchanged(query), query);
    }
}

#[test]
fn q31_all_that_prometheus_reads_is_read() {
    for query in [
        "1_000",
        "0s",
        "up offset 0s",
        "up > 0s",
        "up[.5]",
        "up[5m # c\n]",
        "sum by (a:b)(up)",
        r#"up{or ="x"}"#,
        "smoothed",
        "anchored + anchored",
        "h </ 1",
        "h >/ 1",
        r#"{a=~"\\Qa.b\\E"}"#,
        r#"{a=~"[[]"}"#,
        r#"{a=~"\\101"}"#,
        r#"{a=~"[\\d-z]"}"#,
    ] {
        restricted(query);
    }
}

#[test]
fn q32_the_order_of_matchers_is_kept() {
    assert_eq!(
        restricted(r#"absent(n{a=~"x",a="y"})"#),
        r#"absent(n{namespace=~"team-a", a=~"x", a="y"})"#
    );
}

#[test]
fn q33_absent_keeps_the_label_that_the_caller_named() {
    let query = r#"absent(up{namespace="team-a"})"#;
    assert_eq!(restricted(query), query);
    assert_eq!(restricted_to(query, &["team-a", "team-b"]), query);
}

#[test]
fn q35_experimental_syntax_is_confined() {
    for (query, selectors) in [
        ("rate(up[5m] smoothed)", 1),
        ("increase(up[5m] anchored offset 1m)", 1),
        ("up smoothed", 1),
        ("rate(up[5m+5m])", 1),
        ("up offset (5m)", 1),
        ("rate(up[step()*2])", 1),
        ("rate(up[range()/max_of(2, step())])", 1),
        ("up + on (a) group_left (b) fill (0) up", 2),
        ("up + fill_left (0) fill_right (-1) up", 2),
        ("histogram_quantiles(up, \"q\", scalar(up), 0.9)", 2),
        ("limitk(2, up)", 1),
        ("limit_ratio(scalar(up), up)", 2),
        ("http.requests / größe{maß=\"x\"}", 2),
        ("max_of(scalar(up), step())", 1),
        ("mad_over_time(up[5m]) </ up", 2),
    ] {
        assert_all_confined(query, selectors);
    }
}

#[test]
fn q36_unknown_functions_are_refused() {
    for query in [
        "somenewfn(up)",
        "RATE(up[5m])",
        "fill(up)",
        "Start()",
        "x:y(up)",
        "and(up)",
        "x.y(up)",
    ] {
        assert!(Query::parse(query, &Limits::default()).is_err(), "{query}");
    }
}

#[test]
fn q37_keywords_are_names_where_they_can_be() {
    for (query, selectors) in [
        ("sum by (by,on,offset)(up)", 1),
        (r#"or{a="b"}"#, 1),
        (r#"start{a="b"} @ start()"#, 1),
        ("offset offset 5m", 1),
        ("unless unless unless", 2),
        ("SUM", 1),
        ("Sum(Sum)", 1),
        ("fill + fill", 2),
        ("fill_left{} or fill_right", 2),
        (
            "by or without or anchored or smoothed or step or range or max_of or end",
            8,
        ),
        ("sum by (sum) (sum)", 1),
        ("sum(by) by (by)", 1),
        ("anchored anchored or smoothed smoothed", 2),
        ("and and and or or or unless unless unless", 5),
        ("limitk / limit_ratio", 2),
        ("start() + start", 1),
        ("count_values(\"by\", by) by (by)", 1),
    ] {
        assert_all_confined(query, selectors);
    }
    for query in [
        "inf{}",
        "on",
        "bool",
        "ignoring{}",
        "group_left",
        "atan2",
        "nan[5m]{}",
    ] {
        assert!(Query::parse(query, &Limits::default()).is_err(), "{query}");
    }
}

#[test]
fn q39_the_callers_regular_expression_stays_apart() {
    for value in [r"a)|(?:.*", "(?x)a # c", "a**", r"\p{Emoji}"] {
        assert_eq!(
            restricted(&format!("up{{namespace=~`{value}`}}")),
            format!(
                r#"up{{namespace=~"{}", namespace="team-a"}}"#,
                value.replace('\\', "\\\\")
            )
        );
    }
}

#[test]
fn d03_a_signed_number_in_parentheses_is_no_offset() {
    for value in ["-(5m)", "+(5m)", "-((5m))", "-(-5m)", "- ( 300 )"] {
        assert!(
            matches!(
                refused(&format!("up offset {value}")),
                QueryError::Syntax { position: 10, .. }
            ),
            "{value}"
        );
    }
    for value in ["(5m)", "(-5m)", "-5m", "--(5m)", "-(5m + 1m)", "-(step())"] {
        let query = format!("up offset {value}");
        assert_eq!(unchanged(&query), query);
    }
}
