//! The restriction, held against Prometheus' own parser.
//!
//! For each query that Prometheus accepts: it is accepted here, the restricted text is accepted there, its tree is the
//! original's but for the added matchers, and every selector of the tree is confined. What Prometheus refuses is never
//! turned into something that it accepts.
//!
//! The oracle is a Go program beside this file, built with the parser of the newest Prometheus and with those of older
//! release lines: see `releases`, and `soup` for the texts without grammar. Where Go is missing, the `format_query`
//! endpoint of the Prometheus on the PATH takes its place; it knows the grammar of its own version only.
//!
//! `PROMQL_SEED` sets the seed of the generated queries, `PROMQL_GENERATED` their number, `PROMQL_SOUP` that of the texts
//! without grammar.

#![allow(unreachable_pub, reason = "a test is a crate that nobody reaches into")]

mod corpus;
#[path = "promql/formatter.rs"]
mod formatter;
mod generator;
#[path = "promql/oracle.rs"]
mod oracle;
#[path = "promql/releases.rs"]
mod releases;
#[path = "promql/soup.rs"]
mod soup;

use generator::{Dialect, Generator, Vocabulary};
use oracle::{Oracle, Question};
use prom_rbac_proxy::namespace::{Namespace, NamespaceSet};
use prom_rbac_proxy::promql::{Constraint, Limits, Query, QueryError, measure};
use serde_json::Value;
use soup::Soup;

const DEFAULT_SEED: u64 = 20_240_607;
const DEFAULT_GENERATED: usize = 4000;
const DEFAULT_SOUP: usize = 20_000;

#[test]
fn q40_corpus_keeps_its_trees_and_is_confined() {
    let mut queries = corpus::headlamp();
    assert!(queries.len() >= 82, "Headlamp's queries are complete");
    queries.extend(corpus::grammar());
    compare("corpus", &Oracle::start(), &queries);
}

#[test]
fn q40_generated_queries_keep_their_trees_and_are_confined() {
    let (seed, count) = generated();
    let mut generator = Generator::new(seed, vocabulary(), Dialect::Everything);
    let mut queries: Vec<_> = (0..count).map(|_| generator.expression()).collect();
    let mut generator = Generator::new(seed, vocabulary(), Dialect::Common);
    queries.extend((0..count / 4).map(|_| generator.expression()));
    println!("seed {seed}: {} generated queries", queries.len());
    let oracle = Oracle::start();
    let accepted = compare("generated", &oracle, &queries);
    // An older Prometheus knows less of the grammar.
    if oracle.reads_trees() {
        assert!(
            accepted * 10 > queries.len() * 8,
            "the generator makes valid queries: {accepted} of {}",
            queries.len()
        );
    }
}

#[test]
fn q45_q46_all_releases_read_what_goes_out_alike() {
    let releases = Oracle::releases();
    let (seed, count) = generated();
    let mut queries = corpus::headlamp();
    queries.extend(corpus::grammar());
    for label in [releases::PLAIN, releases::QUOTED] {
        let tally = releases::compare(&releases, &queries, label);
        println!("corpus, {label}: {tally}");
    }

    let mut generator = Generator::new(seed, vocabulary(), Dialect::Everything);
    let mut queries: Vec<_> = (0..count).map(|_| generator.expression()).collect();
    let mut mutation = Mutation(seed | 1);
    let mutated: Vec<_> = queries.iter().map(|query| mutation.apply(query)).collect();
    queries.extend(mutated);
    for label in [releases::PLAIN, releases::QUOTED] {
        let tally = releases::compare(&releases, &queries, label);
        println!("generated, {label}: {tally}");
    }
}

/// The texts of the leak, which all go through the restriction in `src/promql/tests/numbers.rs`: who reads a selector in
/// them.
#[test]
fn q45_releases_before_2_54_end_a_hexadecimal_number_before_a_sign() {
    for release in Oracle::releases() {
        let name = release.to_string();
        let is_old = ["2.42", "2.45", "2.53"]
            .iter()
            .any(|old| name.ends_with(old));
        let texts = [
            "0x1e+decade",
            "sum by (namespace) (0x1e+b)",
            "0x1e+or or{a=\"b\"}",
        ];
        for reading in release.ask(texts.iter().map(|text| Question::Query(text))) {
            assert_eq!(reading.default.is_ok(), is_old, "{release}: {reading:?}");
            let leaks = reading
                .default
                .is_ok_and(|tree| !releases::is_confined(&tree, releases::PLAIN));
            assert_eq!(leaks, is_old, "{release}");
        }
    }
}

