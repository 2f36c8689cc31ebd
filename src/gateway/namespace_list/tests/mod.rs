//! What is pure: questions, selections, changes, what is remembered. The rest is tested over the binary.

mod changes;
mod questions;

use std::sync::Arc;

use crate::cluster::namespace_objects::NamespaceObject;
use crate::namespace::Namespace;

fn name(text: &str) -> Namespace {
    Namespace::parse(text).expect(text)
}

/// A namespace with a label `x`.
fn object(named: &str, version: u64, x: &str) -> Arc<NamespaceObject> {
    Arc::new(NamespaceObject {
        name: name(named),
        uid: format!("uid-{named}"),
        version,
        created: None,
        deleted: None,
        labels: [("x".to_owned(), x.to_owned())].into(),
    })
}
