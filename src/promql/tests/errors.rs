//! What a caller is told.

use super::*;

#[test]
fn the_caret_stands_below_the_fault() {
    for (text, pointer) in [
        ("sum(up", "sum(up\n      ^"),
        ("up + $x", "up + $x\n     ^"),
        ("a +\n  b =~ c", "  b =~ c\n    ^"),
        ("a +\r\n\tö = c", " ö = c\n   ^"),
        ("", "\n^"),
    ] {
        let error = refused(text);
        assert_eq!(error.pointer(text).as_deref(), Some(pointer), "{error}");
    }
}

#[test]
fn long_lines_are_cut_around_the_fault() {
    let text = format!("{} $ {}", "a + ".repeat(100), "+ ö".repeat(100));
    let error = refused(&text);
    let pointer = error.pointer(&text).expect("a position");
    let (line, caret) = pointer.split_once('\n').expect("two lines");
    assert!(line.starts_with('…') && line.ends_with('…'), "{line}");
    assert_eq!(line.chars().count(), 82);
    let column = caret.chars().count() - 1;
    assert_eq!(line.chars().nth(column), Some('$'));
}

#[test]
fn a_pointer_needs_not_the_text_that_was_refused() {
    let error = refused("up + up + up + $");
    assert_eq!(error.pointer("ä").as_deref(), Some("ä\n ^"));
    assert_eq!(error.pointer("").as_deref(), Some("\n^"));
    assert_eq!(QueryError::OutputTooLong { limit: 1 }.pointer("up"), None);
}

#[test]
fn messages_repeat_little_of_the_query() {
    let name = "ö".repeat(4000);
    let text = format!("{name}(up)");
    let error = refused(&text);
    assert!(error.to_string().len() < 300, "{error}");
    assert!(error.pointer(&text).expect("a position").len() < 1024);
}

#[test]
fn faults_are_found_where_they_are() {
    for (text, position) in [
        ("up up", 3),
        ("up +", 4),
        ("(up", 3),
        ("up)", 2),
        ("up{a}", 4),
        ("up{a=b}", 5),
        ("up{a=\"b\" c=\"d\"}", 9),
        ("up{a=\"\\q\"}", 6),
        ("up{a=\"b}", 5),
        ("up[5x]", 3),
        ("up[", 3),
        ("up[foo]", 3),
        ("up @ foo", 5),
        ("up offset foo", 10),
        ("sum by a (up)", 7),
        ("sum by (a b) (up)", 10),
        ("up, up", 2),
        ("nosuch(up)", 0),
        ("up + info(up)", 5),
        ("up = up", 3),
        ("\u{feff}up", 0),
        ("up\u{c}", 2),
        ("up{a=\"x\u{fffd}\"}", 7),
    ] {
        assert_eq!(refused(text).position(), Some(position), "{text}");
    }
}
