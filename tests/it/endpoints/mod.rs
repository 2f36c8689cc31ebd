//! Section E of the threat cases, and those of Q and D that speak of the whole: what is served, with which
//! parameters, what of an answer passes, and what a query may cost.

mod answers;
mod boundary;
mod discovery;
mod load;
mod matchers;
mod parameters;
mod queries;
mod table;
