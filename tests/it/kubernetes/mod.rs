//! Section K of the threat cases: what Kubernetes answers, what it must allow, and what it must not.

mod bindings;
mod changes;
mod floods;
mod namespaces;
mod permissions;
mod reviews;
mod supply;
