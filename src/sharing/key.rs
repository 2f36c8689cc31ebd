//! What tells two requests apart.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::upstream::request::UpstreamRequest;

/// How keys are hashed. Not by the standard library's hasher, which took a quarter of what a request pays for its place
/// in the table: who finds out which keys meet makes looks longer, and no answer another's.
pub(super) type Hashing = foldhash::quality::RandomState;

/// All that Prometheus' answer depends on: what is sent, how it may be compressed, and which of several is asked. What
/// is sent carries the caller's rights: it is the text that was restricted to them, not the one that was typed. What
/// the caller's name and trace are changes no answer.
#[derive(Clone, Debug)]
pub(super) struct Key {
    request: Arc<UpstreamRequest>,
    gzip: bool,
    endpoint: u64,
}

impl Key {
    /// The key of a request that goes to the endpoint numbered `endpoint`.
    pub(super) fn new(request: Arc<UpstreamRequest>, gzip: bool, endpoint: u64) -> Self {
        Self {
            request,
            gzip,
            endpoint,
        }
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.request.target().len() + self.request.form().len()
    }

    /// The same for all requests that differ in their times only, as a chart's do.
    pub(super) fn hash_chart(&self, state: &mut impl Hasher) {
        let form = self.request.form();
        let parameters = [self.request.target().as_bytes(), &form];
        for parameter in parameters
            .iter()
            .flat_map(|text| text.split(|byte| *byte == b'&'))
        {
            // A value has no bare `&`, so that these are the parameters themselves.
            if !parameter.starts_with(b"start=") && !parameter.starts_with(b"end=") {
                parameter.hash(state);
            }
        }
        (self.gzip, self.endpoint).hash(state);
    }
}

#[cfg(test)]
impl Key {
    /// That of a chart over an hour which ends then.
    pub(super) fn chart(query: &str, end: u64) -> Self {
        let start = end - 3600;
        let target = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step=30");
        let request = UpstreamRequest::fake(http::Method::GET, &target);
        Self::new(Arc::new(request), false, 0)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        (self.gzip, self.endpoint) == (other.gzip, other.endpoint)
            && self.request.sends_the_same_as(&other.request)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.request.target().hash(state);
        self.request.form().hash(state);
        (self.gzip, self.endpoint).hash(state);
    }
}
