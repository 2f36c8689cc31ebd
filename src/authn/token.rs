//! The bearer token, as a secret: it cannot be printed, and is compared and cached by a keyed hash only.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::{Duration, SystemTime};

use ring::hmac;

/// The longest token that is reviewed, in bytes. Tokens of OpenID providers with many groups reach 12 KiB;
/// an API server's own limit for all headers is far above.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A caller's bearer token, of the form `token68` (RFC 7235), so that it can stand in a header or in JSON as it is.
/// Only a token review tells whether it is worth anything.
#[derive(Clone, PartialEq, Eq)]
pub struct Token<'t>(Cow<'t, [u8]>);

impl<'t> Token<'t> {
    /// Takes `text` as a token.
    ///
    /// # Errors
    /// When it is empty, longer than [`MAX_TOKEN_BYTES`] or has a character that no token has.
    pub fn parse(text: &'t [u8]) -> Result<Self, MalformedToken> {
        if text.is_empty() {
            return Err(MalformedToken::Empty);
        }
        if text.len() > MAX_TOKEN_BYTES {
            return Err(MalformedToken::TooLong);
        }
        let unpadded = text.trim_ascii_end_matches(b'=');
        // Looks at all of them, many at a time: a token that is wrong may cost as much as a good one.
        let allowed = (unpadded.iter()).fold(true, |all, &byte| all & is_token68(byte));
        if unpadded.is_empty() || !allowed {
            return Err(MalformedToken::Characters);
        }
        Ok(Self(Cow::Borrowed(text)))
    }

    /// A copy with memory of its own, independent of the headers.
    pub fn into_owned(self) -> Token<'static> {
        Token(Cow::Owned(self.0.into_owned()))
    }

    /// The secret itself, for the token review and for nothing else.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).expect("all of its characters are ASCII")
    }

    /// Its digest, together with the audiences that it is asked to be good for.
    pub fn digest(&self, digester: &Digester, audiences: &[String]) -> Digest {
        let audiences = audiences.iter().map(String::as_bytes);
        digester.digest(std::iter::once(&*self.0).chain(audiences))
    }

    /// When the token says that it expires, if it is a JSON Web Token with a readable `exp`.
    ///
    /// Nobody has checked the claim when this is asked, so it may only shorten what a review allows.
    pub fn expires(&self) -> Option<SystemTime> {
        #[derive(serde::Deserialize)]
        struct Claims {
            exp: Option<f64>,
        }
        let mut parts = self.expose().split('.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        let claims: Claims = serde_json::from_slice(&decode_base64url(payload)?).ok()?;
        let seconds = claims.exp.filter(|seconds| seconds.is_finite())?;
        // A time before 1970 has passed; one past what the clock can hold never comes.
        let since_epoch = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(since_epoch)
    }
}

/// The characters of `token68` but its padding: letters, digits and `-._~+/`.
fn is_token68(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    // These follow each other: - . / 0 to 9.
    let digit = byte.wrapping_sub(b'-') <= b'9' - b'-';
    letter | digit | (byte == b'_') | (byte == b'~') | (byte == b'+')
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedToken {
    Empty,
    /// More than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// A character that is not of `token68`.
    Characters,
}

/// A keyed hash that stands for a token; worthless outside of this process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Some of its bits. All are as good as random, so these are enough to tell digests apart where only speed or
    /// fairness depends on it.
    pub fn bits(self) -> u64 {
        let first = self.0.first_chunk().expect("it has 32 bytes");
        u64::from_ne_bytes(*first)
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.bits());
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// Makes digests, with a key drawn at random when the process starts.
#[derive(Clone, Debug)]
pub struct Digester(hmac::Key);

impl Digester {
    /// Draws a key.
    ///
    /// # Panics
    /// When the operating system has no random numbers to give.
    pub fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
        Self(key.expect("the operating system gives random numbers"))
    }

    /// The digest of several parts in order. Each goes in with its length in front, so that moving bytes
    /// from one part to the next makes another digest.
    pub fn digest<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let tag = context.sign();
        Digest(tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes"))
    }
}

impl Default for Digester {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads base64 in the alphabet for URLs, without padding. A crate for this alone would be one more to
/// watch, and nothing trusts the result.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

/// `trim_end_matches` for bytes.
trait TrimEnd {
    fn trim_ascii_end_matches(&self, byte: u8) -> &[u8];
}

impl TrimEnd for [u8] {
    fn trim_ascii_end_matches(&self, byte: u8) -> &[u8] {
        let end = self
            .iter()
            .rposition(|&other| other != byte)
            .map_or(0, |last| last + 1);
        &self[..end]
    }
}

/// The inverse, for tests that make tokens.
#[cfg(test)]
pub(super) fn encode_base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |bits, (i, &b)| bits | u32::from(b) << (16 - 8 * i));
        for i in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t08_a_token_longer_than_the_limit_is_none() {
        assert!(Token::parse(&vec![b'a'; MAX_TOKEN_BYTES]).is_ok());
        assert_eq!(
            Token::parse(&vec![b'a'; MAX_TOKEN_BYTES + 1]),
            Err(MalformedToken::TooLong)
        );
    }

    #[test]
    fn t09_control_bytes_commas_and_spaces_are_in_no_token() {
        for text in [
            "A\nX", "A\rX", "A\0", "A,Z", "a b", "ä", "\"A\"", "A%0a", "=", "a=b",
        ] {
            assert_eq!(
                Token::parse(text.as_bytes()),
                Err(MalformedToken::Characters),
                "{text:?}"
            );
        }
        assert_eq!(Token::parse(b"\xff"), Err(MalformedToken::Characters));
        assert!(Token::parse(b"ab-._~+/==").is_ok());
    }

    #[test]
    fn each_byte_is_of_a_token_or_is_not() {
        for byte in 0..=u8::MAX {
            let expected = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(is_token68(byte), expected, "{byte:#04x}");
        }
    }

    #[test]
    fn t15_digests_depend_on_where_a_part_ends() {
        let digester = Digester::new();
        let digest = |parts: &[&str]| digester.digest(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(digest(&["a", "bc"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["a", "bc"]), digest(&["ab", "c"]));
        let long = "x".repeat(4096);
        assert_ne!(
            digest(&[&format!("{long}a")]),
            digest(&[&format!("{long}b")])
        );
        assert_ne!(Digester::new().digest([&b"a"[..]]), digest(&["a"]));
    }

    #[test]
    fn t22_debug_shows_neither_token_nor_digest() {
        let token = Token::parse(b"very-secret").expect("a token");
        let digest = Digester::new().digest([token.expose().as_bytes()]);
        assert_eq!(
            format!("{token:?} {digest:?}"),
            "Token(redacted) Digest(..)"
        );
    }

    #[test]
    fn d08_an_end_is_read_where_there_is_one() {
        let end = |payload: &str| {
            let token = format!("e30.{}.sig", encode_base64url(payload.as_bytes()));
            Token::parse(token.as_bytes()).expect("a token").expires()
        };
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(end(r#"{"exp":1700000000}"#), Some(at(1_700_000_000)));
        assert_eq!(end(r#"{"exp":-5}"#), Some(at(0)));
        for payload in [
            r#"{"exp":1e300}"#,
            r#"{"exp":"soon"}"#,
            "{}",
            "[]",
            "no json",
            "",
        ] {
            assert_eq!(end(payload), None, "{payload}");
        }
        assert_eq!(Token::parse(b"opaque").expect("a token").expires(), None);
    }
}
