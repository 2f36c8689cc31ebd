//! The rooms of `src/`, held against their table in docs/architecture.md: each stands in it, uses what its row says, and
//! uses only rooms below it, so that no two depend on each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/architecture.md");

/// More would be a house in which nobody finds the way.
const MAX_ROOMS: usize = 22;

type Uses = BTreeMap<String, BTreeSet<String>>;

/// A row of the table.
struct Row {
    room: String,
    uses: String,
}

#[test]
fn rooms_use_only_rooms_below_them_as_their_table_says() {
    let uses = uses();
    let table = table();
    assert!(uses.len() <= MAX_ROOMS, "{} rooms: {uses:?}", uses.len());
    let order: Vec<_> = table.iter().map(|row| row.room.as_str()).collect();
    let known: BTreeSet<_> = uses.keys().map(String::as_str).collect();
    assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), known);
    let floor = |room: &str| order.iter().position(|one| *one == room).expect(room);
    for (row, number) in table.iter().zip(0..) {
        let used = &uses[&row.room];
        for other in used {
            let below = floor(other) > number;
            assert!(below, "{} uses {other}, which stands above it", row.room);
        }
        // As in the table: the nearest first.
        let mut used: Vec<_> = used.iter().map(|room| format!("`{room}`")).collect();
        used.sort_by_key(|room| floor(room.trim_matches('`')));
        let used = used.join(" ");
        assert_eq!(row.uses, used, "the row of {} should say: {used}", row.room);
    }
}

/// A permit of the operator leads to all series without a review. Nothing that serves a caller may make one.
#[test]
fn only_doctor_asks_prometheus_for_the_operator() {
    let mut open = vec![Path::new(SOURCE).to_owned()];
    let mut users = BTreeSet::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if fs::read_to_string(&path)
            .expect("a file")
            .contains("of_the_operator(")
        {
            let path = path.strip_prefix(SOURCE).expect("below it");
            users.insert(path.display().to_string());
        }
    }
    let expected = ["authz/permit.rs", "doctor/data/question.rs"].map(str::to_owned);
    assert_eq!(users, BTreeSet::from(expected));
}

/// What each room uses, tests left out.
fn uses() -> Uses {
    let mut uses = Uses::new();
    for entry in fs::read_dir(SOURCE).expect(SOURCE) {
        let path = entry.expect("an entry").path();
        let room = path.file_stem().expect("a name").to_str().expect("UTF-8");
        if room != "main" && room != "lib" {
            read(&path, room, uses.entry(room.to_owned()).or_default());
        }
    }
    uses
}

fn read(path: &Path, room: &str, used: &mut BTreeSet<String>) {
    let name = path.file_name().expect("a name");
    if name == "tests" || name == "tests.rs" {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder") {
            read(&entry.expect("an entry").path(), room, used);
        }
        return;
    }
    let text = fs::read_to_string(path).expect("a file");
    // Units stand last in a file.
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    for line in code.lines().map(str::trim_start) {
        if line.starts_with("//") {
            continue;
        }
        assert!(!line.contains("crate::{"), "a path for each: {line}");
        for path in line.split("crate::").skip(1) {
            let end = path.find(|letter: char| letter != '_' && !letter.is_alphanumeric());
            let other = &path[..end.unwrap_or(path.len())];
            // tests/interleavings compiles some files with a room of its own.
            if other != room && other != "model" {
                used.insert(other.to_owned());
            }
        }
    }
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(DOCUMENT).expect(DOCUMENT);
    let rows = text
        .lines()
        .skip_while(|line| !line.starts_with("| room |"));
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let rows: Vec<_> = rows
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let name = cells[1].trim_matches('`');
            Row {
                room: name
                    .trim_end_matches('/')
                    .trim_end_matches(".rs")
                    .to_owned(),
                uses: cells[3].to_owned(),
            }
        })
        .collect();
    assert!(!rows.is_empty(), "the table of rooms is missing");
    rows
}
