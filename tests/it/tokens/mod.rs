//! Section T of the threat cases: how a token comes, what is made of it, how long it counts, and where it
//! must never be seen.

mod carriers;
mod crowds;
mod lifetimes;
mod reviews;
mod secrets;
