//! A small Kubernetes API server over HTTPS: objects, watches, tokens, reviews, role-based access
//! control, and the proxy subresources, answering as version 1.36 was recorded to.
//!
//! It has no controllers but role aggregation, no admission, no field ownership, no aggregated
//! APIs and no persistence. Services get endpoints only from EndpointSlices or Endpoints that are
//! written to it, and unlike the real server it accepts loopback addresses in them.

mod api_server;
mod authentication;
mod collection;
mod control;
mod defaults;
mod discovery;
mod impersonation;
mod kinds;
mod manifests;
mod objects;
mod pipeline;
mod proxying;
mod rbac;
mod request;
mod reviews;
mod selector;
mod status;
mod store;
mod watches;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

pub use api_server::{ApiServer, Options};
pub use authentication::{DEFAULT_AUDIENCE, TokenRequest, User};
pub use control::{Behaviour, Recorded, Responder, ReviewAnswer};
pub use kinds::{KINDS, Kind};
pub use manifests::ManifestError;
pub use objects::Subject;
pub use request::RequestInfo;

use crate::connect::HttpClient;

/// The state behind one lock: authentication and authorization read both parts together.
pub(crate) struct Cluster {
    store: store::Store,
    tokens: authentication::Tokens,
}

/// What requests share.
pub(crate) struct Inner {
    cluster: Arc<Mutex<Cluster>>,
    controls: control::Controls,
    records: control::Records,
    watches: watches::Settings,
    client: HttpClient,
}
