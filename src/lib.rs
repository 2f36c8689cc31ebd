//! An authenticating, streaming reverse proxy that restricts Prometheus queries to what their caller may see.
//!
//! A request's life, each step taking the type that the step before it made:
//!
//! ```text
//! server         accepts, speaks TLS and HTTP, one worker for each core
//!   request        the layers, a file each, and the pipeline inside:
//!     authn          headers -> Caller                   TokenReview, remembered
//!     slots          Caller -> Slot                      a slot, or a queue
//!     prometheus     path, query, form -> PrometheusRequest
//!     authz          Caller, PrometheusRequest -> Permit SubjectAccessReview, remembered
//!     upstream       Permit -> UpstreamRequest           PromQL rewritten by `promql`
//!     sharing        UpstreamRequest -> Response         another's answer to the same, where there is one
//!     upstream       UpstreamRequest -> Response         streamed, filtered where it has to be
//! ```
//!
//! `gateway` stands in front of the API server: what the Prometheus plugin asks there goes the same way, all else
//! passes. `config` and `app` make all of it, `cli` is how it is called; `cluster` talks to Kubernetes and remembers
//! what it said, `rbac` knows where it is worth asking; `telemetry` tells how it went.

#![cfg_attr(not(test), warn(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod app;
pub mod authn;
pub mod authz;
pub mod cli;
pub mod client_tls;
pub mod cluster;
pub mod config;
pub mod doctor;
pub mod door;
pub mod gateway;
pub mod namespace;
pub mod prometheus;
pub mod promql;
pub mod rbac;
pub mod reload;
pub mod request;
pub mod server;
pub mod sharing;
pub mod slots;
pub mod telemetry;
pub mod upstream;
