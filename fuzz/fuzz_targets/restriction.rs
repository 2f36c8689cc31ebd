//! Any query: once restricted, it can be read, each selector has a matcher that confines it behind the caller's own, and
//! restricting again changes nothing.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::namespace::{Namespace, NamespaceSet};
use prom_rbac_proxy::promql::{Constraint, Limits, MatchOperator, Matcher, Query, QueryError};

/// One that stands in quotes, too.
const LABELS: [&str; 2] = ["namespace", "k8s.namespace.name"];

static SETS: LazyLock<[NamespaceSet; 2]> = LazyLock::new(|| {
    let set = |names: &[&str]| {
        NamespaceSet::new(names.iter().filter_map(|name| Namespace::parse(name))).expect("names")
    };
    [set(&["team-a"]), set(&["team-a", "team-b"])]
});

type Read = for<'t> fn(&'t str, &Limits) -> Result<Query<'t>, QueryError>;

const READS: [Read; 2] = [
    |text, limits| Query::parse(text, limits),
    |text, limits| Query::parse_selector(text, limits),
];

fuzz_target!(|text: &str| {
    let limits = Limits::default();
    for (set, label) in SETS.iter().zip(LABELS).chain(SETS.iter().rev().zip(LABELS)) {
        let constraint = Constraint::Namespaces { label, set };
        for read in READS {
            let Ok(query) = read(text, &limits) else {
                continue;
            };
            let output = match query.restrict(|_, _| constraint) {
                Err(QueryError::InfoLabels { .. }) => continue,
                output => output.expect("two short names fit"),
            };
            let again = read(&output, &limits).expect("what is written can be read");
            assert_eq!(again.selectors().len(), query.selectors().len());
            for (before, after) in query.selectors().iter().zip(again.selectors()) {
                assert_eq!(before.metric(), after.metric());
                // In the arguments of `absent()` ours comes first.
                let (before, after) = (before.matchers(), after.matchers());
                assert!(after.starts_with(before) || after.ends_with(before));
                assert!(after.iter().any(|matcher| confines(matcher, label, set)));
            }
            let twice = again.restrict(|_, _| constraint);
            assert_eq!(twice.as_deref(), Ok(output.as_str()));
        }
    }
});

fn confines(matcher: &Matcher<'_>, label: &str, set: &NamespaceSet) -> bool {
    let value = str::from_utf8(matcher.value()).unwrap_or("");
    matcher.label() == label.as_bytes()
        && match matcher.operator() {
            MatchOperator::Equal => set.contains(value),
            MatchOperator::Regex => value.split('|').all(|name| set.contains(name)),
            MatchOperator::NotEqual | MatchOperator::NotRegex => false,
        }
}
