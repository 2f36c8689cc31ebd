//! A page to look at: the charts of a pod three times side by side. It asks nobody but this program, and nothing of it is
//! shipped.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{Response, StatusCode, Uri};
use standins::body::{self, Body};
use standins::site::Site;

use crate::Failure;
use crate::views::{PODS, Views};

const HTML: &str = include_str!("page.html");

/// Serves the page at `/`, and what it draws at `/views?pod=NUMBER`.
pub(crate) async fn start(views: Views) -> Result<Site, Failure> {
    let views = Arc::new(views);
    let site = Site::start(move |uri| {
        let views = views.clone();
        async move { answer(&views, &uri).await }
    });
    Ok(site.await?)
}

async fn answer(views: &Views, uri: &Uri) -> Response<Body> {
    let pod = uri.query().and_then(|query| query.strip_prefix("pod="));
    let pod = pod.and_then(|pod| pod.parse().ok());
    match (uri.path(), pod) {
        ("/", _) => response(StatusCode::OK, "text/html; charset=utf-8", HTML.to_owned()),
        ("/views", Some(pod)) if pod < PODS.len() => match views.of(pod).await {
            Ok(value) => response(StatusCode::OK, "application/json", value.to_string()),
            Err(error) => response(
                StatusCode::BAD_GATEWAY,
                "text/plain; charset=utf-8",
                error.to_string(),
            ),
        },
        _ => response(StatusCode::NOT_FOUND, "text/plain", "not here\n".to_owned()),
    }
}

fn response(status: StatusCode, kind: &'static str, content: String) -> Response<Body> {
    let mut response = Response::new(body::full(content));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
