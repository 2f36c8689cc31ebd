//! An HTTP/1.1 client for Prometheus: one request, and its answer as it streams in.
//!
//! ```text
//! client      a connection that is kept, or a new one       request   what is sent, as bytes
//!   connection  sends, and reads until there is a head      head      status and the few headers that count
//!     body        gives what follows, piece by piece        framing   where that ends
//! ```
//!
//! Whoever waits for an answer drives its connection: there is no task for a connection, and nothing crosses a
//! channel. hyper's client has both; with it a request cost a third more instructions in all. What it takes from
//! hyper is the parser of heads, `httparse`. It is stricter than it has to be, as no correct server needs leniency: one
//! length, and chunked as the only coding. A connection is reused only after an answer that ended where it said.

mod body;
mod client;
mod connection;
mod framing;
mod head;
mod request;
mod stream;

pub use self::body::Body;
pub use self::client::{Client, Connect};
pub use self::head::{Encoding, Head};
pub use self::request::Request;
pub use self::stream::Stream;

/// An answer that has begun.
#[derive(Debug)]
pub struct Answer {
    /// What it says of itself.
    pub head: Head,
    pub body: Body,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection, so that nothing was sent.
    #[error("no connection can be opened")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection ended too early.
    #[error("the connection broke")]
    Broken(#[source] std::io::Error),
    /// The bytes are not an answer that is accepted.
    #[error("the answer is not valid HTTP/1.1: {0}")]
    Malformed(&'static str),
}

#[cfg(test)]
mod tests;