#[test]
fn q46_a_soup_of_tokens_is_read_alike_by_all_releases() {
    let releases = Oracle::releases();
    let count = number("PROMQL_SOUP").unwrap_or(DEFAULT_SOUP);
    let mut soup = Soup::new(number("PROMQL_SEED").unwrap_or(DEFAULT_SEED));
    let mut tally = releases::Tally::default();
    let mut left = count;
    while left > 0 {
        let part = left.min(20_000);
        let texts: Vec<_> = (0..part).map(|_| soup.text()).collect();
        tally += releases::compare(&releases, &texts, releases::PLAIN);
        left -= part;
    }
    println!("soup: {tally}");
    assert!(tally.let_out * 3 > tally.texts, "too few texts are queries");
    // As `0x1e+b`: what this test is for does occur.
    assert!(releases.is_empty() || tally.only_old * 1000 > tally.texts);
}

#[test]
fn q40_broken_queries_stay_broken() {
    let (seed, count) = generated();
    let mut sources = corpus::grammar();
    let mut generator = Generator::new(seed, vocabulary(), Dialect::Everything);
    sources.extend((0..count).map(|_| generator.expression()));
    let mut mutation = Mutation(seed | 1);
    let queries: Vec<_> = (0..2 * count)
        .map(|index| mutation.apply(&sources[index % sources.len()]))
        .collect();
    println!("seed {seed}: {} mutated queries", queries.len());
    compare("mutated", &Oracle::start(), &queries);
}

#[test]
fn q15_series_selectors_are_read_as_prometheus_reads_them() {
    let oracle = Oracle::start();
    if !oracle.reads_trees() {
        return;
    }
    let (seed, count) = generated();
    let mut generator = Generator::new(seed, vocabulary(), Dialect::Everything);
    let mut selectors: Vec<_> = (0..count / 4).map(|_| generator.selector()).collect();
    let mut mutation = Mutation(seed | 1);
    let mutated: Vec<_> = selectors.iter().map(|text| mutation.apply(text)).collect();
    selectors.extend(mutated);
    selectors.extend(corpus::grammar());
    let set = names(&["team-a"]);
    let restricted: Vec<_> = selectors
        .iter()
        .map(|text| {
            let query = Query::parse_selector(text, &Limits::default())?;
            query.restrict(|_, _| constraint("namespace", &set))
        })
        .collect();
    let originals = oracle.ask(selectors.iter().map(|text| Question::Selector(text)));
    let rewritten = oracle.ask(
        restricted
            .iter()
            .map(|text| Question::Selector(text.as_deref().unwrap_or("(refused)"))),
    );
    let mut compared = 0;
    for (index, text) in selectors.iter().enumerate() {
        // The two ways to read unquoted names differ for expressions only.
        let original = &originals[index].unquoted;
        match (original, &restricted[index]) {
            (Ok(tree), Ok(_)) => {
                let after = rewritten[index].unquoted.as_ref().expect(text);
                let matchers =
                    |tree: &Value| tree["matchers"].as_array().cloned().unwrap_or_default();
                let (before, after) = (matchers(tree), matchers(after));
                assert!(is_added_to(&before, &after, &set), "{text}: {after:?}");
                compared += 1;
            }
            (Ok(_), Err(error)) => panic!("Prometheus accepts {text:?}, and here: {error}"),
            (Err(_), Ok(rewritten_text)) => {
                assert!(
                    rewritten[index].unquoted.is_err(),
                    "Prometheus refuses {text:?} and accepts {rewritten_text:?}"
                );
            }
            (Err(_), Err(_)) => {}
        }
    }
    println!("selectors: {compared} compared of {}", selectors.len());
    assert!(compared > selectors.len() / 5);
}

#[test]
fn functions_are_those_of_prometheus() {
    let oracle = Oracle::start();
    if !oracle.reads_trees() {
        return;
    }
    let functions = oracle.functions();
    assert!(functions.len() > 80, "{functions:?}");
    for name in functions {
        let query = format!("{name}()");
        let read = Query::parse(&query, &Limits::default());
        if name == "info" {
            assert!(matches!(read, Err(QueryError::InfoFunction { .. })));
        } else {
            assert!(read.is_ok(), "{name} is missing from the list");
        }
    }
}

