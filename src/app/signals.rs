//! The signals that end the program, and the one that has it read its configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::StartError;

/// The signals that end the program.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// SIGHUP, which no longer ends the program from now on.
pub(super) fn hangup() -> Result<Signal, StartError> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, StartError> {
    signal(kind).map_err(StartError::Signals)
}

impl Signals {
    pub(super) fn listen() -> Result<Self, StartError> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
