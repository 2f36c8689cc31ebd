//! Prometheus' HTTP API: what is served of it, how a request is read, and what is done to an answer.
//!
//! Nothing here knows who asks or talks to anybody.

mod endpoint;
pub mod envelope;
pub mod filter;
pub(crate) mod form;
mod path;
mod request;
mod time;

pub use self::endpoint::{Endpoint, Kind, Methods, Reads};
pub use self::form::FormError;
pub use self::path::{Form, LabelName, Path, PathError, PathRead};
pub use self::request::{Accepted, Live, PrometheusRequest, RequestError, RequestLimits, Target};
