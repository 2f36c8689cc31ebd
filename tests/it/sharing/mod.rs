//! Answers that several callers get.

/// One answer for all who ask the same at the same time, and for nobody else.
mod joining;
/// What is kept for those who ask a little later.
mod keeping;
