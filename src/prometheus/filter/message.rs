//! Error answers of Prometheus, which are small and not streamed.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// An error answer of Prometheus with its text under `message` too, the key that Headlamp shows. All else
/// stays byte for byte, and so does an answer that has a `message`.
///
/// `None` for what is not an object in JSON with one text under `error`. Bounding `body` is the caller's part.
pub fn with_message(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?.trim_ascii();
    // A derived struct would be read from an array too.
    if !text.starts_with('{') {
        return None;
    }
    let answer: ErrorAnswer<'_> = serde_json::from_str(text).ok()?;
    serde_json::from_str::<Cow<'_, str>>(answer.error.get()).ok()?;
    let mut body = text.as_bytes().to_vec();
    if answer.message.is_none() {
        // There is at least one member before it, the error.
        body.pop();
        body.extend_from_slice(br#","message":"#);
        body.extend_from_slice(answer.error.get().as_bytes());
        body.push(b'}');
    }
    Some(body)
}

#[derive(Deserialize)]
struct ErrorAnswer<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
    message: Option<IgnoredAny>,
}
