//! Any bytes as answers of Prometheus, cut anywhere, through each filter: what is given as complete is JSON, is the same
//! however it was cut, and holds nothing of other namespaces.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::namespace::{Namespace, NamespaceSet};
use prom_rbac_proxy::prometheus::filter::{
    Filter, FilterError, Limits, List, ListFilter, MetadataFilter, MetricNames, MetricNamesReader,
    OwnTexts, OwnTextsReader, RulesFilter, WarningsFilter, with_message,
};
use serde_json::Value;

const LABEL: &str = "namespace";
const OWN: [&str; 2] = ["team-a", "a"];

static SET: LazyLock<NamespaceSet> = LazyLock::new(|| {
    let names = OWN.map(|name| Namespace::parse(name).expect("a name"));
    NamespaceSet::new(names).expect("two names")
});

static NAMES: LazyLock<Arc<MetricNames>> =
    LazyLock::new(|| Arc::new(["up", "v"].into_iter().collect()));

/// What a filter gives for pieces, if it says that this is all.
fn given<'p>(
    mut filter: impl Filter,
    pieces: impl Iterator<Item = &'p [u8]>,
) -> Result<Vec<u8>, FilterError> {
    let mut out = Vec::new();
    for piece in pieces {
        if let Err(error) = filter.push(piece, &mut out) {
            assert_eq!(filter.finish(&mut out), Err(error), "an error stays");
            return Err(error);
        }
    }
    filter.finish(&mut out)?;
    Ok(out)
}

/// What a filter gives for a document, whole and cut.
fn filtered<F: Filter>(filter: impl Fn() -> F, document: &[u8], cut: usize) -> Option<Value> {
    let whole = given(filter(), std::iter::once(document));
    let pieces = given(filter(), document.chunks(cut));
    // Which of two faults is found first may depend on the pieces.
    assert_eq!(
        whole.as_ref().ok(),
        pieces.as_ref().ok(),
        "in pieces of {cut} bytes"
    );
    let whole = whole.ok()?;
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(document).is_ok());
    // Numbers past what a tree can hold are JSON all the same.
    serde_json::from_slice::<serde::de::IgnoredAny>(&whole).expect("what is complete is JSON");
    serde_json::from_slice(&whole).ok()
}

fn is_own(labelled: &Value) -> bool {
    OWN.iter()
        .any(|name| labelled["labels"][LABEL] == Value::from(*name))
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn check_rules(answer: &Value, with_alerts: bool) {
    for group in elements(&answer["data"]["groups"]) {
        assert!(!elements(&group["rules"]).is_empty(), "no group is empty");
        for rule in elements(&group["rules"]) {
            let alerts = elements(&rule["alerts"]);
            assert!(alerts.iter().all(is_own));
            assert!(with_alerts || alerts.is_empty());
            if !is_own(rule) {
                // Kept for its alerts alone, without what it says of others.
                let named = rule["labels"][LABEL].as_str().unwrap_or_default();
                assert!(named.is_empty() || named.contains("{{"), "{rule}");
                let query = rule.get("query");
                assert!(query.is_none_or(|query| query == ""), "{rule}");
                assert!(rule.get("lastError").is_none(), "{rule}");
            }
        }
    }
}

fn names(document: &[u8], cut: usize) -> Result<MetricNames, FilterError> {
    let mut reader = MetricNamesReader::new(1 << 16, Limits::default());
    let pushed = document
        .chunks(cut)
        .try_for_each(|piece| reader.push(piece));
    let finished = reader.finish();
    assert!(pushed.is_ok() || finished.is_err(), "an error stays");
    finished
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, document)) = input.split_first() else {
        return;
    };
    let cut = usize::from(cut) + 1;
    let limits = Limits {
        element_bytes: 1 << 16,
    };
    let rules = || RulesFilter::new(SET.clone(), LABEL, limits);
    if let Some(answer) = filtered(rules, document, cut) {
        check_rules(&answer, true);
    }
    if let Some(answer) = filtered(|| rules().without_alerts(), document, cut) {
        check_rules(&answer, false);
    }
    for (list, key) in [
        (List::Alerts, "alerts"),
        (List::Targets, "activeTargets"),
        (List::Alertmanagers, "activeAlertmanagers"),
    ] {
        let filter = || ListFilter::new(list, SET.clone(), LABEL, limits);
        if let Some(answer) = filtered(filter, document, cut) {
            assert!(
                elements(&answer["data"][key]).iter().all(is_own),
                "{answer}"
            );
            assert!(elements(&answer["data"]["droppedTargets"]).is_empty());
        }
    }
    let mut texts = OwnTextsReader::new(SET.clone(), LABEL, None, 1 << 16, limits);
    let pushed = document.chunks(cut).try_for_each(|piece| texts.push(piece));
    assert!(pushed.is_ok() || texts.finish().is_err(), "an error stays");
    let metadata = || MetadataFilter::new(NAMES.clone(), OwnTexts::default(), limits);
    if let Some(answer) = filtered(metadata, document, cut) {
        let data = answer["data"].as_object();
        let mut kept = data.into_iter().flat_map(|data| data.keys());
        assert!(kept.all(|name| NAMES.contains(name)));
    }
    filtered(|| WarningsFilter::new(["w"]), document, cut);
    let whole = names(document, document.len().max(1)).ok();
    assert_eq!(whole, names(document, cut).ok());
    if let Some(whole) = whole {
        let answer: Value = serde_json::from_slice(document).expect("only JSON has names");
        for name in elements(&answer["data"]) {
            assert!(whole.contains(name.as_str().expect("names are strings")));
        }
    }
    if let Some(answer) = with_message(document) {
        serde_json::from_slice::<serde::de::IgnoredAny>(&answer).expect("JSON");
    }
});
