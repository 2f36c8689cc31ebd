//! A place for each request: one of its caller's, and one of all.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use super::stages::{Answered, Refused, Routed};
use crate::authn::Caller;
use crate::slots::{LimitError, Slot, Slots};

/// Makes [`PlacesService`]s.
#[derive(Clone, Debug)]
pub struct PlacesLayer(Arc<Slots>);

impl PlacesLayer {
    /// `all` are the places of all callers together.
    pub fn new(all: Slots) -> Self {
        // A count of this worker's own, as in the layer of callers.
        Self(Arc::new(all))
    }
}

impl<S> Layer<S> for PlacesLayer {
    type Service = PlacesService<S>;

    fn layer(&self, inner: S) -> PlacesService<S> {
        PlacesService {
            inner,
            all: self.0.clone(),
        }
    }
}

/// Hands on requests once there is a place for them, which they hold until their response has ended.
#[derive(Clone, Debug)]
pub struct PlacesService<S> {
    inner: S,
    all: Arc<Slots>,
}

impl<S, B> Service<Routed<B>> for PlacesService<S>
where
    S: Service<Routed<B>, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Answered;
    type Error = Refused;
    type Future = BoxFuture<'static, Result<Answered, Refused>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Routed<B>) -> Self::Future {
        let all = self.all.clone();
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let taken = {
                let places = pin!(places(&request.caller, &all));
                request.record.on_caller(places).await
            };
            match taken {
                Ok(slots) => {
                    let mut answered = inner.call(request).await?;
                    answered.slots = Some(slots);
                    Ok(answered)
                }
                Err(error) => Err(Refused {
                    refusal: error.into(),
                    record: request.record,
                }),
            }
        })
    }
}

async fn places(caller: &Caller, all: &Slots) -> Result<[Slot; 2], LimitError> {
    Ok([
        caller.slots().take().await.ok_or(LimitError::Caller)?,
        all.take().await.ok_or(LimitError::Total)?,
    ])
}
