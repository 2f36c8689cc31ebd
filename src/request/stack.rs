//! The one place that puts the layers around the pipeline in order.

use std::sync::Arc;
use std::time::Duration;

use tower::ServiceBuilder;

use super::Entrance;
use super::caller::{CallerLayer, CallerService};
use super::detection::{DetectionLayer, DetectionService};
use super::form::{FormLayer, FormService};
use super::greeting::{GreetingLayer, GreetingService};
use super::pipeline::Pipeline;
use super::record::{RecordLayer, RecordService, Recorder};
use super::refusal::{RefusalLayer, RefusalService};
use super::route::{RouteLayer, RouteService};
use super::slots::{SlotsLayer, SlotsService};
use crate::authn::Authenticator;
use crate::authz::Authorizer;
use crate::prometheus::RequestLimits;
use crate::sharing::Clients;
use crate::slots::Slots;

/// Answers the requests of one listener on one worker. Cheap to clone.
pub type Stack = RecordService<RefusalService<CallerService<Routing>>>;

/// What is asked of known callers only.
type Routing = GreetingService<RouteService<DetectionService<SlotsService<FormService<Pipeline>>>>>;

/// What the stacks of all workers have in common.
#[derive(Clone)]
pub struct Shared {
    /// Knows callers.
    pub authenticator: Arc<Authenticator>,
    /// Decides what they may see.
    pub authorizer: Arc<Authorizer>,
    /// How long all reviews of a request may take together.
    pub review_timeout: Duration,
    /// What a request may ask for.
    pub limits: RequestLimits,
    /// What its body may be.
    pub form: FormLayer,
    /// Slots for the requests of all callers.
    pub slots: Slots,
}

/// A stack for the requests that come to `entrance`, over the connections of `upstreams`.
pub fn stack(shared: &Shared, upstreams: Clients, recorder: Recorder, entrance: Entrance) -> Stack {
    ServiceBuilder::new()
        // Outermost, as it must see every outcome, a caller who leaves included.
        .layer(RecordLayer::new(recorder, entrance))
        // Within the record, which is told why; around all that refuses.
        .layer(RefusalLayer)
        // Before anything else is looked at: whoever is not known learns nothing.
        .layer(CallerLayer::new(
            shared.authenticator.clone(),
            shared.review_timeout,
        ))
        // Before paths are looked for, as it is none of Prometheus' own.
        .layer(GreetingLayer)
        .layer(RouteLayer::new(upstreams))
        // Before slots: while Prometheus hangs there may be none.
        .layer(DetectionLayer)
        // After the path, as what is not served takes no slot; before the body, as what waits is not read.
        .layer(SlotsLayer::new(shared.slots.clone()))
        .layer(shared.form)
        .service(Pipeline::new(
            shared.authorizer.clone(),
            shared.review_timeout,
            shared.limits.clone(),
        ))
}
