//! The messages of docs/troubleshooting.md, held against the sources.

use super::{files, root};

/// Errors that are the cause of another one and never shown: the audit log and the caller get the other's text.
const NEVER_SHOWN: [&str; 11] = [
    "no connection can be opened",
    "the connection broke",
    "the answer is not valid HTTP/1.1",
    "the answer's status is not that of a review",
    "the answer of Prometheus is not valid JSON",
    "the answer of Prometheus is nested deeper than",
    "one element of the answer of Prometheus is larger than",
    "the answer of Prometheus is not of the expected shape",
    "the answer of Prometheus ends before it is complete",
    "the caller does not read the response",
    "the process ends",
];

/// The string literal that a text starts with, as the program prints it, with `\0` for each placeholder.
fn literal(text: &str) -> Option<String> {
    let mut rest = text.trim_start().strip_prefix('"')?.chars().peekable();
    let mut read = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' => return Some(read),
            '\\' => match rest.next()? {
                // A line that goes on.
                '\n' => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                c => read.push(c),
            },
            '{' | '}' if rest.next_if_eq(&c).is_some() => read.push(c),
            '{' => {
                rest.by_ref().find(|c| *c == '}')?;
                read.push('\0');
            }
            c => read.push(c),
        }
    }
    None
}

/// The words by which a message is found: its first piece that is long enough, without the advice behind it.
fn found_by(message: &str) -> String {
    let pieces = message.split('\0').map(|piece| {
        let ends = [": ", "; ", " (", " at byte"];
        let end = ends.iter().filter_map(|end| piece.find(end)).min();
        let piece = &piece[..end.unwrap_or(piece.len())];
        piece.trim_matches([' ', ':', ';', ','])
    });
    let longest = pieces.clone().max_by_key(|piece| piece.len());
    let mut enough = pieces.filter(|piece| piece.len() >= 10);
    let words = enough.next().or(longest).unwrap_or_default();
    words.replace('`', "")
}

#[test]
fn the_document_on_troubles_has_every_message() {
    let document = std::fs::read_to_string(root().join("docs/troubleshooting.md")).expect("read");
    let document = document.replace('`', "").replace("\\|", "|");
    let mut all = Vec::new();
    files(&root().join("src"), &["rs"], &mut all);
    let (mut found, mut missing) = (0, Vec::new());
    for path in all {
        let source = std::fs::read_to_string(&path).expect("read");
        for start in ["#[error(", "Unusable(", "unusable("] {
            for part in source.split(start).skip(1) {
                let Some(words) = literal(part).as_deref().map(found_by) else {
                    continue;
                };
                found += 1;
                if !document.contains(&words) && !NEVER_SHOWN.contains(&words.as_str()) {
                    missing.push(format!("{}: {words}", path.display()));
                }
            }
        }
    }
    assert!(found > 90, "only {found} messages were found");
    assert!(missing.is_empty(), "{missing:#?}");
}
