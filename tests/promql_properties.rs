//! Properties of the restriction that hold for every text, and a second opinion on what it writes.
//!
//! The second opinion is the crate promql-parser. It refuses part of PromQL, so that only what it can read counts.

#![allow(unreachable_pub, reason = "a test is a crate that nobody reaches into")]

mod corpus;
mod generator;

use generator::{Dialect, Generator, Vocabulary};
use prom_rbac_proxy::namespace::{Namespace, NamespaceSet};
use prom_rbac_proxy::promql::{Constraint, Limits, MatchOperator, Query, QueryError, measure};
use promql_parser::parser::{self, Expr, VectorSelector};
use proptest::prelude::*;

const LABEL: &str = "namespace";

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        // A failure prints its input, which becomes a case of the corpus.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_tokens_are_read_or_refused(tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..40)) {
        check(&tokens.concat());
        check(&tokens.join(" "));
    }

    #[test]
    fn any_expression_is_confined(seed in any::<u64>()) {
        let text = Generator::new(seed, vocabulary(), Dialect::Everything).expression();
        prop_assert!(check(&text), "refused: {text}");
    }

    #[test]
    fn any_part_of_an_expression_is_read_or_refused(seed in any::<u64>(), from in 0..40_usize, to in 0..400_usize) {
        let text = Generator::new(seed, vocabulary(), Dialect::Everything).expression();
        let part: String = text.chars().skip(from).take(to).collect();
        check(&part);
    }

    #[test]
    fn any_value_is_written_as_it_was_read(value in prop::collection::vec(any::<u8>(), 0..40)) {
        let escaped: String = value.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let text = format!("up{{a=\"{escaped}\"}}");
        let output = Query::parse(&text, &Limits::default())
            .and_then(|query| query.restrict(|_, _| Constraint::Open))
            .expect("a valid query");
        let again = Query::parse(&output, &Limits::default()).expect("a valid query");
        prop_assert_eq!(again.selectors()[0].matchers()[0].value(), &value[..]);
    }
}

#[test]
fn corpus_is_read_or_refused() {
    for text in corpus::grammar().iter().chain(&corpus::headlamp()) {
        check(text);
        for end in 0..text.len() {
            if let Some(start) = text.get(..end) {
                check(start);
            }
        }
    }
}

#[test]
fn every_query_of_headlamp_is_restricted() {
    for text in corpus::headlamp() {
        assert!(check(&text), "{text}");
    }
}

#[test]
fn q40_a_second_parser_finds_the_matchers() {
    let mut generator = Generator::new(7, vocabulary(), Dialect::Common);
    let mut queries = corpus::headlamp();
    queries.extend(corpus::grammar());
    queries.extend((0..1000).map(|_| generator.expression()));
    let (mut read, mut written, mut selectors) = (0, 0, 0);
    for query in &queries {
        for set in [names(&["team-a"]), names(&["team-a", "team-b"])] {
            let Ok(output) = restrict(query, &set) else {
                continue;
            };
            written += 1;
            // It panics over some numbers, such as `offset inf`.
            let Ok(Ok(expression)) = std::panic::catch_unwind(|| parser::parse(&output)) else {
                continue;
            };
            read += 1;
            let mut found = Vec::new();
            vector_selectors(&expression, &mut found);
            for selector in &found {
                let matchers = &selector.matchers;
                assert!(matchers.or_matchers.is_empty(), "{output}");
                let is_confined = matchers.matchers.iter().any(|matcher| {
                    use promql_parser::label::MatchOp;
                    matcher.name == LABEL
                        && match &matcher.op {
                            MatchOp::Equal => set.contains(&matcher.value),
                            MatchOp::Re(_) => {
                                matcher.value.split('|').all(|name| set.contains(name))
                            }
                            _ => false,
                        }
                });
                assert!(is_confined, "{output}");
            }
            selectors += found.len();
        }
    }
    println!(
        "second opinion: {read} of {written} restricted queries read, {selectors} selectors confined"
    );
    assert!(read * 10 > written * 6);
}

