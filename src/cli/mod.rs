//! The command line: what was typed, the manual made of it, and the command that explains a decision.

pub mod args;
pub mod explain;
pub mod manual;
pub mod progress;
