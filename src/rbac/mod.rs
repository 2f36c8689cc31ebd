//! Where RBAC may give a caller rights in a namespace, as the cluster's role bindings tell, and which remembered
//! answers a change of RBAC may touch.
//!
//! Nothing here decides about anybody. It says what is worth asking, and what has to be asked again.

mod bindings;
mod candidates;
mod changes;
mod coverage;
mod epochs;
pub mod metrics;
mod object;
mod roles;
mod subject;
mod watch;

pub use self::bindings::Bindings;
pub use self::candidates::{CandidateFinder, Candidates, Searched, Source};
pub use self::changes::{Changes, Place};
pub use self::epochs::Epoch;
pub use self::object::{ClusterRoleBinding, InCluster, InNamespace, RoleBinding};
pub use self::watch::{watch_role_bindings, watch_roles};
