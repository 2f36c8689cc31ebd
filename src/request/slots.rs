//! A slot for each request: one of its caller's, and one of all.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use tower::{Layer, Service, ServiceExt};

use super::stages::{Answered, HandedOn, Refused, Routed};
use crate::authn::Caller;
use crate::slots::{LimitError, Slot, Slots};

/// Makes [`SlotsService`]s.
#[derive(Clone, Debug)]
pub struct SlotsLayer(Arc<Slots>);

impl SlotsLayer {
    /// `all` are the slots of all callers together.
    pub fn new(all: Slots) -> Self {
        // An `Arc` of this worker's own, as in the caller layer.
        Self(Arc::new(all))
    }
}

impl<S> Layer<S> for SlotsLayer {
    type Service = SlotsService<S>;

    fn layer(&self, inner: S) -> SlotsService<S> {
        SlotsService {
            inner,
            all: self.0.clone(),
        }
    }
}

/// Hands on requests once there is a slot for them. The record holds it until the response has ended.
#[derive(Clone, Debug)]
pub struct SlotsService<S> {
    inner: S,
    all: Arc<Slots>,
}

impl<S, B> Service<Routed<B>> for SlotsService<S>
where
    S: Service<Routed<B>, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Answered;
    type Error = Refused;
    type Future = HandedOn<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Routed<B>) -> Self::Future {
        let of_caller = request.caller.slots().take_free();
        let of_all = of_caller.as_ref().and_then(|_| self.all.take_free());
        let of_caller = match (of_caller, of_all) {
            (Some(of_caller), Some(of_all)) => {
                request.record.hold([of_caller, of_all]);
                return Either::Left(self.inner.call(request));
            }
            (of_caller, _) => of_caller,
        };
        let (inner, all) = (self.inner.clone(), self.all.clone());
        Either::Right(Box::pin(async move {
            let taken = {
                let slots = pin!(slots(of_caller, &request.caller, &all));
                request.record.on_caller(slots).await
            };
            match taken {
                Ok(slots) => {
                    request.record.hold(slots);
                    inner.oneshot(request).await
                }
                Err(error) => Err(Refused::new(error, request.record)),
            }
        }))
    }
}

/// Waits for both, or for the second where `of_caller` is held already.
async fn slots(
    of_caller: Option<Slot>,
    caller: &Caller,
    all: &Slots,
) -> Result<[Slot; 2], LimitError> {
    let of_caller = match of_caller {
        Some(slot) => slot,
        None => caller.slots().take().await.ok_or(LimitError::Caller)?,
    };
    let of_all = all.take().await.ok_or(LimitError::Total)?;
    Ok([of_caller, of_all])
}