/// Compares all queries and returns how many of them Prometheus accepted.
fn compare(name: &str, oracle: &Oracle, queries: &[String]) -> usize {
    let limits = Limits::default();
    let mut selectors = 0;
    let mut compared = 0;
    let mut accepted = 0;
    let mut exceptions = 0;
    let originals = oracle.ask(queries.iter().map(|query| Question::Query(query)));
    let mut constraints = vec![
        ("namespace", names(&["team-a"])),
        ("exported_namespace", names(&["team-a", "team-b"])),
    ];
    if oracle.reads_trees() {
        // Prometheus 2 knows no quoted labels.
        constraints.push(("name space", names(&["team-a", "team-b"])));
    }
    for (label, set) in &constraints {
        let restricted: Vec<_> = queries
            .iter()
            .map(|query| {
                let read = Query::parse(query, &limits)?;
                read.restrict(|_, _| constraint(label, set))
            })
            .collect();
        let rewritten = oracle.ask(
            restricted
                .iter()
                .map(|text| Question::Query(text.as_deref().unwrap_or("(refused)"))),
        );
        for (index, query) in queries.iter().enumerate() {
            let (before, after) = (&originals[index], &rewritten[index]);
            let is_accepted = before.default.is_ok() || before.unquoted.is_ok();
            let output = match &restricted[index] {
                Ok(output) => output,
                Err(error) => {
                    if is_accepted {
                        // An older Prometheus accepts what the newest refuses, such as `0xee`.
                        assert!(
                            exception(error).is_some() || !oracle.reads_trees(),
                            "Prometheus accepts {query:?}, and here: {error}"
                        );
                        exceptions += 1;
                    }
                    continue;
                }
            };
            assert!(measure(query, &limits).is_ok(), "{query}");
            // `up offset.5` is read without the feature flag, as that makes a query of it.
            let default_only = before.default.is_ok() && before.default != before.unquoted;
            for (before, after, compares) in [
                (&before.default, &after.default, true),
                (&before.unquoted, &after.unquoted, !default_only),
            ] {
                match (before, after) {
                    _ if !compares => {}
                    (Ok(before), Ok(after)) => {
                        let mut confined = 0;
                        oracle
                            .compare(before, after, label, &mut |before, after| {
                                confined += 1;
                                is_added_to_selector(before, after, label, set)
                            })
                            .unwrap_or_else(|path| {
                                panic!(
                                    "{path} differs\n  {query:?}\n  {output:?}\n{before}\n{after}"
                                )
                            });
                        selectors += confined;
                        compared += 1;
                    }
                    (Ok(_), Err(error)) => {
                        panic!("Prometheus accepts {query:?} and refuses {output:?}: {error}")
                    }
                    (Err(error), Ok(_)) => {
                        panic!("Prometheus refuses {query:?} ({error}) and accepts {output:?}")
                    }
                    (Err(_), Err(_)) => {}
                }
            }
            let again = Query::parse(output, &limits)
                .and_then(|read| read.restrict(|_, _| constraint(label, set)));
            assert_eq!(
                again.as_deref(),
                Ok(output.as_str()),
                "twice is once: {query:?}"
            );
            accepted += usize::from(is_accepted);
        }
    }
    let accepted = accepted / constraints.len();
    println!(
        "{name}: {} queries, {accepted} accepted by {oracle}; {compared} pairs of trees compared, {selectors} \
         selectors confined, {} queries refused here by a listed exception",
        queries.len(),
        exceptions / constraints.len()
    );
    accepted
}

/// Why a query that Prometheus accepts may be refused here.
fn exception(error: &QueryError) -> Option<&'static str> {
    match error {
        QueryError::InfoFunction { .. } => {
            Some("info() without labels reads series beyond its arguments")
        }
        QueryError::InfoLabels { .. } => Some("a matcher would add a label to what info() answers"),
        QueryError::Syntax { reason, .. } if reason.contains("offset without parentheses") => {
            Some("Prometheus 3.4 to 3.12 answers `offset -(5m)` with a stack trace in its log")
        }
        _ => None,
    }
}

/// Whether the selector of the restricted query is that of the original with one matcher more, or is the same because
/// that was confined before.
fn is_added_to_selector(before: &Value, after: &Value, label: &str, set: &NamespaceSet) -> bool {
    let matchers = |tree: &Value| {
        let mut all = tree["matchers"].as_array().cloned().unwrap_or_default();
        // The name of the metric comes last if it stands before the braces.
        if tree.get("Name").is_some() {
            all.pop();
        }
        all
    };
    let (before, after) = (matchers(before), matchers(after));
    is_added_to_label(&before, &after, label, set)
}

