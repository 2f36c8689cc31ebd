//! `GET /`: says what this is and who is asking, to whoever has an accepted token. Clients try it to see whether a
//! server is there, and people open it in a browser.

use std::task::{Context, Poll};

use futures_util::future::Either;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Response, Version, request};
use serde::Serialize;
use tower::{Layer, Service};

use super::Decision;
use super::stages::{Answered, HandedOn, Identified, Refused, at_once};
use crate::authn::Caller;
use crate::prometheus::{PathError, PathRead, envelope};
use crate::upstream::body::ResponseBody;
use crate::upstream::media::MediaType;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const DESCRIPTION: &str =
    "Prometheus' HTTP API, with the series that you may read in Kubernetes and no others";
const DOCUMENTATION: &str = "docs/endpoints.md";

/// Makes [`GreetingService`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct GreetingLayer;

impl<S> Layer<S> for GreetingLayer {
    type Service = GreetingService<S>;

    fn layer(&self, inner: S) -> GreetingService<S> {
        GreetingService { inner }
    }
}

/// Answers `GET /`, and hands on everything else.
#[derive(Clone, Debug)]
pub struct GreetingService<S> {
    inner: S,
}

impl<S, B> Service<Identified<B>> for GreetingService<S>
where
    S: Service<Identified<B>, Response = Answered, Error = Refused>,
{
    type Response = Answered;
    type Error = Refused;
    type Future = HandedOn<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Identified<B>) -> Self::Future {
        if !is_root(&request.head, request.path) {
            return Either::Left(self.inner.call(request));
        }
        let mut record = request.record;
        record.decided(Decision::Greeted);
        at_once(Ok(Answered {
            response: greeting(&request.caller, &request.head.headers),
            record,
        }))
    }
}

fn is_root(head: &request::Parts, path: Result<PathRead, PathError>) -> bool {
    // HTTP/2 has a scheme always. In HTTP/1.1 whoever sends one takes this for a proxy to somewhere else.
    let is_for_us = head.version == Version::HTTP_2 || head.uri.scheme().is_none();
    matches!(head.method, Method::GET | Method::HEAD)
        && is_for_us
        && path.is_ok_and(|path| path.rest(head.uri.path()) == "/")
}

#[derive(Serialize)]
struct Greeting<'a> {
    name: &'a str,
    version: &'a str,
    description: &'a str,
    documentation: &'a str,
    user: &'a str,
    groups: &'a [String],
}

fn greeting(caller: &Caller, headers: &HeaderMap) -> Response<ResponseBody> {
    let (body, content_type) = if wants_html(headers) {
        (html(caller.username()), "text/html; charset=utf-8")
    } else {
        let greeting = Greeting {
            name: env!("CARGO_PKG_NAME"),
            version: VERSION,
            description: DESCRIPTION,
            documentation: DOCUMENTATION,
            user: caller.username(),
            groups: caller.groups(),
        };
        let json = serde_json::to_string(&greeting).expect("text is always JSON");
        (json, envelope::CONTENT_TYPE)
    };
    let mut response = Response::new(ResponseBody::whole(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    // It has no script, style or link, and is to be in no other page.
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, nothing);
    response
}

/// Whether `Accept` names HTML, as a browser's does. What takes everything gets JSON.
fn wants_html(headers: &HeaderMap) -> bool {
    MediaType::accepted(headers).any(|media| media.is("text/html"))
}

fn html(user: &str) -> String {
    let user = escaped(user);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>prom-rbac-proxy</title>\n\
         <h1>prom-rbac-proxy {VERSION}</h1>\n<p>{DESCRIPTION}.</p>\n<p>You are <code>{user}</code>.</p>\n\
         <p>There are no pages here but this one; what is served is in {DOCUMENTATION}.</p>\n</html>\n"
    )
}

/// Text between tags. A user's name is whatever an identity provider says.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;

    #[test]
    fn a_browser_gets_html_and_everything_else_json() {
        for (accept, expected) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("application/json, Text/HTML;q=0.5", true),
            ("*/*", false),
            ("application/json", false),
            ("text/htmlx", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_html(&headers), expected, "{accept}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }

    #[test]
    fn the_name_of_a_user_is_text_and_never_a_tag() {
        let page = html("<script>alert('1')</script>&\"");
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"));
        assert!(!page.contains("<script"));
    }
}
