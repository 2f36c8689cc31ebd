//! Reviews over connections that end, or go silent, while requests are on them.

use std::time::Instant;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use standins::tls::CertificateAuthority;

use super::*;
use crate::cluster::limiter::{Flow, Priority};
use crate::cluster::scripted::{Fate, Scripted};

const ALLOWED: &[u8] = br#"{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{},"spec":{},"status":{"allowed":true}}"#;

const CLASS: ReviewClass = ReviewClass {
    flow: Flow::Caller(1),
    priority: Priority::New,
};

/// Pings that a test can wait for.
const PINGS: Pings = Pings {
    interval: Duration::from_millis(100),
    timeout: Duration::from_millis(200),
};

async fn server(fates: &[Fate], timeout: Duration) -> (Scripted, KubeCluster) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = CertificateAuthority::new("test");
    let server = Scripted::start(&authority, ALLOWED, fates).await;
    let url = format!("https://{}", server.address);
    let mut config = kube::Config::new(url.parse().expect("a URL"));
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes());
    config.root_cert = Some(vec![root.expect("PEM").to_vec()]);
    config.tls_server_name = Some("kubernetes.test".to_owned());
    config.auth_info.token = Some("the-proxys-own".to_owned().into());
    let cluster = KubeCluster::with_pings(&config, Handle::current(), timeout, 64, PINGS);
    (server, cluster.expect("a client"))
}

async fn ask(cluster: &KubeCluster) -> Result<bool, Unavailable> {
    let answer = cluster.review_access(SubjectAccessReviewSpec::default(), CLASS);
    answer.await.map(|status| status.allowed)
}

#[tokio::test]
async fn k22_reviews_share_one_connection_over_http2() {
    let (server, cluster) = server(&[], Duration::from_secs(20)).await;
    assert_eq!(ask(&cluster).await, Ok(true));
    let reviews = (0..100).map(|_| ask(&cluster));
    let answers = futures_util::future::join_all(reviews).await;
    assert!(answers.iter().all(|answer| *answer == Ok(true)));
    assert_eq!((server.connections(), server.bodies().len()), (1, 101));
}

#[tokio::test]
async fn k22_a_review_that_the_api_server_says_it_has_not_processed_is_sent_again() {
    for fate in [Fate::Unprocessed, Fate::Refused] {
        for times in [1, crate::cluster::goaway::ATTEMPTS - 1] {
            let (server, cluster) = server(&vec![fate; times], Duration::from_secs(20)).await;
            assert_eq!(ask(&cluster).await, Ok(true), "{fate:?}");
            assert_eq!(server.bodies().len(), 1 + times, "{fate:?}");
        }
    }
}

#[tokio::test]
async fn k22_a_review_that_may_have_been_processed_fails_and_the_next_one_does_not() {
    for fate in [Fate::Processed, Fate::Blamed] {
        let (server, cluster) = server(&[fate], Duration::from_secs(20)).await;
        assert_eq!(
            ask(&cluster).await,
            Err(Unavailable::Unreachable),
            "{fate:?}"
        );
        assert_eq!(ask(&cluster).await, Ok(true), "{fate:?}");
        assert_eq!(server.bodies().len(), 2, "{fate:?}");
    }
}

#[tokio::test]
async fn k22_d12_a_connection_to_a_lost_node_is_found_by_pings_and_the_next_review_has_a_new_one() {
    let patience = Duration::from_secs(20);
    let (server, cluster) = server(&[Fate::Swallowed], patience).await;
    let begun = Instant::now();
    assert_eq!(ask(&cluster).await, Err(Unavailable::Unreachable));
    assert!(begun.elapsed() < patience, "only its own deadline ended it");
    assert_eq!(ask(&cluster).await, Ok(true));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn k22_d12_a_node_that_is_lost_while_nothing_is_asked_costs_no_review() {
    // The first review is never answered, and is given up long before its connection is.
    let (server, cluster) = server(&[Fate::Swallowed], Duration::from_millis(20)).await;
    assert!(ask(&cluster).await.is_err());
    // Reviews on the silent connection time out until it is found; then there is a new one.
    let begun = Instant::now();
    while ask(&cluster).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(server.connections(), 2);
}
