//! An authenticating, streaming reverse proxy that restricts Prometheus queries to what their caller may see.
//!
//! A request's life, each step taking the type that the step before it made:
//!
//! ```text
//! server     accepts, speaks TLS and HTTP, one worker for each core
//!   stack      the record of the request, and what a refusal looks like
//!     pipeline   the way itself:
//!       authn      headers -> Caller                   TokenReview, remembered
//!       limits     Caller -> Slot                      a place, or a queue
//!       prometheus path, query, form -> PrometheusRequest
//!       authz      Caller, PrometheusRequest -> Permit SubjectAccessReview, remembered
//!       restrict   Permit -> UpstreamRequest           PromQL rewritten by `promql`
//!       upstream   UpstreamRequest -> Response         streamed, filtered where it has to be
//!         http1      one request and its answer, as bytes
//! ```
//!
//! `gateway` stands in front of the API server: what the Prometheus plugin asks there goes the same way, all else
//! passes. `config` and `app` make all of it; `cluster` talks to Kubernetes; `review_cache` remembers what it said;
//! `audit`, `metrics`, `spans` and `telemetry` tell how it went.

pub mod app;
pub mod args;
pub mod audit;
pub mod authn;
pub mod authz;
pub mod body;
pub mod cluster;
pub mod config;
pub mod error;
pub mod explain;
pub mod gateway;
mod goaway;
pub mod http1;
pub mod limits;
pub mod manual;
pub mod metrics;
pub mod namespace;
pub mod numbers;
pub mod pipeline;
pub mod prometheus;
pub mod promql;
pub mod reload;
pub mod restrict;
pub mod review_cache;
pub mod server;
pub mod spans;
pub mod stack;
pub mod telemetry;
pub mod trace;
pub mod upstream;

/// What the API server and a collector are told that asks.
const AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("prom-rbac-proxy/", env!("CARGO_PKG_VERSION")));
