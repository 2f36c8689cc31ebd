//! The trace that a request belongs to according to its caller: the W3C trace context, level 1
//! (<https://www.w3.org/TR/trace-context-1/>). No decision depends on it.

use std::fmt;

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: &str = "traceparent";

/// Length of the header's value in version 00; later versions may append to it.
const LENGTH: usize = 55;

/// The flag of a trace that its caller samples.
const SAMPLED: u8 = 1;

/// That flag, and the one of level 2 that marks a random trace id. Others are not passed on, as the recommendation
/// asks.
const KNOWN_FLAGS: u8 = SAMPLED | 2;

/// A trace id with the id of the parent span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: [u8; 16],
    parent: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// Reads the headers of a request. `None` when they have no valid `traceparent`.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        Self::parse(value.as_bytes())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let [b'-', ..] = known[2..] else { return None };
        let [version] = octets(&known[..2])?;
        let follows = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more[0] == b'-',
        };
        let apart = known[35] == b'-' && known[52] == b'-';
        let (trace, parent): ([u8; 16], [u8; 8]) =
            (octets(&known[3..35])?, octets(&known[36..52])?);
        let [flags] = octets(&known[53..])?;
        let valid = follows && apart && trace != [0; 16] && parent != [0; 8];
        valid.then_some(Self {
            trace,
            parent,
            flags: flags & KNOWN_FLAGS,
        })
    }

    /// The trace as it is written: 32 lower-case hexadecimal digits.
    pub fn shown(&self) -> String {
        Digits(&self.trace).to_string()
    }

    /// The span that the request was sent in.
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent
    }

    /// Whether the caller keeps what it records of the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// A trace that begins here, in a span of ours, and is recorded.
    pub fn begun(trace: [u8; 16], span: [u8; 8]) -> Self {
        Self {
            trace,
            parent: span,
            flags: SAMPLED,
        }
    }

    /// The same trace, within another span.
    pub fn within(self, span: [u8; 8]) -> Self {
        Self {
            parent: span,
            ..self
        }
    }

    /// This trace, with the parent as the span itself, in OpenTelemetry's form.
    pub fn span_context(&self) -> SpanContext {
        SpanContext::new(
            TraceId::from_bytes(self.trace),
            SpanId::from_bytes(self.parent),
            TraceFlags::new(self.flags),
            false,
            TraceState::NONE,
        )
    }

    /// The `traceparent` header to send on.
    ///
    /// # Panics
    /// Never: it is made of digits.
    pub fn header(&self) -> HeaderValue {
        let [trace, parent] = [Digits(&self.trace), Digits(&self.parent)];
        let text = format!("00-{trace}-{parent}-{:02x}", self.flags);
        HeaderValue::try_from(text).expect("digits")
    }
}

/// Bytes in lower-case hexadecimal digits.
struct Digits<'a>(&'a [u8]);

impl fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads lower-case hexadecimal digits, two for each byte.
fn octets<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut octets = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_sound_header_is_read() {
        let context = TraceContext::parse(SOUND.as_bytes()).expect("sound");
        assert_eq!(context.trace[..2], [0x0a, 0xf7]);
        assert_eq!(context.parent_id()[6..], [0x33, 0x31]);
        assert!(context.is_sampled());
        let unsampled = SOUND.replace("-01", "-02");
        let context = TraceContext::parse(unsampled.as_bytes()).expect("sound");
        assert!(!context.is_sampled(), "another flag");
        let later = SOUND.replacen("00", "01", 1) + "-more";
        assert!(TraceContext::parse(later.as_bytes()).is_some());
    }

    #[test]
    fn it_is_passed_on_with_another_parent_and_no_flag_that_is_not_known() {
        let read = TraceContext::parse(SOUND.replace("-01", "-ff").as_bytes()).expect("sound");
        let sent = read.within([0xab; 8]).header();
        let expected = "00-0af7651916cd43dd8448eb211c80319c-abababababababab-03";
        assert_eq!(sent, expected);
        let begun = TraceContext::begun([0x12; 16], [0x0f; 8]);
        assert_eq!(TraceContext::parse(begun.header().as_bytes()), Some(begun));
    }

    #[test]
    fn anything_else_is_no_trace() {
        for text in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
        }
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            twice.append(TRACEPARENT, SOUND.parse().expect("a value"));
        }
        assert_eq!(TraceContext::of(&twice), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = TraceContext::parse(&bytes);
        }
    }
}
