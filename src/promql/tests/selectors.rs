//! What a query's selectors say about themselves.

use super::*;
use crate::promql::MatchOperator;

fn named(selector: &str) -> Option<Vec<String>> {
    let query = parse(selector);
    let names = query.selectors()[0].named("namespace")?;
    Some(names.iter().map(ToString::to_string).collect())
}

#[test]
fn selectors_come_in_order_with_their_positions() {
    let query = parse(r#"rate(a[5m]) + topk(scalar(b{x="y"}), {"c.d"}) unless or"#);
    let found: Vec<_> = query
        .selectors()
        .iter()
        .map(|selector| (selector.metric(), selector.position()))
        .collect();
    assert_eq!(
        found,
        [
            (Some("a"), 5),
            (Some("b"), 26),
            (Some("c.d"), 37),
            (Some("or"), 53)
        ]
    );
}

#[test]
fn matchers_are_decoded() {
    let query = parse(r#"up{a='\x41\u00e4', "b c"=~`\d`, d!="\xff", e!~""}"#);
    let matchers: Vec<_> = query.selectors()[0]
        .matchers()
        .iter()
        .map(|matcher| (matcher.label(), matcher.operator(), matcher.value()))
        .collect();
    assert_eq!(
        matchers,
        [
            (&b"a"[..], MatchOperator::Equal, "Aä".as_bytes()),
            (b"b c", MatchOperator::Regex, b"\\d"),
            (b"d", MatchOperator::NotEqual, b"\xff"),
            (b"e", MatchOperator::NotRegex, b""),
        ]
    );
}

#[test]
fn the_metric_is_known_when_all_series_have_its_name() {
    for (selector, metric) in [
        ("up", Some("up")),
        (r#"{"up"}"#, Some("up")),
        (r#"{__name__="up"}"#, Some("up")),
        (r#"{"__name__"="u\x70"}"#, Some("up")),
        (r#"{job="x", "up"}"#, Some("up")),
        (r#"{__name__=~"up"}"#, None),
        (r#"{__name__!="up", job="x"}"#, None),
        (r#"{__name__="", job="x"}"#, None),
        (r#"{job="up"}"#, None),
        (r#"{"\xff"}"#, None),
    ] {
        assert_eq!(
            parse(selector).selectors()[0].metric(),
            metric,
            "{selector}"
        );
    }
}

#[test]
fn namespaces_are_named_by_equality_and_by_plain_alternations() {
    for (matchers, names) in [
        (r#"namespace="a""#, &["a"][..]),
        (r#""namespace"="a""#, &["a"]),
        (r#"namespace=~"a""#, &["a"]),
        (r#"namespace=~"b|a|b""#, &["a", "b"]),
        (r#"namespace=~"(a|b)""#, &["a", "b"]),
        (r#"namespace=~"(?:a|b)""#, &["a", "b"]),
        (r#"namespace=~"^(a|b)$""#, &["a", "b"]),
        (r#"namespace=~"^a$|^b$""#, &["a", "b"]),
        (r#"namespace=~"^a|b$""#, &["a", "b"]),
        (r#"namespace=~"team\\-a|b""#, &["b", "team-a"]),
        // What cannot be a namespace is left out.
        (r#"namespace=~"a|B|x_y|x\\.y|""#, &["a"]),
        // Several matchers name what they share.
        (r#"namespace="a", namespace=~"a|b""#, &["a"]),
        (r#"namespace=~"a|b|c", namespace=~"b|c|d""#, &["b", "c"]),
        (r#"namespace="a", namespace!="b""#, &["a"]),
        (r#"namespace=~".*", namespace="a""#, &["a"]),
        // Nothing can be selected by these, but each name was asked for.
        (r#"namespace="a", namespace="b""#, &["a", "b"]),
        (r#"namespace="a", namespace="B""#, &["a"]),
    ] {
        let found = named(&format!("up{{{matchers}}}"));
        assert_eq!(
            found.as_deref(),
            Some(&*names.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "{matchers}"
        );
    }
}

#[test]
fn other_matchers_name_no_namespace() {
    for matchers in [
        "",
        r#"namespace="""#,
        r#"namespace="A""#,
        r#"namespace="a.b""#,
        r#"namespace!="a""#,
        r#"namespace!~"a|b""#,
        r#"namespace=~"a.*""#,
        r#"namespace=~"a|b.*""#,
        r#"namespace=~"a|.+""#,
        r#"namespace=~"(?i)a""#,
        r#"namespace=~"(?i:a)""#,
        r#"namespace=~"(a)|(b)""#,
        r#"namespace=~"x(a|b)""#,
        r#"namespace=~"a)|(b""#,
        r#"namespace=~"(a|b""#,
        r#"namespace=~"[ab]""#,
        r#"namespace=~"a?""#,
        r#"namespace=~"""#,
        r#"namespace=~"|""#,
        r#"namespace=~"\xff""#,
        r#"pod="a""#,
    ] {
        assert_eq!(named(&format!("up{{{matchers}}}")), None, "{matchers}");
    }
}
