//! The scanner against serde_json, and piece by piece.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::super::scanner::{MAX_DEPTH, Part, Piece, Scanner};
use super::FilterError;

/// Joins the pieces of a document, looking into containers up to `levels` deep; `None` if it is refused.
fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, levels: u32) -> Option<Vec<u8>> {
    let mut scanner = Scanner::new();
    let mut joined = Vec::new();
    for mut chunk in chunks {
        loop {
            let descend = scanner.depth() < levels;
            let Some(Piece { bytes, .. }) = scanner.piece(&mut chunk, descend).ok()? else {
                break;
            };
            joined.extend_from_slice(bytes);
        }
    }
    // A number at the outermost level has no end of its own, and no filter accepts one.
    scanner.is_complete().then_some(joined)
}

fn serde_accepts(document: &[u8]) -> bool {
    std::str::from_utf8(document).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// Both verdicts on a document, wrapped so that it may be a number.
fn assert_verdict(document: &[u8]) {
    let wrapped = [b"[", document, b"]"].concat();
    let accepted = serde_accepts(&wrapped);
    for levels in [0, 1, 2, MAX_DEPTH] {
        let expected = accepted.then(|| wrapped.clone());
        let shown = wrapped.escape_ascii();
        assert_eq!(scan([&wrapped[..]], levels), expected, "{shown}");
        assert_eq!(scan(wrapped.chunks(1), levels), expected, "{shown}");
        for at in 0..wrapped.len() {
            let (head, tail) = wrapped.split_at(at);
            assert_eq!(scan([head, tail], levels), expected, "{shown} at {at}");
        }
    }
}

#[test]
fn what_is_json_for_serde_json_is_json_here_however_it_is_cut() {
    for document in [
        "",
        " ",
        "1",
        "0",
        "-0",
        "-",
        "01",
        "1.",
        ".5",
        "1.5",
        "1.5e",
        "1e5",
        "1E+5",
        "1e-05",
        "+1",
        "1e+",
        "0e0",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "-1.25e-10 ",
        "true",
        "false",
        "null",
        "tru",
        "truee",
        "nul",
        "True",
        "\"\"",
        "\"a\"",
        "\"",
        "\"\\\"",
        "\"\\\"\"",
        "\"\\u00e9\"",
        "\"\\u00E\"",
        "\"\\x41\"",
        "\"\\/\\b\\f\\n\\r\\t\\\\\"",
        "\"\n\"",
        "\"\u{7f}é漢🦀\"",
        "{}",
        "[]",
        "{",
        "}",
        "[",
        "]",
        "[1,2]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{1:1}",
        "{\"a\" : [ {} , [ ] ] , \"b\":\t\r\nnull}",
        "[}",
        "{]",
        "[[],{}]",
        "[\"a\",\"b\"]",
        "{\"a\":1 \"b\":2}",
        "1]2[",
        "],[",
        "\u{feff}1",
        "'a'",
        "//",
        "\"0123456789abcdef0123456\\\\789\"",
        "\"01234567é9abcdef\u{1}\"",
        "1,",
        ",",
        ":",
        "{\"a\"::1}",
        "[[[[[[1]]]]]]",
        "{\"\\u0061\":{\"b\":{\"c\":[{\"d\":-1.0}]}}}",
    ] {
        assert_verdict(document.as_bytes());
    }
}

#[test]
fn invalid_utf_8_is_refused_wherever_it_stands() {
    let sequences: [&[u8]; 12] = [
        b"\x80",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xc3",
        b"\xe0\x9f\xbf",
        b"\xed\xa0\x80",
        b"\xf0\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xff",
        b"\xe2\x82",
        b"\xf0\x9f\xa6",
    ];
    for sequence in sequences {
        for padding in 0..9 {
            let padding = "x".repeat(padding);
            assert_verdict(&[b"\"", padding.as_bytes(), sequence, b"\""].concat());
        }
        assert_verdict(sequence);
    }
}

#[test]
fn every_byte_at_every_place_of_a_word_is_seen_in_a_string() {
    for byte in 0..=u8::MAX {
        for place in 0..17 {
            let mut text = *b"\"abcdefghijklmnopq\"";
            text[1 + place] = byte;
            let wrapped = [b"[", &text[..], b"]"].concat();
            let accepted = serde_accepts(&wrapped);
            assert_eq!(
                scan([&wrapped[..]], 1).is_some(),
                accepted,
                "{byte} {place}"
            );
        }
    }
}

#[test]
fn nesting_is_bounded_whether_looked_into_or_not() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let deepest = MAX_DEPTH as usize;
    for levels in [0, 1, MAX_DEPTH] {
        assert!(scan([nested(deepest).as_bytes()], levels).is_some());
        assert!(scan([nested(deepest + 1).as_bytes()], levels).is_none());
    }
    let mut scanner = Scanner::new();
    let endless = "[".repeat(1 << 20);
    let refused = scanner.piece(&mut endless.as_bytes(), false);
    assert_eq!(refused, Err(FilterError::TooDeep));
}

#[test]
fn nothing_but_blanks_may_follow_a_document() {
    for (tail, accepted) in [
        ("", true),
        (" \r\n\t", true),
        ("x", false),
        ("{}", false),
        ("\0", false),
    ] {
        let document = format!("{{\"a\":[1]}}{tail}");
        for levels in [0, 1, 2] {
            assert_eq!(scan([document.as_bytes()], levels).is_some(), accepted);
        }
    }
}

#[test]
fn keys_and_values_at_the_levels_that_are_looked_into_are_pieces() {
    let mut scanner = Scanner::new();
    let mut input = &br#"{"a":{"k":1},"b":2}"#[..];
    let mut pieces = Vec::new();
    while let Some(piece) = scanner
        .piece(&mut input, scanner.depth() == 0)
        .expect("JSON")
    {
        pieces.push((piece.part, std::str::from_utf8(piece.bytes).expect("UTF-8")));
    }
    let value = Part::Value { complete: true };
    let key = Part::Key { complete: true };
    let open = Part::Open(super::super::scanner::Container::Object);
    assert_eq!(
        pieces,
        [
            (open, "{"),
            (key, "\"a\""),
            (Part::Colon, ":"),
            (value, "{\"k\":1}"),
            (Part::Comma, ","),
            (key, "\"b\""),
            (Part::Colon, ":"),
            (value, "2"),
            (Part::Close, "}"),
        ]
    );
}

proptest! {
    #[test]
    fn any_bytes_get_the_verdict_of_serde_json(
        document in proptest::collection::vec(
            prop_oneof![
                4 => proptest::sample::select(&b"{}[]\",:\\ue019-.truefalsn \n"[..]),
                1 => any::<u8>(),
            ],
            0..24,
        ),
    ) {
        assert_verdict(&document);
    }
}
