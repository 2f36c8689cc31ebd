//! What threads share, run by [loom] in every order in which they can meet there, and with what each may still see of an
//! older value. The files are those of the proxy: under `cfg(loom)`, which this crate alone has, they take locks, atomics
//! and threads from `model`.
//!
//! loom knows no clock: what waits for a time here goes on at once, and a deadline passes at once or never. Of `SeqCst` it knows no more than of `AcqRel`, so what
//! passes holds with less than the files ask for.
//!
//! [loom]: https://docs.rs/loom
#![cfg(test)]
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "the files are another crate's, and only a part of each is used"
)]

mod model;

#[path = "../../../src/rbac/epochs.rs"]
mod epochs;
#[path = "../../../src/telemetry/lines.rs"]
mod lines;
#[path = "../../../src/slots.rs"]
mod slots;
#[path = "../../../src/server/write_gate.rs"]
mod write_gate;

mod changed_answers;
mod gated_body;
mod log;
mod queue;
