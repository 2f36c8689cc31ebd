//! Reads and writes `application/x-www-form-urlencoded`. It is read strictly: what Go drops, Rust keeps or both repair
//! differently is an error here. Each byte is looked at once, with a table: every request passes here twice.

use std::borrow::Cow;

/// Why a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// `;`, which was a separator once.
    #[error("the parameters hold a bare \";\": write %3B")]
    Semicolon,
    /// `%` without two hexadecimal digits.
    #[error("the parameters hold a percent sign that begins no encoded character: write %25")]
    Percent,
    #[error("the parameters are not UTF-8")]
    Encoding,
    #[error("the parameters hold a NUL byte")]
    Nul,
}

/// The pairs of a form, decoded, in order.
pub(crate) fn pairs(
    text: &[u8],
) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), FormError>> {
    text.split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let split = pair.iter().position(|&byte| byte == b'=');
            let (name, value) = split.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
            Ok((decode(name)?, decode(value)?))
        })
}

/// Appends `name=value`, encoded as the URL Standard has it.
pub(crate) fn append(encoded: &mut Vec<u8>, name: &str, value: &str) {
    encode(encoded, name);
    encoded.push(b'=');
    encode(encoded, value);
}

fn encode(encoded: &mut Vec<u8>, text: &str) {
    for piece in text.as_bytes().chunks(PIECE) {
        let mut room = [0; 3 * PIECE];
        let mut length = 0;
        for &byte in piece {
            let (written, bytes) = ENCODED[usize::from(byte)];
            room[length..length + 3].copy_from_slice(&bytes);
            length += usize::from(written);
        }
        encoded.extend_from_slice(&room[..length]);
    }
}

/// So many bytes are encoded at once, in a place of fixed size.
const PIECE: usize = 64;

/// What each byte is written as: how many bytes, and which.
static ENCODED: [(u8, [u8; 3]); 256] = {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = [(0, [0; 3]); 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        encoded[index] =
            if byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'-' | b'.' | b'_') {
                (1, [byte, 0, 0])
            } else if byte == b' ' {
                (1, [b'+', 0, 0])
            } else {
                let (high, low) = (DIGITS[index >> 4], DIGITS[index & 0xf]);
                (3, [b'%', high, low])
            };
        index += 1;
    }
    encoded
};

fn decode(text: &[u8]) -> Result<Cow<'_, str>, FormError> {
    let Some(first) = text.iter().position(|&byte| SPECIAL[usize::from(byte)]) else {
        let plain = std::str::from_utf8(text).map_err(|_| FormError::Encoding)?;
        return Ok(Cow::Borrowed(plain));
    };
    let mut decoded = Vec::with_capacity(text.len());
    decoded.extend_from_slice(&text[..first]);
    let mut rest = text[first..].iter();
    while let Some(&byte) = rest.next() {
        if !SPECIAL[usize::from(byte)] {
            decoded.push(byte);
            continue;
        }
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || hexadecimal(*rest.next()?);
                let (high, low) = (digit(), digit());
                let pair = high.zip(low).map(|(high, low)| high << 4 | low);
                match pair.ok_or(FormError::Percent)? {
                    0 => return Err(FormError::Nul),
                    byte => byte,
                }
            }
            b';' => return Err(FormError::Semicolon),
            _ => return Err(FormError::Nul),
        });
    }
    let decoded = String::from_utf8(decoded).map_err(|_| FormError::Encoding)?;
    Ok(Cow::Owned(decoded))
}

/// The bytes that are an error in a form, or stand for something else.
static SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    special[b'%' as usize] = true;
    special[b'+' as usize] = true;
    special[b';' as usize] = true;
    special[0] = true;
    special
};

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Vec<(String, String)>, FormError> {
        pairs(text)
            .map(|pair| pair.map(|(name, value)| (name.into_owned(), value.into_owned())))
            .collect()
    }

    #[test]
    fn pairs_are_decoded_in_order() {
        let expected = [
            ("query", "a b+c"),
            ("match[]", "{x=\"1\"}"),
            ("%71", ""),
            ("", "v"),
            ("a", "b=c"),
        ];
        let pairs =
            read(b"query=a+b%2bc&&match%5B%5D=%7Bx%3D%221%22%7D&%2571&=v&a=b=c").expect("a form");
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn e07_q38_what_decoders_disagree_on_is_an_error() {
        for (text, error) in [
            (&b"query=1;query=2"[..], FormError::Semicolon),
            (b"a=b;c=d&query=x", FormError::Semicolon),
            (b"query=%zz", FormError::Percent),
            (b"%zz=1&query=x", FormError::Percent),
            (b"query=%2", FormError::Percent),
            (b"query=%", FormError::Percent),
            (b"query=%ff", FormError::Encoding),
            (b"query=%c0%a2", FormError::Encoding),
            (b"query=\xff", FormError::Encoding),
            (b"query%00=x", FormError::Nul),
            (b"query=up%00", FormError::Nul),
        ] {
            assert_eq!(read(text), Err(error), "{}", String::from_utf8_lossy(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_decoded_to_the_same(name in "[^\0]{1,20}", value in "[^\0]{0,40}") {
            let mut text = Vec::new();
            append(&mut text, &name, &value);
            let expected = form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
            proptest::prop_assert_eq!(String::from_utf8_lossy(&text), expected);
            proptest::prop_assert_eq!(read(&text), Ok(vec![(name, value)]));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read(&bytes);
        }
    }
}
