//! Where a request leads: the upstream and the endpoint that its path names.

use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Method, request};
use tower::{Layer, Service};

use super::stages::{Answered, HandedOn, Identified, Refused, Route, Routed, refused};
use crate::prometheus::{PathError, PathRead, RequestError, Target};
use crate::sharing::Clients;

/// Makes [`RouteService`]s.
#[derive(Clone)]
pub struct RouteLayer(Clients);

impl RouteLayer {
    /// To `upstreams`, over this worker's connections.
    pub fn new(upstreams: Clients) -> Self {
        Self(upstreams)
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = RouteService<S>;

    fn layer(&self, inner: S) -> RouteService<S> {
        RouteService {
            inner,
            upstreams: self.0.clone(),
        }
    }
}

/// Hands on the requests whose path is one that is served.
#[derive(Clone)]
pub struct RouteService<S> {
    inner: S,
    upstreams: Clients,
}

impl<S, B> Service<Identified<B>> for RouteService<S>
where
    S: Service<Routed<B>, Response = Answered, Error = Refused>,
{
    type Response = Answered;
    type Error = Refused;
    type Future = HandedOn<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Identified<B>) -> Self::Future {
        let Identified {
            head,
            body,
            path,
            caller,
            mut record,
        } = request;
        match route(&self.upstreams, &head, path) {
            Ok(route) => {
                record.endpoint(route.target.endpoint());
                Either::Left(self.inner.call(Routed {
                    head,
                    body,
                    caller,
                    route,
                    record,
                }))
            }
            Err(error) => refused(error, record),
        }
    }
}

fn route(
    upstreams: &Clients,
    head: &request::Parts,
    path: Result<PathRead, PathError>,
) -> Result<Route, RequestError> {
    if head.method == Method::CONNECT {
        return Err(RequestError::Method {
            endpoint: "of a tunnel",
            allow: "GET, POST",
        });
    }
    let (upstream, path) = upstreams
        .find(path?.rest(head.uri.path()))
        .ok_or(RequestError::UnknownEndpoint)?;
    Ok(Route {
        upstream: upstream.clone(),
        target: Target::find(path, &head.method)?,
    })
}
