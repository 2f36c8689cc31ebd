//! Writes a JSON object member by member. Each request writes one: serde_json takes three times as many instructions to
//! write a struct, half of them to look for characters to escape in names and words that have none.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

/// An object that is being written.
pub(super) struct Object<'a> {
    line: &'a mut Vec<u8>,
    begun: bool,
}

impl<'a> Object<'a> {
    /// Begins one at the end of `line`.
    pub(super) fn begin(line: &'a mut Vec<u8>) -> Self {
        line.push(b'{');
        Self { line, begun: false }
    }

    /// Ends the object.
    pub(super) fn end(self) {
        self.line.push(b'}');
    }

    /// Names of members are ours, and need no escapes.
    fn name(&mut self, name: &'static str) {
        let before: &[u8] = if self.begun { b",\"" } else { b"\"" };
        self.begun = true;
        self.line.extend_from_slice(before);
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
    }

    /// A word of ours: one without a character that JSON escapes.
    pub(super) fn word(&mut self, name: &'static str, word: &str) {
        self.name(name);
        self.line.push(b'"');
        self.line.extend_from_slice(word.as_bytes());
        self.line.push(b'"');
    }

    /// A value whose text is such a word.
    pub(super) fn shown(&mut self, name: &'static str, value: &impl Display) {
        self.name(name);
        // Writing to memory does not fail, here and below.
        let _ = write!(self.line, "\"{value}\"");
    }

    /// Any text.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        let _ = serde_json::to_writer(&mut *self.line, text);
    }

    /// A list of texts.
    pub(super) fn texts<'t>(&mut self, name: &'static str, texts: impl Iterator<Item = &'t str>) {
        self.name(name);
        self.line.push(b'[');
        for (index, text) in texts.enumerate() {
            if index > 0 {
                self.line.push(b',');
            }
            let _ = serde_json::to_writer(&mut *self.line, text);
        }
        self.line.push(b']');
    }

    /// A number.
    pub(super) fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        let _ = serde_json::to_writer(&mut *self.line, &number);
    }

    /// A time in milliseconds, to the microsecond.
    pub(super) fn milliseconds(&mut self, name: &'static str, duration: Duration) {
        let micros = (duration.as_nanos() + 500) / 1000;
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.number(name, micros / 1000);
        let rest = micros % 1000;
        let digit = |of: u64| b'0' + (rest / of % 10) as u8;
        self.line
            .extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }

    /// A `null`.
    pub(super) fn null(&mut self, name: &'static str) {
        self.name(name);
        self.line.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_what_json_readers_read() {
        let mut line = b"before ".to_vec();
        let mut object = Object::begin(&mut line);
        object.word("word", "INFO");
        object.shown("shown", &7);
        object.text("text", "a \"quoted\"\n\u{1}\u{7f}ü\u{2028}");
        object.texts("texts", ["a", "\\"].into_iter());
        object.texts("none", std::iter::empty());
        object.number("number", u64::MAX);
        object.null("null");
        object.end();
        let expected = serde_json::json!({
            "word": "INFO",
            "shown": "7",
            "text": "a \"quoted\"\n\u{1}\u{7f}ü\u{2028}",
            "texts": ["a", "\\"],
            "none": [],
            "number": u64::MAX,
            "null": null,
        });
        let read: serde_json::Value = serde_json::from_slice(&line[7..]).expect("an object");
        assert_eq!(read, expected);
    }

    #[test]
    fn times_are_rounded_to_the_microsecond() {
        for (nanos, expected) in [
            (0, "0.000"),
            (499, "0.000"),
            (500, "0.001"),
            (1_234_567, "1.235"),
            (999_999_500, "1000.000"),
            (61_002_003_000, "61002.003"),
        ] {
            let mut line = Vec::new();
            Object::begin(&mut line).milliseconds("t", Duration::from_nanos(nanos));
            let line = String::from_utf8(line).expect("text");
            assert_eq!(line, format!("{{\"t\":{expected}"));
        }
    }
}
