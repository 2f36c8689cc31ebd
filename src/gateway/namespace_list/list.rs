//! A list, written as it is read.

use bytes::Bytes;
use futures_util::{Stream, stream};
use jiff::Timestamp;

use super::media::Form;
use super::selection::Selection;
use super::view::View;
use super::writing::text;

/// How much of a list is written ahead, in bytes.
pub(super) const PIECE: usize = 16 * 1024;

/// The indentation of an item, where the list is laid out for people.
const INDENT: &str = "\n    ";

/// A list of what is selected of a view.
pub(super) struct List {
    pub(super) view: View,
    pub(super) selection: Selection,
    pub(super) form: Form,
    pub(super) pretty: bool,
    pub(super) version: u64,
}

impl List {
    /// The list's text, in pieces.
    pub(super) fn pieces(self) -> impl Stream<Item = Bytes> {
        let around = text(&self.form.list(self.version), self.pretty);
        // The one empty list in it is that of its items.
        let (before, after) = around.rsplit_once("[]").unwrap_or_default();
        let writer = Writer {
            piece: format!("{before}["),
            after: Some(format!("]{after}\n")),
            next: 0,
            separator: "",
            now: Timestamp::now(),
            list: self,
        };
        stream::iter(writer)
    }
}

struct Writer {
    list: List,
    now: Timestamp,
    /// What is written and not yet read.
    piece: String,
    /// What comes after the last item. `None` once it is written.
    after: Option<String>,
    /// The next item's place.
    next: usize,
    /// What comes before it.
    separator: &'static str,
}

impl Iterator for Writer {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.piece.len() < PIECE && self.after.is_some() {
            let Some(object) = self.list.view.get(self.next) else {
                self.piece += &self.after.take().unwrap_or_default();
                break;
            };
            self.next += 1;
            if !self.list.selection.matches(object) {
                continue;
            }
            self.piece += std::mem::replace(&mut self.separator, ",");
            let item = text(&self.list.form.item(object, self.now), self.list.pretty);
            if self.list.pretty {
                // No text in JSON holds a line's end.
                self.piece += INDENT;
                self.piece += &item.replace('\n', INDENT);
            } else {
                self.piece += &item;
            }
        }
        let piece = std::mem::take(&mut self.piece);
        (!piece.is_empty()).then(|| piece.into())
    }
}
