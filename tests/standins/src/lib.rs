//! Stand-ins for what surrounds prom-rbac-proxy in a cluster: Kubernetes' API server,
//! Headlamp's backend, and a real Prometheus with data. Tests and the demo use them; nothing
//! of this crate is in the shipped binary.
//!
//! Every stand-in listens on a free loopback port, ends when its handle is dropped, and
//! answers from facts recorded on the real thing. They are no substitute for it: what they
//! leave out is named at the top of each module.

pub mod body;
pub mod clock;
pub mod connect;
pub mod headlamp;
pub mod kubernetes;
pub mod process;
pub mod prometheus;
pub mod site;
pub mod tls;

mod gunzip;
mod headers;
mod path;
mod random;
mod serve;
mod tunnel;
