//! Decodes `application/x-www-form-urlencoded` text strictly: what Go drops, Rust keeps or both repair
//! differently is an error here.

use std::borrow::Cow;

/// Pairs in URL and body together. Nobody's dashboard comes near it.
pub(super) const MAX_PAIRS: usize = 100;

/// Why a form cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// `;`, which was a separator once.
    #[error("the parameters hold a bare \";\": write %3B")]
    Semicolon,
    /// `%` without two hexadecimal digits.
    #[error("the parameters hold a percent sign that begins no encoded character: write %25")]
    Percent,
    /// Not UTF-8.
    #[error("the parameters are not UTF-8")]
    Encoding,
    /// NUL.
    #[error("the parameters hold a NUL byte")]
    Nul,
    /// Too many.
    #[error("there are more than {MAX_PAIRS} parameters")]
    TooMany,
}

/// The pairs of a form, decoded, in order.
pub(super) fn pairs(
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

fn decode(text: &[u8]) -> Result<Cow<'_, str>, FormError> {
    // One of these is an error, or stands for something else; most names and many values have none.
    if !text
        .iter()
        .any(|byte| matches!(byte, b'%' | b'+' | b';' | 0))
    {
        let plain = std::str::from_utf8(text).map_err(|_| FormError::Encoding)?;
        return Ok(Cow::Borrowed(plain));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        let byte = match byte {
            b';' => return Err(FormError::Semicolon),
            b'+' => b' ',
            b'%' => {
                let mut digit = || hexadecimal(*rest.next()?);
                let (high, low) = (digit(), digit());
                let pair = high.zip(low).map(|(high, low)| high << 4 | low);
                pair.ok_or(FormError::Percent)?
            }
            _ => byte,
        };
        if byte == 0 {
            return Err(FormError::Nul);
        }
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| FormError::Encoding)?;
    Ok(Cow::Owned(decoded))
}

fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
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
            let text = form_urlencoded::Serializer::new(String::new()).append_pair(&name, &value).finish();
            proptest::prop_assert_eq!(read(text.as_bytes()), Ok(vec![(name, value)]));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read(&bytes);
        }
    }
}
