//! The cases of the threat list by which a query would read more than it may, or cost more.

use super::*;
use crate::promql::measure;

#[test]
fn q01_parameters_of_aggregations_are_confined() {
    assert_eq!(
        restricted(
            r#"quantile(scalar(phi{namespace="victim"}), label_replace(vector(0),"x","0","","") or label_replace(vector(1),"x","1","",""))"#
        ),
        r#"quantile(scalar(phi{namespace="victim", namespace="team-a"}), label_replace(vector(0), "x", "0", "", "") or label_replace(vector(1), "x", "1", "", ""))"#
    );
}

#[test]
fn q02_q03_every_aggregation_is_confined_with_its_parameter() {
    for operator in [
        "topk",
        "bottomk",
        "limitk",
        "limit_ratio",
        "quantile",
        "count_values",
    ] {
        assert_all_confined(&format!("{operator}(scalar(secret), up)"), 2);
        assert_all_confined(&format!("{operator} by (a) ((scalar(secret)+1), up)"), 2);
        assert_all_confined(
            &format!("{operator}(scalar({operator}(scalar(secret), up)), up) by (a)"),
            3,
        );
    }
}

#[test]
fn q04_every_operand_and_argument_is_confined() {
    assert_all_confined("rate(up[5m]) or secret", 2);
    assert_all_confined("sum(up) or secret", 2);
    assert_all_confined("clamp_max(up, scalar(secret))", 2);
}

#[test]
fn q05_ranges_and_subqueries_are_confined() {
    assert_eq!(
        restricted("rate(secret[5m])"),
        r#"rate(secret{namespace="team-a"}[5m])"#
    );
    assert_eq!(
        restricted("sum_over_time(secret[1h:1m])"),
        r#"sum_over_time(secret{namespace="team-a"}[1h:1m])"#
    );
}

