//! Tests of the module as a whole, by what goes in and what comes out.

mod confinement;
mod errors;
mod limits;
mod meaning;
mod numbers;
mod patterns;
mod restriction;
mod selectors;

use super::{Constraint, Limits, MetricNames, Name, Query, QueryError, all_of};
use crate::namespace::{Namespace, NamespaceSet};

fn set(names: &[&str]) -> NamespaceSet {
    NamespaceSet::new(names.iter().map(|name| Namespace::parse(name).expect(name)))
        .expect("at least one name")
}

fn parse(text: &str) -> Query<'_> {
    Query::parse(text, &Limits::default()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> QueryError {
    match Query::parse(text, &Limits::default()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

/// Restricts every selector to `names`, by the label `namespace`.
fn restricted_to(text: &str, names: &[&str]) -> String {
    let set = set(names);
    let label = "namespace";
    let restrict = |text: &str| {
        parse(text)
            .restrict(|_, _| Constraint::Namespaces { label, set: &set })
            .expect(text)
    };
    let once = restrict(text);
    assert_eq!(restrict(&once), once, "twice is once");
    once
}

/// Restricts every selector to `team-a`.
fn restricted(text: &str) -> String {
    restricted_to(text, &["team-a"])
}

/// The query with nothing added.
fn unchanged(text: &str) -> String {
    parse(text).restrict(|_, _| Constraint::Open).expect(text)
}

/// Every selector carries the matcher, wherever it stands.
#[track_caller]
fn assert_all_confined(query: &str, selectors: usize) {
    let output = restricted(query);
    let read = parse(&output);
    assert_eq!(read.selectors().len(), selectors, "{output}");
    for selector in read.selectors() {
        let names = selector.named("namespace").expect(&output);
        assert_eq!(names, set(&["team-a"]), "{output}");
    }
}
