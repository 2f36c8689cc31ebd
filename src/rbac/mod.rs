//! Where RBAC may give a caller rights in a namespace, as the cluster's role bindings tell.
//!
//! Nothing here decides about anybody. It says of which namespaces a review is worth asking, and each of them is
//! reviewed.

mod bindings;
mod candidates;
pub mod metrics;
mod object;
mod subject;
mod watch;

pub use self::bindings::Bindings;
pub use self::candidates::{CandidateFinder, Candidates, Searched, Source};
pub use self::object::RoleBinding;
pub use self::watch::watch_role_bindings;
