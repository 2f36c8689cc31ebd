//! Adds warnings to any answer of Prometheus. The rest of it stays byte for byte and is never held.

use super::scanner::{Container, Part, Piece, Scanner};
use super::{Filter, FilterError, shape};

/// Adds warnings to the `warnings` of an answer, after Prometheus' own if there are any.
#[derive(Debug)]
pub struct WarningsFilter {
    scanner: Scanner,
    /// The warnings as JSON strings with commas between them; empty when there are none.
    warnings: Vec<u8>,
    member: Member,
    /// The start of the key that is being read, quotes included.
    key: Vec<u8>,
    /// What was read of a `warnings` that is not a list: it must be `null`.
    null: Vec<u8>,
    seen: Seen,
    failure: Option<FilterError>,
}

/// Which member of the answer is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Warnings,
    Other,
}

/// What must be there at most once, and whether it was.
#[derive(Debug, Default)]
struct Seen {
    any: bool,
    status: bool,
    data: bool,
    warnings: bool,
    /// Whether Prometheus' list has a warning.
    warning: bool,
}

/// The longest key that is of interest, `"warnings"`, with every character escaped as `\u0077`.
const MAX_KEY_BYTES: usize = 2 + "warnings".len() * 6;

impl WarningsFilter {
    /// Adds `warnings` in this order.
    pub fn new<W: AsRef<str>>(warnings: impl IntoIterator<Item = W>) -> Self {
        let mut text = Vec::new();
        for warning in warnings {
            if !text.is_empty() {
                text.push(b',');
            }
            let warning = serde_json::Value::from(warning.as_ref());
            text.extend_from_slice(warning.to_string().as_bytes());
        }
        Self {
            scanner: Scanner::new(),
            warnings: text,
            member: Member::Other,
            key: Vec::new(),
            null: Vec::new(),
            seen: Seen::default(),
            failure: None,
        }
    }

    fn pieces(&mut self, mut chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        loop {
            let depth = self.scanner.depth();
            let descend = depth == 0 || depth == 1 && self.member == Member::Warnings;
            let Some(piece) = self.scanner.piece(&mut chunk, descend)? else {
                return Ok(());
            };
            self.before(&piece, out)?;
            if self.writes(&piece) {
                out.extend_from_slice(piece.bytes);
            }
        }
    }

    /// Takes notice of a piece and writes what belongs before it.
    fn before(&mut self, piece: &Piece<'_>, out: &mut Vec<u8>) -> Result<(), FilterError> {
        match piece.part {
            Part::Blank | Part::Colon | Part::Comma => Ok(()),
            Part::Open(container) => self.open(container),
            Part::Close => {
                self.close(out);
                Ok(())
            }
            Part::Key { complete } => self.key(piece.bytes, complete),
            Part::Value { complete } => self.value(piece.bytes, complete, out),
        }
    }

    /// A `null` in place of warnings gives way to a list.
    fn writes(&self, piece: &Piece<'_>) -> bool {
        let value = matches!(piece.part, Part::Value { .. });
        !(value && self.member == Member::Warnings && self.scanner.depth() == 1)
    }

    fn open(&mut self, container: Container) -> Result<(), FilterError> {
        // The depth counts the container that has just been opened.
        match (self.scanner.depth(), container) {
            (1, Container::Object) | (2, Container::Array) => Ok(()),
            (1, Container::Array) => shape("the answer is an object"),
            _ => shape("warnings are a list of strings"),
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.scanner.depth() == 1 {
            self.member = Member::Other;
            if self.seen.warning && !self.warnings.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(&self.warnings);
        } else if !self.seen.warnings && !self.warnings.is_empty() {
            let key: &[u8] = if self.seen.any { b"," } else { b"" };
            out.extend_from_slice(key);
            out.extend_from_slice(br#""warnings":["#);
            out.extend_from_slice(&self.warnings);
            out.push(b']');
        }
    }

    fn key(&mut self, fragment: &[u8], complete: bool) -> Result<(), FilterError> {
        // One byte more than the longest key of interest, so that a longer key is not taken for it.
        let room = MAX_KEY_BYTES + 1 - self.key.len();
        self.key
            .extend_from_slice(&fragment[..fragment.len().min(room)]);
        if !complete {
            return Ok(());
        }
        self.seen.any = true;
        let name = serde_json::from_slice::<String>(&self.key).unwrap_or_default();
        self.key.clear();
        self.member = match &*name {
            "warnings" => Member::Warnings,
            _ => Member::Other,
        };
        let repeated = match &*name {
            "status" => std::mem::replace(&mut self.seen.status, true),
            "data" => std::mem::replace(&mut self.seen.data, true),
            "warnings" => std::mem::replace(&mut self.seen.warnings, true),
            _ => false,
        };
        if repeated {
            return shape("the answer has one status, one data and one list of warnings");
        }
        Ok(())
    }

    fn value(
        &mut self,
        fragment: &[u8],
        complete: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        match (self.member, self.scanner.depth()) {
            (_, 0) => shape("the answer is an object"),
            (Member::Other, _) => Ok(()),
            (Member::Warnings, 1) => {
                self.null.extend_from_slice(fragment);
                if !b"null".starts_with(&self.null) {
                    return shape("warnings are a list of strings");
                }
                if complete {
                    out.push(b'[');
                    out.extend_from_slice(&self.warnings);
                    out.push(b']');
                }
                Ok(())
            }
            (Member::Warnings, _) => {
                self.seen.warning = true;
                Ok(())
            }
        }
    }
}

impl Filter for WarningsFilter {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.pieces(chunk, out)
            .inspect_err(|failure| self.failure = Some(*failure))
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        match self.failure {
            Some(failure) => Err(failure),
            None if self.scanner.is_complete() => Ok(()),
            None => Err(FilterError::Truncated),
        }
    }
}
