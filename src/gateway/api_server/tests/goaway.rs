//! An API server that ends connections while requests are on them.

use std::time::Duration;

use super::{configured, front};
use crate::cluster::goaway;
use crate::cluster::scripted::{Fate, Scripted};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use standins::tls::CertificateAuthority;

/// Sends one request through the gateway, with a body of that many bytes. Returns the status and how often the API
/// server has read it.
async fn send(method: Method, length: usize, fates: &[Fate]) -> (StatusCode, usize) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = CertificateAuthority::new("test");
    let server = Scripted::start(&authority, b"", fates).await;
    let (url, client) = front(configured(&authority, server.address)).await;
    let body = vec![b'x'; length];
    let request = Request::builder().method(method).uri(url);
    let request = request.body(Full::from(body)).expect("a request");
    let answer = tokio::time::timeout(Duration::from_secs(20), client.request(request)).await;
    let status = answer.expect("in time").expect("an answer").status();
    let bodies = server.bodies();
    assert!(bodies.iter().all(|body| *body == length), "{bodies:?}");
    (status, bodies.len())
}

#[tokio::test]
async fn a_request_that_the_api_server_says_it_has_not_processed_is_sent_again_whatever_it_is() {
    for fate in [Fate::Unprocessed, Fate::Refused] {
        for (method, length) in [
            (Method::GET, 0),
            (Method::DELETE, 0),
            (Method::POST, 1),
            (Method::PATCH, 60_000),
        ] {
            for times in [1, 3] {
                let sent = send(method.clone(), length, &vec![fate; times]).await;
                assert_eq!(sent, (StatusCode::OK, 1 + times), "{fate:?} {method}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_sent_again_unless_it_only_reads() {
    for fate in [Fate::Processed, Fate::Blamed] {
        for (method, length) in [(Method::DELETE, 0), (Method::POST, 1)] {
            let sent = send(method.clone(), length, &[fate]).await;
            assert_eq!(sent, (StatusCode::BAD_GATEWAY, 1), "{fate:?} {method}");
        }
        let sent = send(Method::GET, 0, &[fate]).await;
        assert_eq!(sent, (StatusCode::OK, 2), "{fate:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_to_keep_is_not_sent_again() {
    let sent = send(Method::POST, 200_000, &[Fate::Unprocessed]).await;
    assert_eq!(sent, (StatusCode::BAD_GATEWAY, 1));
}

#[tokio::test]
async fn an_api_server_that_ends_every_connection_is_given_up() {
    let sent = send(Method::POST, 1, &[Fate::Unprocessed; 100]).await;
    assert_eq!(sent, (StatusCode::BAD_GATEWAY, goaway::ATTEMPTS));
}