#[test]
fn q06_q07_info_without_its_labels_is_refused() {
    for query in [
        r#"info(label_replace(http_requests_total{namespace="team-a"},"instance","v:1","",""))"#,
        "info()",
        "up or sum(info # c\n (up))",
        r#"info(info(up), {namespace="team-a"})"#,
    ] {
        assert!(
            matches!(refused(query), QueryError::InfoFunction { .. }),
            "{query}"
        );
    }
    for query in ["INFO(up)", "Info(up)"] {
        assert!(
            matches!(refused(query), QueryError::UnknownFunction { .. }),
            "{query}"
        );
    }
    for query in [
        "info(up, target_info)",
        r#"info(up, target_info{namespace="team-a"})"#,
        r#"info(up, ({namespace="team-a"}))"#,
        r#"info(up, {namespace="team-a"} offset 5m)"#,
        r#"info(up, {namespace="team-a"} @ 1)"#,
        r#"info(up, {namespace="team-a"}[5m])"#,
        r#"info(up, {namespace="team-a"}, up)"#,
        r#"info(up, {namespace="team-a"},)"#,
        r#"info(up, -{namespace="team-a"})"#,
        r#"info(up, {namespace="team-a"} or up)"#,
        "info(up,)",
        r#"info(up, {namespace="team-a"}"#,
    ] {
        assert!(
            matches!(refused(query), QueryError::Syntax { .. }),
            "{query}"
        );
    }
    assert_eq!(restricted("info"), r#"info{namespace="team-a"}"#);
}

#[test]
fn q06_q07_the_labels_of_info_are_confined_where_that_adds_none() {
    for (query, expected) in [
        (
            r#"info(up, {namespace="team-a"})"#,
            r#"info(up{namespace="team-a"}, {namespace="team-a"})"#,
        ),
        (
            r#"info(up, {namespace!="", k8s=~".+"})"#,
            r#"info(up{namespace="team-a"}, {namespace!="", k8s=~".+", namespace="team-a"})"#,
        ),
        (
            r#"info(rate(up[5m]), {__name__="target_info", namespace=~".+",})"#,
            r#"info(rate(up{namespace="team-a"}[5m]), {__name__="target_info", namespace=~".+", namespace="team-a"})"#,
        ),
        (
            r#"absent(info(up, {namespace!=""}))"#,
            r#"absent(info(up{namespace=~"team-a"}, {namespace=~"team-a", namespace!=""}))"#,
        ),
        (
            r#"info(info(up, {namespace!=""}), {namespace=~"team-a|victim"})"#,
            r#"info(info(up{namespace="team-a"}, {namespace!="", namespace="team-a"}), {namespace=~"team-a|victim", namespace="team-a"})"#,
        ),
    ] {
        assert_eq!(restricted(query), expected);
    }
    let set = set(&["team-a"]);
    let label = "namespace";
    for query in [
        "info(up, {})",
        r#"info(up, {k8s="x"})"#,
        r#"info(up, {__name__=~".+_info"})"#,
        r#"info(up, {namespace=~".*"})"#,
        r#"info(up, {namespace=~"team-b|"})"#,
        r#"info(up, {namespace!="victim"})"#,
        r#"info(up, {exported_namespace="team-a"})"#,
    ] {
        let restricted = parse(query).restrict(|_, _| Constraint::Namespaces { label, set: &set });
        assert!(
            matches!(restricted, Err(QueryError::InfoLabels { position: 9, .. })),
            "{query}: {restricted:?}"
        );
        assert!(
            parse(query).restrict(|_, _| Constraint::Open).is_ok(),
            "{query}"
        );
    }
    let cluster = [("cluster".to_owned(), "prod".to_owned())];
    for (query, taken) in [
        (r#"info(up, {cluster!=""})"#, true),
        (r#"info(up, {namespace!=""})"#, false),
    ] {
        let restricted = parse(query).restrict(|_, _| Constraint::Values(&cluster));
        assert_eq!(restricted.is_ok(), taken, "{query}: {restricted:?}");
    }
}

#[test]
fn the_metric_of_infos_labels_is_the_one_that_prometheus_takes() {
    for (query, metric) in [
        (r#"info(up, {namespace!=""})"#, Some("target_info")),
        (
            r#"info(up, {__name__="build_info", namespace!=""})"#,
            Some("build_info"),
        ),
        (
            r#"info(up, {"build_info", namespace!=""})"#,
            Some("build_info"),
        ),
        (r#"info(up, {__name__=~".+_info", namespace!=""})"#, None),
        (r#"info(up, {__name__!="build_info", namespace!=""})"#, None),
    ] {
        assert_eq!(parse(query).selectors()[1].metric(), metric, "{query}");
    }
}

#[test]
fn q11_the_callers_own_matchers_stay_beside_ours() {
    for matchers in [
        r#"namespace="victim""#,
        r#"namespace=~".*""#,
        r#"namespace!="team-a""#,
        r#""namespace"="victim""#,
        r#"namespace="""#,
        r#"namespace!~"^$""#,
        r#"namespace="victim", namespace="victim""#,
    ] {
        assert_eq!(
            restricted(&format!("secret{{{matchers}}}")),
            format!(r#"secret{{{matchers}, namespace="team-a"}}"#)
        );
    }
}

#[test]
fn q12_or_in_braces_is_refused() {
    for query in [
        r#"secret{a="b" or namespace="victim"}"#,
        r#"{"up" or "secret"}"#,
        r#"secret{a="b" OR c="d"}"#,
        r#"secret{a="b", or c="d"}"#,
    ] {
        assert!(
            matches!(refused(query), QueryError::Syntax { .. }),
            "{query}"
        );
    }
    assert_all_confined(r#"up{or="x"}"#, 1);
}

#[test]
fn q13_quoted_names_stay_one_string() {
    for (query, expected) in [
        (
            r#"{"foo{} or secret{namespace=\"victim\"} or bar"}"#,
            r#"{"foo{} or secret{namespace=\"victim\"} or bar", namespace="team-a"}"#,
        ),
        (
            r#"sum by ("x) (secret) or sum by (y")(up)"#,
            r#"sum by ("x) (secret) or sum by (y") (up{namespace="team-a"})"#,
        ),
        (
            r#"up * on ("a) secret #") up"#,
            r#"up{namespace="team-a"} * on ("a) secret #") up{namespace="team-a"}"#,
        ),
        (
            r#"label_replace(up,"a\") or secret #","","b","")"#,
            r#"label_replace(up{namespace="team-a"}, "a\") or secret #", "", "b", "")"#,
        ),
        (
            r#"up{a='"} or secret{b="'}"#,
            r#"up{a="\"} or secret{b=\"", namespace="team-a"}"#,
        ),
        (
            "up{a=`\"} or secret{b=\"`}",
            r#"up{a="\"} or secret{b=\"", namespace="team-a"}"#,
        ),
    ] {
        assert_eq!(restricted(query), expected);
    }
}

#[test]
fn q14_comments_swallow_nothing() {
    for query in [
        "secret #",
        "secret{ # }\n}",
        "secret#{namespace=\"team-a\"}",
        "secret#{namespace=\"team-a\"}\n",
        "secret # a\r",
        "# a\r\nsecret # b\r\n",
    ] {
        assert_eq!(
            restricted(query),
            r#"secret{namespace="team-a"}"#,
            "{query:?}"
        );
    }
    assert_eq!(
        restricted("secret{a=\"b\" # c\n}"),
        r#"secret{a="b", namespace="team-a"}"#
    );
    // Prometheus does not allow a comment here, and without it the query would be valid.
    assert!(Query::parse("up[# c\n5m]", &Limits::default()).is_err());
    // Nor is this `fill`, as it looks past blanks only.
    assert!(Query::parse("up + fill # c\n (0) up", &Limits::default()).is_err());
}

#[test]
fn q15_a_series_selector_stands_alone() {
    let limits = Limits::default();
    for text in [
        "secret or phi",
        "secret[5m]",
        "(secret)",
        "+secret",
        "-secret",
        "secret offset 5m",
        "secret @ 1",
        "topk(1,secret)",
        "1",
        "\"x\"",
        "",
        " ",
        "#",
        "secret secret",
        "secret anchored",
        "rate(secret)",
        "secret{}{}",
    ] {
        assert!(
            matches!(
                Query::parse_selector(text, &limits),
                Err(QueryError::NotASelector { .. })
            ),
            "{text}"
        );
    }
    for text in [
        "secret{",
        "secret]",
        "secret;",
        "{}",
        "{a=\"\"}",
        "secret{a=\"b\" or c=\"d\"}",
    ] {
        assert!(Query::parse_selector(text, &limits).is_err(), "{text}");
    }
    for (text, expected) in [
        ("up", r#"up{namespace="team-a"}"#),
        (" sum # c", r#"sum{namespace="team-a"}"#),
        (r#"{"up",}"#, r#"{"up", namespace="team-a"}"#),
        (
            r#"{__name__=~".+"}"#,
            r#"{__name__=~".+", namespace="team-a"}"#,
        ),
    ] {
        let set = set(&["team-a"]);
        let label = "namespace";
        let output = Query::parse_selector(text, &limits)
            .and_then(|query| query.restrict(|_, _| Constraint::Namespaces { label, set: &set }));
        assert_eq!(output.as_deref(), Ok(expected));
    }
}

#[test]
fn q18_q38_what_prometheus_cannot_read_is_refused() {
    for text in [
        "up\u{c}",
        "up\0",
        "\u{feff}up",
        "up\u{2028}",
        "up\u{a0}",
        "up{a=\"\u{fffd}\"}",
        "up $x",
        "up; up",
        "up\u{b}",
    ] {
        assert!(
            matches!(refused(text), QueryError::Syntax { .. }),
            "{text:?}"
        );
    }
}

#[test]
fn q19_q34_numbers_of_any_size_go_on_as_they_are() {
    for tail in [
        " offset inf",
        " offset nan",
        "[1e30]",
        "[5m:1e30]",
        " offset -1e33",
        "[18446744073709551616]",
        " @ 1e19",
        " @ 1e300",
    ] {
        let query = format!("up{tail}");
        assert_eq!(unchanged(&query), query);
    }
}

#[test]
fn q20_q21_d02_deep_and_long_queries_are_refused_at_once() {
    let limits = Limits::default();
    let wide = Limits {
        max_bytes: 1 << 20,
        ..Limits::default()
    };
    for text in [
        format!(
            "{}up{}",
            "vector(scalar(".repeat(1400),
            " + up))".repeat(1400)
        ),
        format!("{}up{}", "(".repeat(7300), ")".repeat(7300)),
        format!("{}up", "-".repeat(7300)),
        format!("{}up", "up+".repeat(5700)),
        format!("{}up{}", "(up+".repeat(3200), ")".repeat(3200)),
        format!("{}up{}", "abs(".repeat(2800), ")".repeat(2800)),
        format!("{}up", "up or ".repeat(11_000)),
        format!("{}up{}", "sum(".repeat(25_000), ")".repeat(25_000)),
        "-".repeat(100_000),
        "(".repeat(200_000),
        "[".repeat(200_000),
        "up[5m:".repeat(10_000),
    ] {
        let start = std::time::Instant::now();
        for limits in [&limits, &wide] {
            assert!(measure(&text, limits).is_err(), "{text:.30}");
            assert!(Query::parse(&text, limits).is_err(), "{text:.30}");
            assert!(Query::parse_selector(&text, limits).is_err(), "{text:.30}");
        }
        assert!(start.elapsed().as_secs() < 2, "{text:.30}");
    }
}

#[test]
fn q24_the_restricted_text_is_bounded() {
    let many = NamespaceSet::new(
        (0..5000).map(|index| Namespace::parse(&format!("namespace-{index:04}")).expect("a name")),
    )
    .expect("names");
    let label = "namespace";
    let restrict = |selectors: usize| {
        let query = vec!["up"; selectors].join(" or ");
        parse(&query).restrict(|_, _| Constraint::Namespaces { label, set: &many })
    };
    assert!(restrict(40).is_ok_and(|text| text.len() < 3 << 20));
    assert_eq!(
        restrict(300),
        Err(QueryError::OutputTooLong { limit: 3 << 20 })
    );
    let numbers = vec!["1e308"; 1000].join(" + ");
    assert_eq!(unchanged(&numbers), numbers);
}
