//! What the tests of the filters share. The answers in `tests/corpus/prometheus` were recorded from Prometheus
//! 2.42, but for `rules-3.json`, which was written after the types of Prometheus 3.

use serde_json::Value;

use super::*;
use crate::namespace::{Namespace, NamespaceSet};

mod alerts;
mod message;
mod metadata;
mod properties;
mod rules;
mod scanner;
mod targets;
mod warnings;

const RULES: &str = include_str!("../../../../tests/corpus/prometheus/rules-2.42.json");
const RULES_3: &str = include_str!("../../../../tests/corpus/prometheus/rules-3.json");
const ALERTS: &str = include_str!("../../../../tests/corpus/prometheus/alerts-2.42.json");
const METADATA: &str = include_str!("../../../../tests/corpus/prometheus/metadata-2.42.json");

fn namespaces(names: &[&str]) -> NamespaceSet {
    let names = names
        .iter()
        .map(|name| Namespace::parse(name).expect("a name"));
    NamespaceSet::new(names).expect("at least one name")
}

fn rules() -> RulesFilter {
    RulesFilter::new(namespaces(&["team-a"]), "namespace", Limits::default())
}

fn alerts() -> ListFilter {
    list(List::Alerts)
}

fn list(list: List) -> ListFilter {
    ListFilter::new(
        list,
        namespaces(&["team-a"]),
        "namespace",
        Limits::default(),
    )
}

/// Everything that a filter gives for these chunks, and how it ended.
fn outcome<'a>(
    mut filter: impl Filter,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (String, Result<(), FilterError>) {
    let mut out = Vec::new();
    let result = chunks
        .into_iter()
        .try_for_each(|chunk| filter.push(chunk, &mut out));
    // An error stays: finishing after it must not succeed.
    let finished = filter.finish(&mut out);
    if let Err(failure) = result {
        assert_eq!(finished, Err(failure));
    }
    (String::from_utf8(out).expect("UTF-8"), finished)
}

/// What a filter gives for a document, which must be the same however the document is cut. What precedes an
/// error may differ.
fn filtered<F: Filter>(filter: impl Fn() -> F, document: &str) -> Result<String, FilterError> {
    let document = document.as_bytes();
    let filtered = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let (out, result) = outcome(filter(), chunks);
        result.map(|()| out)
    };
    let whole = filtered(&mut [document].into_iter());
    assert_eq!(filtered(&mut document.chunks(1)), whole, "byte by byte");
    for at in 0..=document.len() {
        let (head, tail) = document.split_at(at);
        let cut = filtered(&mut [head, tail].into_iter());
        assert_eq!(cut, whole, "cut at {at}");
    }
    whole
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// No beginning of a document gives success, or an answer that looks complete.
fn assert_no_prefix_is_complete<F: Filter>(filter: impl Fn() -> F, document: &str) {
    for end in 0..document.len() {
        let (out, result) = outcome(filter(), [&document.as_bytes()[..end]]);
        assert_eq!(result, Err(FilterError::Truncated), "cut at {end}");
        assert!(serde_json::from_str::<Value>(&out).is_err(), "{out}");
    }
}
