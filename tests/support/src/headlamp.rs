//! What Headlamp's Prometheus plugin asks.

/// All its queries, by the name of the chart and as its examples have them.
pub fn queries() -> Vec<(String, String)> {
    let rows = rows();
    let examples = rows.iter().flat_map(|row| {
        let more = row["more_examples"].as_array().into_iter().flatten();
        let examples = std::iter::once(&row["example"]).chain(more);
        examples.map(|example| (text(&row["id"]), text(example)))
    });
    examples.collect()
}

/// The first example of each.
pub fn templates() -> Vec<(String, String)> {
    let rows = rows();
    let firsts = rows
        .iter()
        .map(|row| (text(&row["id"]), text(&row["example"])));
    firsts.collect()
}

fn rows() -> Vec<serde_json::Value> {
    let rows = include_str!("../../corpus/headlamp-queries.json");
    serde_json::from_str(rows).expect("a list in JSON")
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("a text").to_owned()
}
