//! What is added, where, and what becomes of the rest.

use super::*;

#[test]
fn a_matcher_is_added_behind_the_callers_own() {
    for (query, expected) in [
        ("up", r#"up{namespace="team-a"}"#),
        ("up{}", r#"up{namespace="team-a"}"#),
        (r#"up{job="x"}"#, r#"up{job="x", namespace="team-a"}"#),
        (r#"up{job="x",}"#, r#"up{job="x", namespace="team-a"}"#),
        (r#"{job="x"}"#, r#"{job="x", namespace="team-a"}"#),
        (r#"{"up"}"#, r#"{"up", namespace="team-a"}"#),
        ("job:up:sum", r#"job:up:sum{namespace="team-a"}"#),
    ] {
        assert_eq!(restricted(query), expected);
    }
}

#[test]
fn a_label_that_is_no_plain_name_stands_in_quotes_everywhere() {
    let names = set(&["team-a"]);
    let label = "k8s.namespace.name";
    for (query, expected) in [
        ("up", r#"up{"k8s.namespace.name"="team-a"}"#),
        (
            r#"{"http.server.duration"}"#,
            r#"{"http.server.duration", "k8s.namespace.name"="team-a"}"#,
        ),
        (
            "rate(http.server.duration[5m])",
            r#"rate(http.server.duration{"k8s.namespace.name"="team-a"}[5m])"#,
        ),
        (
            r#"absent(up{"k8s.namespace.name"!="x"})"#,
            r#"absent(up{"k8s.namespace.name"=~"team-a", "k8s.namespace.name"!="x"})"#,
        ),
        (
            r#"sum by ("k8s.namespace.name") (up{"k8s.namespace.name"="team-a"})"#,
            r#"sum by ("k8s.namespace.name") (up{"k8s.namespace.name"="team-a"})"#,
        ),
        // The label of everybody else is another one.
        (
            r#"up{namespace="team-a"}"#,
            r#"up{namespace="team-a", "k8s.namespace.name"="team-a"}"#,
        ),
    ] {
        let constraint = Constraint::Namespaces { label, set: &names };
        let restricted = parse(query).restrict(|_, _| constraint).expect(query);
        assert_eq!(restricted, expected);
        let again = parse(&restricted).restrict(|_, _| constraint);
        assert_eq!(again.as_ref(), Ok(&restricted), "twice is once");
        let read = parse(&restricted);
        for selector in read.selectors() {
            assert_eq!(selector.named(label).as_ref(), Some(&names), "{restricted}");
        }
    }
    for (label, several, expected) in [
        ("namespace", false, r#"{namespace="team-a"}"#),
        (label, false, r#"{"k8s.namespace.name"="team-a"}"#),
        (label, true, r#"{"k8s.namespace.name"=~"team-a|team-b"}"#),
        ("größe", false, r#"{"größe"="team-a"}"#),
    ] {
        let names = if several {
            set(&["team-a", "team-b"])
        } else {
            names.clone()
        };
        assert_eq!(all_of(label, &names), expected);
    }
}

#[test]
fn several_namespaces_are_an_alternation() {
    assert_eq!(
        restricted_to("up", &["b", "a", "c-1"]),
        r#"up{namespace=~"a|b|c-1"}"#
    );
}

#[test]
fn an_open_selector_is_left_as_it_is() {
    assert_eq!(unchanged("rate( up [5m] )"), "rate(up[5m])");
}

#[test]
fn each_selector_gets_the_constraint_that_was_chosen_for_it() {
    let (a, b) = (set(&["a"]), set(&["b"]));
    let query = parse(r#"kube_pod_info * on (pod) keda_x / {a="b"}"#);
    let mut seen = Vec::new();
    let output = query.restrict(|index, selector| {
        seen.push((index, selector.metric().map(str::to_owned)));
        match selector.metric() {
            Some("keda_x") => Constraint::Namespaces {
                label: "exported_namespace",
                set: &b,
            },
            Some(_) => Constraint::Open,
            None => Constraint::Namespaces {
                label: "k8s.namespace",
                set: &a,
            },
        }
    });
    assert_eq!(
        output.as_deref(),
        Ok(
            r#"kube_pod_info * on (pod) keda_x{exported_namespace="b"} / {a="b", "k8s.namespace"="a"}"#
        )
    );
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(
        seen,
        [(0, name("kube_pod_info")), (1, name("keda_x")), (2, None)]
    );
}

#[test]
fn a_selector_that_is_confined_already_stays() {
    for query in [
        r#"up{namespace="team-a"}"#,
        r#"up{namespace=~"team-a"}"#,
        r#"up{namespace=~"team-a|team-b"}"#,
        r#"up{"namespace"="team-b"}"#,
        r#"up{namespace="victim", namespace="team-a"}"#,
    ] {
        assert_eq!(
            restricted_to(query, &["team-a", "team-b"]),
            unchanged(query)
        );
    }
}

#[test]
fn a_matcher_that_lets_others_pass_does_not_confine() {
    for matcher in [
        r#"namespace="""#,
        r#"namespace="team-c""#,
        r#"namespace!="team-c""#,
        r#"namespace!~"team-c""#,
        r#"namespace=~"team-a|""#,
        r#"namespace=~"|team-a""#,
        r#"namespace=~"team-a|team-c""#,
        r#"namespace=~"team-.""#,
        r#"namespace=~"team-a.*""#,
        r#"namespace=~"(?i)team-a""#,
        r#"namespace=~"""#,
        r#"Namespace="team-a""#,
        r#"namespaces="team-a""#,
        r#"pod="team-a""#,
    ] {
        let query = format!("up{{{matcher}}}");
        assert_eq!(
            restricted_to(&query, &["team-a", "team-b"]),
            format!(r#"up{{{matcher}, namespace=~"team-a|team-b"}}"#)
        );
    }
}

#[test]
fn tokens_keep_their_order_and_plain_numbers_their_spelling() {
    for (query, expected) in [
        ("1+2*3", "1 + 2 * 3"),
        ("- -1--1", "--1 - -1"),
        ("-(1)", "-(1)"),
        ("1e+5+0x1F", "1e+5 + 31"),
        ("1h30m+1_000", "1h30m + 1000"),
        ("time( )", "time()"),
        ("topk(5,vector(1))", "topk(5, vector(1))"),
        ("sum by(a,b)(vector(1))", "sum by (a, b) (vector(1))"),
        (
            "sum(vector(1))without(\"a b\",)",
            "sum(vector(1)) without (\"a b\",)",
        ),
        (
            "1>bool on(a)group_left(b)fill(0)2",
            "1 > bool on (a) group_left (b) fill(0) 2",
        ),
        (
            "vector(1)[5m+1m:step()*2]@start()offset -(1m+2m)",
            "vector(1)[5m + 1m:step() * 2] @ start() offset -(1m + 2m)",
        ),
        (
            "1 offset max_of( 1m,-step( ) )",
            "1 offset max_of(1m, -step())",
        ),
        ("1[5m:]@-5 anchored", "1[5m:] @ -5 anchored"),
        ("1</2>/3", "1 </ 2 >/ 3"),
        ("1 AND 2", "1 AND 2"),
        ("0x1e # the end", "30"),
    ] {
        assert_eq!(unchanged(query), expected);
        assert_eq!(unchanged(expected), expected);
    }
}

#[test]
fn absent_gets_no_label_from_an_added_matcher() {
    for (query, expected) in [
        ("absent(up)", r#"absent(up{namespace=~"team-a"})"#),
        (
            "absent_over_time(up[5m])",
            r#"absent_over_time(up{namespace=~"team-a"}[5m])"#,
        ),
        (
            "up or absent((up) > scalar(up)) or up",
            r#"up{namespace="team-a"} or absent((up{namespace=~"team-a"}) > scalar(up{namespace=~"team-a"})) or up{namespace="team-a"}"#,
        ),
    ] {
        assert_eq!(restricted(query), expected);
    }
}

#[test]
fn q47_absent_keeps_the_callers_own_label() {
    for (query, expected) in [
        (
            r#"absent_over_time(b{namespace="(?i)X"}[10m])"#,
            r#"absent_over_time(b{namespace=~"team-a", namespace="(?i)X"}[10m])"#,
        ),
        (
            r#"absent(b{namespace=~".*", namespace="X",})"#,
            r#"absent(b{namespace=~"team-a", namespace=~".*", namespace="X",})"#,
        ),
        (
            r#"absent({"b", namespace="X", namespace="Y"})"#,
            r#"absent({namespace=~"team-a", "b", namespace="X", namespace="Y"})"#,
        ),
        // These let nothing else through, and stay as they are.
        (
            r#"absent(b{namespace="team-a", namespace="X"})"#,
            r#"absent(b{namespace="team-a", namespace="X"})"#,
        ),
        ("absent(b{})", r#"absent(b{namespace=~"team-a"})"#),
    ] {
        assert_eq!(restricted(query), expected);
    }
}

#[test]
fn fixed_values_stand_in_every_selector_once() {
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let values = [pair("cluster", "prod-1"), pair("zone", "a\"b.c\\")];
    let confined = |text: &str| {
        let query = parse(text);
        query
            .restrict(|_, _| Constraint::Values(&values))
            .expect(text)
    };
    for (text, expected) in [
        ("up", r#"up{cluster="prod-1", zone="a\"b.c\\"}"#),
        ("up{}", r#"up{cluster="prod-1", zone="a\"b.c\\"}"#),
        (
            r#"up{pod="x",}"#,
            r#"up{pod="x", cluster="prod-1", zone="a\"b.c\\"}"#,
        ),
        (
            r#"up{cluster="prod-2"}"#,
            r#"up{cluster="prod-2", cluster="prod-1", zone="a\"b.c\\"}"#,
        ),
        (
            r#"up{cluster=~"prod-1|prod-2"}"#,
            r#"up{cluster=~"prod-1|prod-2", cluster="prod-1", zone="a\"b.c\\"}"#,
        ),
        (
            r#"up{cluster="prod-1"}"#,
            r#"up{cluster="prod-1", zone="a\"b.c\\"}"#,
        ),
        (
            r#"absent(up{pod="x"})"#,
            r#"absent(up{cluster=~"prod-1", zone=~"a\"b\\.c\\\\", pod="x"})"#,
        ),
        ("vector(1)", "vector(1)"),
    ] {
        assert_eq!(confined(text), expected);
    }
    let both = confined(&restricted("a / on (pod) b[5m:]"));
    assert_eq!(parse(&both).selectors().len(), 2);
    for selector in parse(&both).selectors() {
        let labels: Vec<_> = selector.matchers().iter().map(|one| one.label()).collect();
        assert_eq!(labels, [&b"namespace"[..], b"cluster", b"zone"]);
    }
}

#[test]
fn names_known_in_part_stand_beside_the_callers_own() {
    let names = set(&["team-a"]);
    let some = MetricNames::new(
        [Name::Starting("keda_"), Name::Exactly("http.server.count")],
        [Name::Exactly("keda_x"), Name::Starting("keda_raw_")],
    );
    let some = some.expect("names");
    assert_eq!(MetricNames::new([], [Name::Exactly("x")]), None);
    let within = Some(("exported_namespace", &names));
    for (text, within, expected) in [
        (
            r#"{__name__=~"keda_.+"}"#,
            within,
            r#"{__name__=~"keda_.+", __name__=~"keda_(?s:.*)|http\\.server\\.count", __name__!~"keda_x|keda_raw_(?s:.*)", exported_namespace="team-a"}"#,
        ),
        (
            r#"{pod="x",}"#,
            None,
            r#"{pod="x", __name__=~"keda_(?s:.*)|http\\.server\\.count", __name__!~"keda_x|keda_raw_(?s:.*)"}"#,
        ),
    ] {
        let constraint = Constraint::Metrics {
            names: &some,
            within,
        };
        let restricted = parse(text).restrict(|_, _| constraint).expect(text);
        assert_eq!(restricted, expected);
        let again = parse(&restricted).restrict(|_, _| constraint);
        assert_eq!(again.as_ref(), Ok(&restricted), "twice is once");
    }
}
