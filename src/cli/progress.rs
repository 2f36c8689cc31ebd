//! One line on a terminal that says what is being done; nothing where standard error is not a terminal.

use std::io::{self, IsTerminal, Write};

/// The line, on standard error.
#[derive(Debug)]
pub struct Progress {
    watched: bool,
}

impl Progress {
    #[allow(clippy::new_without_default, reason = "it looks at the terminal")]
    pub fn new() -> Self {
        Self {
            watched: io::stderr().is_terminal(),
        }
    }

    /// Takes the place of what was shown before.
    pub fn show(&self, step: &str) {
        if self.watched {
            // To the line's start, and clear it. A terminal that is gone is no failure.
            let _ = write!(io::stderr(), "\r\x1b[K{step}");
        }
    }

    pub fn clear(&self) {
        self.show("");
    }
}
