//! Section H of the threat cases: what HTTP itself lets a caller, or what answers for Prometheus, try.

mod bodies;
mod framing;
mod headers;
mod multiplexing;
mod observation;
mod patience;
mod tls;