/// Checks what holds of every text, and returns whether it is a query.
fn check(text: &str) -> bool {
    let limits = Limits::default();
    let _ = measure(text, &limits);
    if let Ok(query) = Query::parse_selector(text, &limits) {
        assert_eq!(query.selectors().len(), 1, "{text:?}");
    }
    let set = names(&["team-a", "team-b"]);
    let query = Query::parse(text, &limits).and_then(|query| {
        let output = query.restrict(|_, _| constraint(&set))?;
        Ok((output, query.selectors().len()))
    });
    let (output, selectors) = match query {
        Ok(read) => read,
        Err(error) => {
            assert!(error.to_string().len() < 1024);
            assert!(error.position().is_none_or(|at| at <= text.len()));
            assert!(error.pointer(text).is_none_or(|text| text.len() < 1024));
            return false;
        }
    };
    let again = Query::parse(&output, &limits).expect(&output);
    assert_eq!(again.selectors().len(), selectors, "{text:?}: {output:?}");
    for selector in again.selectors() {
        let is_confined = selector.matchers().iter().any(|matcher| {
            let value = str::from_utf8(matcher.value()).unwrap_or("");
            matcher.label() == LABEL.as_bytes()
                && match matcher.operator() {
                    MatchOperator::Equal => set.contains(value),
                    MatchOperator::Regex => value.split('|').all(|name| set.contains(name)),
                    MatchOperator::NotEqual | MatchOperator::NotRegex => false,
                }
        });
        assert!(is_confined, "{output}");
    }
    assert_eq!(
        again.restrict(|_, _| constraint(&set)).as_deref(),
        Ok(output.as_str()),
        "{text:?}"
    );
    true
}

fn restrict(query: &str, set: &NamespaceSet) -> Result<String, QueryError> {
    Query::parse(query, &Limits::default())?.restrict(|_, _| constraint(set))
}

/// All vector selectors of the tree. The crate's own visitor leaves out the parameters of aggregations.
fn vector_selectors<'e>(expression: &'e Expr, found: &mut Vec<&'e VectorSelector>) {
    match expression {
        Expr::Aggregate(aggregate) => {
            if let Some(parameter) = &aggregate.param {
                vector_selectors(parameter, found);
            }
            vector_selectors(&aggregate.expr, found);
        }
        Expr::Unary(unary) => vector_selectors(&unary.expr, found),
        Expr::Binary(binary) => {
            vector_selectors(&binary.lhs, found);
            vector_selectors(&binary.rhs, found);
        }
        Expr::Paren(paren) => vector_selectors(&paren.expr, found),
        Expr::Subquery(subquery) => vector_selectors(&subquery.expr, found),
        Expr::VectorSelector(selector) => found.push(selector),
        Expr::MatrixSelector(matrix) => found.push(&matrix.vs),
        Expr::Call(call) => {
            for argument in &call.args.args {
                vector_selectors(argument, found);
            }
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        other => panic!("a node that is not known here: {other:?}"),
    }
}

fn vocabulary() -> Vocabulary {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Vocabulary {
        metrics: words(&[
            "up",
            "http_requests_total",
            "job:up:sum",
            "http.requests",
            "or",
            "sum",
            "offset",
        ]),
        labels: vec![
            (LABEL.to_owned(), words(&["team-a", "victim", ""])),
            ("job".to_owned(), words(&["api", "it's", "a\"b\\c"])),
        ],
    }
}

fn constraint(set: &NamespaceSet) -> Constraint<'_> {
    Constraint::Namespaces { label: LABEL, set }
}

fn names(names: &[&str]) -> NamespaceSet {
    NamespaceSet::new(names.iter().filter_map(|name| Namespace::parse(name))).expect("names")
}

const TOKENS: &[&str] = &[
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "</",
    ">/",
    "=",
    "=~",
    "!~",
    "@",
    "#",
    "\n",
    " ",
    "1",
    ".5",
    "0x1e",
    "1e3",
    "1_",
    "5m",
    "inf",
    "\"a\"",
    "'b'",
    "`c`",
    "\"",
    "\\",
    "up",
    "a:b",
    "a.b",
    "ö",
    "sum",
    "topk",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "and",
    "or",
    "unless",
    "atan2",
    "fill",
    "fill_left",
    "fill_right",
    "anchored",
    "smoothed",
    "start",
    "end",
    "step",
    "range",
    "max_of",
    "min_of",
    "rate",
    "absent",
    "info",
    "job=\"x\"",
    "namespace=\"team-a\"",
    "\u{fffd}",
];
