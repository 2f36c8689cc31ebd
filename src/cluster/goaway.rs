//! Requests that an HTTP/2 server says it has not processed, which can therefore always be sent again.
//!
//! A server that closes a connection names the last request that it has processed (RFC 9113, section 6.8); later ones
//! belong on another connection. An API server does so when it shuts down, at random if configured (`--goaway-chance`),
//! and after each request that it refuses with 401, even if other callers share the connection.

use std::error::Error;

use h2::Reason;

/// How often one request is sent again, since another connection may end in the same way.
pub(crate) const ATTEMPTS: usize = 8;

/// Sends a request again that the server has not processed.
///
/// # Errors
/// The last failure.
pub(crate) async fn again_if_unprocessed<T, E, F>(mut ask: impl FnMut() -> F) -> Result<T, E>
where
    E: Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(error) if is_unprocessed(&error) => {}
            answer => return answer,
        }
    }
    ask().await
}

/// Whether the server has said that it did not process the request that failed with `error`.
pub(crate) fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            // h2 gives this to the requests past the last one that counts, and to no other.
            let ended = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
            let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
            return error.is_remote() && (ended || refused);
        }
        cause = error.source();
    }
    false
}
