//! What must never be in an answer to a caller of team-a alone.

use crate::client::Answer;

/// Values, names and texts of others in the test data: sample values as the query API, `/federate` and
/// annotations write them, the pods that bear them, and a label's value.
const OTHERS: [&str; 12] = [
    "\"42\"",
    "\"99\"",
    "\"0.4242\"",
    "\"0.42420",
    " 42 ",
    " 99 ",
    " 0.4242 ",
    "value 42",
    "\"v-0\"",
    "\"nons\"",
    "VICTIMDATA",
    "VictimAlert",
];

/// Fails when an answer holds something of victim's, or of no namespace.
#[track_caller]
pub fn assert_no_leak(answer: &Answer, what: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    for other in OTHERS {
        assert!(!text.contains(other), "{what}: {other} in {text}");
    }
}

/// The values of all series of an instant vector.
pub fn values(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let series = json["data"]["result"].as_array().expect("a vector");
    series
        .iter()
        .map(|one| one["value"][1].as_str().expect("a value").to_owned())
        .collect()
}
