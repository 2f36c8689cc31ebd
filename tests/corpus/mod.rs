//! The queries that the suites share: Headlamp's own, and a list that covers the grammar.

#![allow(
    unreachable_pub,
    reason = "shared by several suites, each a crate that nobody reaches into"
)]

/// Every example of `headlamp-queries.json`, as Headlamp's plugin sends it.
pub fn headlamp() -> Vec<String> {
    let charts: serde_json::Value =
        serde_json::from_str(include_str!("headlamp-queries.json")).expect("the file is JSON");
    let charts = charts.as_array().expect("a list of charts");
    charts
        .iter()
        .flat_map(|chart| {
            let more = chart["more_examples"].as_array().into_iter().flatten();
            std::iter::once(&chart["example"]).chain(more)
        })
        .filter_map(|example| example.as_str().map(str::to_owned))
        .collect()
}

/// Every query of `queries.txt`, those that Prometheus refuses included.
pub fn grammar() -> Vec<String> {
    let mut queries = Vec::new();
    let mut lines = include_str!("queries.txt").lines();
    while let Some(line) = lines.next() {
        if line == "<<<" {
            let query: Vec<_> = lines.by_ref().take_while(|line| *line != ">>>").collect();
            queries.push(query.join("\n"));
        } else if !line.is_empty() && !line.starts_with("## ") {
            queries.push(line.to_owned());
        }
    }
    queries
}