fn is_added_to(before: &[Value], after: &[Value], set: &NamespaceSet) -> bool {
    let strip = |matchers: &[Value]| {
        let (names, rest): (Vec<_>, Vec<_>) = matchers
            .iter()
            .cloned()
            .partition(|matcher| matcher[0] == "\"__name__\"");
        (names, rest)
    };
    let ((names_before, before), (names_after, after)) = (strip(before), strip(after));
    names_before == names_after && is_added_to_label(&before, &after, "namespace", set)
}

fn is_added_to_label(before: &[Value], after: &[Value], label: &str, set: &NamespaceSet) -> bool {
    let is_confined = |matcher: &Value| {
        let text = |index: usize| matcher[index].as_str().unwrap_or("").trim_matches('"');
        text(0) == label
            && match text(1) {
                "=" => set.contains(text(2)),
                "=~" => text(2).split('|').all(|name| set.contains(name)),
                _ => false,
            }
    };
    // In the arguments of `absent()` it comes first.
    let is_added = |(added, rest): (&Value, &[Value])| {
        rest == before && is_confined(added) && !before.iter().any(is_confined)
    };
    before == after && after.iter().any(is_confined)
        || after.split_last().is_some_and(is_added)
        || after.split_first().is_some_and(is_added)
}

fn vocabulary() -> Vocabulary {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Vocabulary {
        metrics: words(&[
            "up",
            "http_requests_total",
            "job:up:sum",
            "http.requests",
            "on",
            "sum",
            "offset",
            "start",
            "fill",
            "by",
            "smoothed",
        ]),
        labels: vec![
            (
                "namespace".to_owned(),
                words(&["team-a", "team-b", "victim", ""]),
            ),
            ("job".to_owned(), words(&["api", "it's", "a\"b\\c"])),
            ("pod".to_owned(), words(&["web-0", "web-1"])),
        ],
    }
}

fn constraint<'a>(label: &'a str, set: &'a NamespaceSet) -> Constraint<'a> {
    Constraint::Namespaces { label, set }
}

fn names(names: &[&str]) -> NamespaceSet {
    NamespaceSet::new(names.iter().filter_map(|name| Namespace::parse(name))).expect("names")
}

fn generated() -> (u64, usize) {
    (
        number("PROMQL_SEED").unwrap_or(DEFAULT_SEED),
        number("PROMQL_GENERATED").unwrap_or(DEFAULT_GENERATED),
    )
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Breaks a query in one or two places.
struct Mutation(u64);

impl Mutation {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap_or(0)
    }

    fn apply(&mut self, query: &str) -> String {
        const PIECES: &[&str] = &[
            "(",
            ")",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "'",
            "`",
            "\\",
            "#",
            "\n",
            " ",
            ".",
            "5",
            "5m",
            "e",
            "_",
            "-",
            "+",
            "=",
            "=~",
            "!",
            "<",
            "/",
            "@",
            "or",
            "on",
            "by",
            "offset",
            "fill",
            "bool",
            "step",
            "start",
            "up",
            "{}",
            "()",
            "[5m]",
            "\"x\"",
            "a=\"b\"",
            "sum",
            "inf",
            " 1 ",
            "ö",
            "absent(",
            "limitk",
            "anchored",
            " # c\n",
            "group_left",
            "max_of(",
            "without",
            "@start()",
            "\u{fffd}",
            "\0",
        ];
        let mut characters: Vec<char> = query.chars().collect();
        for _ in 0..=self.below(2) {
            let at = self.below(characters.len() + 1);
            match self.below(4) {
                0 if at < characters.len() => {
                    characters.remove(at);
                }
                1 if at < characters.len() => {
                    let end = (at + 1 + self.below(6)).min(characters.len());
                    let copied: Vec<_> = characters[at..end].to_vec();
                    let to = self.below(characters.len() + 1);
                    characters.splice(to..to, copied);
                }
                2 if at < characters.len() => {
                    let end = (at + 1 + self.below(6)).min(characters.len());
                    characters.drain(at..end);
                }
                _ => {
                    let piece = PIECES[self.below(PIECES.len())];
                    characters.splice(at..at, piece.chars());
                }
            }
        }
        characters.into_iter().collect()
    }
}
