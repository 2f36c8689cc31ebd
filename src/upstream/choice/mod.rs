//! The endpoints of an upstream: what is known of each, which of them a request goes to, and whether a second one is
//! tried.

mod affinity;
mod budget;
pub(super) mod choose;
pub(super) mod endpoint;
pub(super) mod endpoints;
pub(super) mod failover;
pub(super) mod health;
mod load;

pub use self::affinity::Affinity;
