//! Makes responses of refusals, and tells the record why.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tower::{Layer, Service};

use crate::request::stages::{Answered, Arrival, Refused};

/// Makes [`RefusalService`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefusalLayer;

impl<S> Layer<S> for RefusalLayer {
    type Service = RefusalService<S>;

    fn layer(&self, inner: S) -> RefusalService<S> {
        RefusalService { inner }
    }
}

/// Answers what `inner` refuses.
#[derive(Clone, Debug)]
pub struct RefusalService<S> {
    inner: S,
}

impl<S, B> Service<Arrival<B>> for RefusalService<S>
where
    S: Service<Arrival<B>, Response = Answered, Error = Refused>,
    S::Future: Unpin,
{
    type Response = Answered;
    type Error = Infallible;
    type Future = RefusalFuture<S::Future>;

    /// `inner` is always ready: what has to wait does so in the request's future, so that it can be refused.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Arrival<B>) -> Self::Future {
        RefusalFuture(self.inner.call(request))
    }
}

/// The response of a [`RefusalService`].
pub struct RefusalFuture<F>(F);

impl<F> Future for RefusalFuture<F>
where
    F: Future<Output = Result<Answered, Refused>> + Unpin,
{
    type Output = Result<Answered, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.get_mut().0).poll(context));
        Poll::Ready(Ok(result.unwrap_or_else(Refused::answered)))
    }
}

impl Refused {
    fn answered(self) -> Answered {
        let Self {
            refusal,
            mut record,
        } = self;
        record.refused(refusal.decision(), refusal.code(), &refusal.logged());
        record.asked(refusal.namespaces());
        Answered {
            response: refusal.response(),
            record,
        }
    }
}
