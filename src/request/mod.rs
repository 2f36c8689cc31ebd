//! A request from its head to the end of its response: the layers around the way, the way itself, what a refusal looks
//! like, and the record of how it went.

pub mod pipeline;
pub mod record;
pub mod refusal;
pub mod stack;
