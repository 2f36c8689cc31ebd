//! Answers each request by the configuration of the moment at which it comes.

use http::Request;
use hyper::body::Incoming;
use hyper::service::Service;

use super::composition::Composition;
use crate::reload::Reloaded;

/// What answers at one listener on one worker. Cheap to clone.
pub(super) struct Current<S> {
    running: Reloaded<Composition>,
    worker: usize,
    of: fn(&Composition) -> &[S],
}

impl<S> Clone for Current<S> {
    fn clone(&self) -> Self {
        Self {
            running: self.running.clone(),
            ..*self
        }
    }
}

impl<S> Current<S> {
    /// One for each of `workers`; `of` picks its part of the composition that runs at the time.
    pub(super) fn on_each(
        workers: usize,
        running: &Reloaded<Composition>,
        of: fn(&Composition) -> &[S],
    ) -> Vec<Self> {
        let current = |worker| Self {
            running: running.clone(),
            worker,
            of,
        };
        (0..workers).map(current).collect()
    }
}

/// The response's future holds clones of all that the request needs, and so of the configuration that it began with.
impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Current<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = self.running.now();
        (self.of)(&running)[self.worker].call(request)
    }
}
