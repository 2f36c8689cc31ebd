//! A request, from its head to the end of its response. The layers, in the order of a request's way:
//!
//! ```text
//! record      the record of the request, which ends with the response's body
//!   refusal     what a refusal looks like
//!     caller      headers -> Caller
//!       greeting    `GET /` is answered here
//!         route       path -> upstream and Target
//!           detection   what Headlamp's autodetection asks is answered here
//!             slots       one of the caller's, and one of all
//!               form        the body of a POST
//!                 pipeline    parameters -> permit -> restriction -> sharing -> upstream
//! ```
//!
//! `stages` has what is known between two of them, and `stack` puts them together.

pub mod caller;
pub mod detection;
pub mod form;
pub mod greeting;
mod labels;
pub mod metrics;
pub mod pipeline;
pub mod record;
pub mod refusal;
pub mod route;
pub mod slots;
pub mod span;
pub mod stack;
pub mod stages;
#[cfg(test)]
mod tests;

pub use self::labels::{Decision, StatusClass, Subject};
pub use crate::door::Door;

/// Which listener a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// The one for Prometheus requests, which three doors lead to.
    Service,
    Gateway,
}
