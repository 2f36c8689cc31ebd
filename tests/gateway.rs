//! The gateway as a black box: the binary between callers and the stand-in of the API server.

#![allow(unreachable_pub, reason = "a test is a crate that nobody reaches into")]

/// The cluster behind the gateway.
#[path = "gateway/cluster.rs"]
mod cluster;

/// The namespaces that a caller may read, listed and watched.
#[path = "gateway/namespaces/mod.rs"]
mod namespaces;
/// What passes, and how.
#[path = "gateway/passing.rs"]
mod passing;
/// What the Prometheus plugin asks.
#[path = "gateway/plugin.rs"]
mod plugin;
/// Upgrades.
#[path = "gateway/tunnels.rs"]
mod tunnels;
/// Streams that are long, many, or slow.
#[path = "gateway/watches.rs"]
mod watches;
