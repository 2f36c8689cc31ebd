//! One text that goes out, read by the parsers of all releases.
//!
//! In each that accepts it, every selector is confined, and the tree is that of the original as the same release reads
//! it. Where a release accepts only what goes out, as `1000` for `1_000`, the tree is that of the newest.

use std::fmt;
use std::ops::AddAssign;

use prom_rbac_proxy::promql::{Limits, Query};
use serde_json::Value;

use super::oracle::{Oracle, Question, Reading};
use super::{constraint, exception, is_added_to_label, is_added_to_selector, names};

/// What everybody's label is.
pub const PLAIN: &str = "namespace";

/// A label that is written in quotes, which releases before 3 do not read.
pub const QUOTED: &str = "k8s.namespace.name";

#[derive(Default)]
pub struct Tally {
    pub texts: usize,
    pub let_out: usize,
    parsers: usize,
    accepted: usize,
    /// Texts that are refused here, and by the newest release, but not by the oldest.
    pub only_old: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.texts += other.texts;
        self.let_out += other.let_out;
        self.parsers = other.parsers;
        self.accepted += other.accepted;
        self.only_old += other.only_old;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is not 0 has failed before.
        write!(
            f,
            "{} texts, {} let out, {} parsers, 0 leaks, 0 changed trees ({} readings compared, {} texts refused that \
             only the oldest parser reads)",
            self.texts, self.let_out, self.parsers, self.accepted, self.only_old
        )
    }
}

/// Fails with all texts that leak or change once `label` confines them. With [`QUOTED`], a release that does not read
/// such a label may refuse what goes out, and what it accepts is confined all the same.
pub fn compare(releases: &[Oracle], texts: &[String], label: &str) -> Tally {
    let limits = Limits::default();
    let set = names(&["team-a"]);
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let mut refused = Vec::new();
    for text in texts {
        let query = Query::parse(text, &limits);
        match query.and_then(|query| query.restrict(|_, _| constraint(label, &set))) {
            Ok(output) => pairs.push((text, output)),
            Err(error) => refused.push((text, error)),
        }
    }
    let ask = |release: &Oracle| {
        let questions = pairs
            .iter()
            .flat_map(|(text, output)| [Question::Query(text), Question::Query(output)]);
        release.ask(questions)
    };
    let mut tally = Tally {
        texts: texts.len(),
        let_out: pairs.len(),
        parsers: releases.len(),
        accepted: 0,
        only_old: 0,
    };
    let ([oldest, ..], [.., newest]) = (releases, releases) else {
        return tally;
    };
    let mut faults = Vec::new();
    let of_refused =
        |release: &Oracle| release.ask(refused.iter().map(|(text, _)| Question::Query(text)));
    for ((old, new), (text, error)) in of_refused(oldest)
        .iter()
        .zip(of_refused(newest))
        .zip(&refused)
    {
        if new.default.is_ok() || new.unquoted.is_ok() {
            if exception(error).is_none() {
                faults.push(format!("{newest}: accepts {text:?}, and here: {error}"));
            }
        } else {
            tally.only_old += usize::from(old.default.is_ok());
        }
    }
    let newest = ask(newest);
    for release in releases {
        let reads_label = {
            let selector = format!("{{{label:?}=\"team-a\"}}");
            label == PLAIN
                || release.ask([Question::Query(&selector)].into_iter())[0]
                    .default
                    .is_ok()
        };
        for (index, answers) in ask(release).chunks(2).enumerate() {
            let [before, after] = answers else { continue };
            let (text, output) = &pairs[index];
            let mut fault = |what: &str| {
                faults.push(format!("{release}: {what}\n  {text:?}\n  {output:?}"));
            };
            match judge(before, after, &newest[2 * index + 1], label, reads_label) {
                Ok(accepted) => tally.accepted += usize::from(accepted),
                Err(what) => fault(&what),
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults, of these:\n{}",
        faults.len(),
        faults[..faults.len().min(20)].join("\n")
    );
    tally
}

/// Whether the release accepts the text that goes out. The error is what is wrong with its reading.
fn judge(
    before: &Reading,
    after: &Reading,
    newest: &Reading,
    label: &str,
    reads_label: bool,
) -> Result<bool, String> {
    // `up offset.5` is read without the feature flag, as that makes a query of it.
    let default_only = before.default.is_ok() && before.default != before.unquoted;
    let unquoted = (!default_only).then_some((&before.unquoted, &after.unquoted, &newest.unquoted));
    let default = (&before.default, &after.default, &newest.default);
    let mut accepted = false;
    for (before, after, newest) in [Some(default), unquoted].into_iter().flatten() {
        let after = match (before, after) {
            (Ok(_), Err(_)) if !reads_label => continue,
            (Ok(_), Err(error)) => return Err(format!("no longer accepted: {error}")),
            (Err(_), Err(error)) if error.contains("runtime error") => return Err(error.clone()),
            (Err(_), Err(_)) => continue,
            (_, Ok(after)) => after,
        };
        accepted = true;
        if !is_confined(after, label) {
            return Err("LEAK".to_owned());
        }
        let same = match (before, newest) {
            (Ok(before), _) => compare_trees(before, after, label),
            (Err(_), Ok(newest)) => alike(after, newest),
            (Err(error), Err(_)) => Err(format!("refused before: {error}")),
        };
        same.map_err(|path| format!("another tree at {path}"))?;
    }
    Ok(accepted)
}

/// Whether every selector of the tree is.
pub fn is_confined(tree: &Value, label: &str) -> bool {
    let set = names(&["team-a"]);
    match tree {
        Value::Object(members) => {
            let own = members
                .get("node")
                .is_none_or(|node| node != "VectorSelector")
                || members["matchers"].as_array().is_some_and(|matchers| {
                    (matchers.iter()).any(|matcher| {
                        is_added_to_label(&[], std::slice::from_ref(matcher), label, &set)
                    })
                });
            own && members.values().all(|member| is_confined(member, label))
        }
        Value::Array(items) => items.iter().all(|item| is_confined(item, label)),
        _ => true,
    }
}

fn compare_trees(before: &Value, after: &Value, label: &str) -> Result<(), String> {
    let set = names(&["team-a"]);
    super::oracle::compare(before, after, "the query", &mut |before, after| {
        is_added_to_selector(before, after, label, &set)
    })
}

/// Whether an older release reads a text as the newest does, which notes more.
fn alike(older: &Value, newest: &Value) -> Result<(), String> {
    fn known(tree: &Value) -> Value {
        match tree {
            Value::Object(members) => (members.iter())
                .filter(|(name, _)| !matches!(name.as_str(), "Duration" | "Wrapped"))
                .map(|(name, value)| (name.clone(), known(value)))
                .collect(),
            Value::Array(items) => items.iter().map(known).collect(),
            other => other.clone(),
        }
    }
    if known(older) == known(newest) {
        Ok(())
    } else {
        Err(format!("all of it\n  {older}\n  {newest}"))
    }
}
