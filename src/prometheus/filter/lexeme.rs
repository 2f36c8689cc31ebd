//! The smallest parts of JSON: blanks, numbers, and what strings are made of.

/// What of a number has been read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// What a UTF-8 sequence still lacks: so many bytes, the next one within these bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Continuation {
    remaining: u8,
    low: u8,
    high: u8,
}

impl Continuation {
    /// Takes the next byte. `Ok(None)` when it was the last, an error when it does not belong here.
    pub(super) fn next(self, byte: u8) -> Result<Option<Self>, ()> {
        if !(self.low..=self.high).contains(&byte) {
            return Err(());
        }
        let rest = Self {
            remaining: self.remaining - 1,
            low: 0x80,
            high: 0xbf,
        };
        Ok((rest.remaining > 0).then_some(rest))
    }
}

impl Number {
    /// What was read last, and how many bytes of `input` belong to the number.
    pub(super) fn extend(self, input: &[u8]) -> (Self, usize) {
        let mut number = self;
        for (at, &byte) in input.iter().enumerate() {
            number = match (number, byte) {
                (Self::Integer, b'0'..=b'9') => Self::Integer,
                (Self::Fraction | Self::Point, b'0'..=b'9') => Self::Fraction,
                (Self::Minus, b'0') => Self::Zero,
                (Self::Minus, b'1'..=b'9') => Self::Integer,
                (Self::Zero | Self::Integer, b'.') => Self::Point,
                (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
                (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
                (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => {
                    Self::ExponentDigits
                }
                _ => return (number, at),
            };
        }
        (number, input.len())
    }

    pub(super) fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits
        )
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// What follows the first byte of a UTF-8 sequence (RFC 3629, section 4). `None` for a byte that begins none
/// and for control characters, which JSON forbids in strings.
pub(super) fn sequence(first: u8) -> Option<Continuation> {
    let (remaining, low, high) = match first {
        0xc2..=0xdf => (1, 0x80, 0xbf),
        0xe0 => (2, 0xa0, 0xbf),
        0xe1..=0xec | 0xee..=0xef => (2, 0x80, 0xbf),
        0xed => (2, 0x80, 0x9f),
        0xf0 => (3, 0x90, 0xbf),
        0xf1..=0xf3 => (3, 0x80, 0xbf),
        0xf4 => (3, 0x80, 0x8f),
        _ => return None,
    };
    Some(Continuation {
        remaining,
        low,
        high,
    })
}

/// How many bytes at the start of `input` are plain in a string: ASCII, but no quote, backslash or control
/// character. Eight bytes at a time; memchr has no search for a range.
pub(super) fn plain_length(input: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let mut at = 0;
    let (words, _) = input.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        // A byte is special when subtracting borrows into its high bit; a borrow can mark the bytes above
        // the first special one wrongly, never those below it, and only the first one counts.
        let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        let control = word.wrapping_sub(ONES * 0x20);
        let special = (quote | backslash | control | word) & HIGHS;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + input[at..]
        .iter()
        .take_while(|&&byte| is_plain(byte))
        .count()
}

fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\'
}
