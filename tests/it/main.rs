//! The binary as a black box: a real Prometheus behind it, stand-ins for Kubernetes and Headlamp around it.

#![allow(unreachable_pub, reason = "a test is a crate that nobody reaches into")]

/// How everything is started and spoken to.
mod support;

/// The doors: how a caller and a token reach the proxy, and what comes back.
mod doors;
/// What goes on when Kubernetes is slow, away, or back again.
mod outage;
/// Large answers, callers who leave, the end of the process.
mod streaming;
