//! Headlamp's autodetection. The plugin queries `up` once at each candidate and looks only at the status. If that is
//! not 200, it goes on to lists that most callers may not read, and shows their failure. So its query is answered here
//! with an empty result, whatever the caller may see and whether or not Prometheus answers: then it is the charts that
//! say what is wrong. The answer is the same for every known caller, and tells nothing.

use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, request};
use http_body::Body;
use tower::{Layer, Service};

use super::stages::{Answered, HandedOn, Refused, Routed, at_once};
use super::{Decision, Door};
use crate::prometheus::{Endpoint, envelope, form};
use crate::upstream::body::ResponseBody;

/// Longest query of a URL that can be the question.
const LONGEST: usize = 80;

/// The range that is asked for, in seconds.
const RANGE: u64 = 86_400;

const NOTHING: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// Makes [`DetectionService`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct DetectionLayer;

impl<S> Layer<S> for DetectionLayer {
    type Service = DetectionService<S>;

    fn layer(&self, inner: S) -> DetectionService<S> {
        DetectionService { inner }
    }
}

/// Answers the autodetection's query, and hands on everything else.
#[derive(Clone, Debug)]
pub struct DetectionService<S> {
    inner: S,
}

impl<S, B> Service<Routed<B>> for DetectionService<S>
where
    S: Service<Routed<B>, Response = Answered, Error = Refused>,
    B: Body,
{
    type Response = Answered;
    type Error = Refused;
    type Future = HandedOn<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Routed<B>) -> Self::Future {
        // Whoever asks directly is not a browser with Headlamp, and gets what Prometheus answers.
        let detected = request.record.door() != Door::Direct
            && request.route.target.endpoint() == Endpoint::QueryRange
            && request.body.is_end_stream()
            && is_question(&request.head);
        if !detected {
            return Either::Left(self.inner.call(request));
        }
        let mut record = request.record;
        record.decided(Decision::Detection);
        let mut response = Response::new(ResponseBody::whole(NOTHING));
        let json = HeaderValue::from_static(envelope::CONTENT_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, json);
        at_once(Ok(Answered { response, record }))
    }
}

/// Whether it is exactly `query=up` over the range and step of the plugin, and nothing else.
fn is_question(head: &request::Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    head.method == Method::GET && query.len() <= LONGEST && range(query) == Some(RANGE)
}

/// The range of `query=up&step=300`, in whole seconds. `None` for anything else.
fn range(query: &str) -> Option<u64> {
    let (mut start, mut end, mut step, mut up) = (None, None, None, None);
    for pair in form::pairs(query.as_bytes()) {
        let (name, value) = pair.ok()?;
        let (place, value) = match (&*name, &*value) {
            ("start", value) => (&mut start, value.parse::<u64>().ok()?),
            ("end", value) => (&mut end, value.parse().ok()?),
            ("step", "300") => (&mut step, 300),
            ("query", "up") => (&mut up, 0),
            _ => return None,
        };
        // What comes twice is refused further on.
        if place.replace(value).is_some() {
            return None;
        }
    }
    step.and(up)?;
    end?.checked_sub(start?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(method: Method, query: &str) -> bool {
        let uri = format!("/api/v1/query_range?{query}");
        let request = http::Request::builder().method(method).uri(uri).body(());
        is_question(&request.expect("a request").into_parts().0)
    }

    #[test]
    fn the_question_is_known_by_every_part_of_it() {
        let query = "start=1700000000&end=1700086400&step=300&query=up";
        assert!(asks(Method::GET, query));
        assert!(asks(
            Method::GET,
            "query=up&step=300&end=1700086400&start=1700000000"
        ));
        assert!(!asks(Method::POST, query));
        for other in [
            "",
            "query=up",
            "start=1700000000&end=1700086400&step=300&query=up{}",
            "start=1700000000&end=1700086400&step=300&query=upx",
            "start=1700000000&end=1700086400&step=345&query=up",
            "start=1700000000&end=1700086401&step=300&query=up",
            "start=1700086400&end=1700000000&step=300&query=up",
            "start=1700000000.5&end=1700086400.5&step=300&query=up",
            "start=1700000000&end=1700086400&step=300&query=up&limit=1",
            "start=1700000000&end=1700086400&query=up&query=up",
            "start=1700000000&end=1700086400&step=300&step=300",
            "start=1700000000&start=1700000000&end=1700086400&step=300&query=up",
            "start=1700000000&end=1700086400&step=300&query=%",
        ] {
            assert!(!asks(Method::GET, other), "{other}");
        }
    }
}
