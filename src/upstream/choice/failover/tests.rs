use std::cell::RefCell;
use std::sync::Arc;

use http::uri::Authority;

use super::*;
use crate::telemetry::metrics::{Exposition, Register};
use crate::upstream::Affinity;
use crate::upstream::choice::endpoint::Offer;
use crate::upstream::metrics::UpstreamsMetrics;

/// Two endpoints that are well, or as many as there are names.
struct Stage {
    endpoints: Endpoints,
    metrics: UpstreamsMetrics,
    tried: RefCell<Vec<String>>,
}

impl Stage {
    fn new(names: &[&str]) -> Self {
        let metrics = UpstreamsMetrics::default();
        let endpoint = |name: &&str| {
            let address = Authority::from_static("10.0.0.1:9090");
            let endpoint = Endpoint::new((*name).to_owned(), vec![address], Offer::Ready);
            endpoint.observe(ProbeResult::Ready);
            endpoint
        };
        let endpoints = names.iter().map(endpoint).collect();
        Self {
            endpoints: Endpoints::new(endpoints, metrics.of("default")),
            metrics,
            tried: RefCell::default(),
        }
    }

    /// Sends a request whose first try comes to `first`, and any other to an answer.
    async fn send(
        &self,
        failover: &Failover,
        first: impl Fn() -> Outcome<&'static str>,
    ) -> Result<&'static str, UpstreamError> {
        let attempt = |endpoint: &Endpoint| {
            let mut tried = self.tried.borrow_mut();
            tried.push(endpoint.name().to_owned());
            let outcome = if tried.len() == 1 {
                first()
            } else {
                Outcome::Answered("second")
            };
            async { outcome }
        };
        let deadline = Instant::now() + Duration::from_secs(100);
        failover
            .send(&self.endpoints, wanted(), deadline, attempt)
            .await
    }

    fn tries(&self) -> usize {
        self.tried.borrow().len()
    }

    fn endpoint(&self, name: &str) -> Arc<Endpoint> {
        let now = self.endpoints.now();
        let mut now = now.iter();
        now.find(|one| one.name() == name).expect(name).clone()
    }

    fn retries(&self, result: &str) -> bool {
        let series = format!("upstream_retries_total{{result=\"{result}\"}} 1");
        Exposition::of([&self.metrics as &dyn Register])
            .encode()
            .expect("text")
            .contains(&series)
    }
}

fn wanted() -> Wanted {
    Wanted {
        affinity: Affinity::of("alice"),
        start: None,
    }
}

fn elsewhere() -> Outcome<&'static str> {
    Outcome::Elsewhere(Err(UpstreamError::Connect))
}

#[tokio::test(start_paused = true)]
async fn a_request_that_fails_is_tried_once_more_on_another_endpoint() {
    let stage = Stage::new(&["a", "b"]);
    let answer = stage.send(&Failover::new(), elsewhere).await;
    assert_eq!(answer.expect("an answer"), "second");
    let tried = stage.tried.borrow().clone();
    assert_eq!(tried.len(), 2);
    assert_ne!(tried[0], tried[1]);
    assert!(stage.endpoint(&tried[0]).is_marked());
    assert!(!stage.endpoint(&tried[1]).is_marked());
    assert!(stage.retries("answered"));
}

#[tokio::test(start_paused = true)]
async fn whoever_failed_is_not_asked_first_again() {
    let stage = Stage::new(&["a", "b"]);
    let failover = Failover::new();
    stage.send(&failover, elsewhere).await.expect("an answer");
    let failed = stage.tried.borrow_mut().remove(0);
    stage.tried.borrow_mut().clear();
    let first = || Outcome::Answered("first");
    assert_eq!(stage.send(&failover, first).await.expect("one"), "first");
    assert_ne!(stage.tried.borrow()[0], failed);
}

#[tokio::test(start_paused = true)]
async fn there_is_no_third_try() {
    let stage = Stage::new(&["a", "b", "c"]);
    let tries = RefCell::new(0);
    let deadline = Instant::now() + Duration::from_secs(1);
    let answer = Failover::new()
        .send(&stage.endpoints, wanted(), deadline, |_| {
            *tries.borrow_mut() += 1;
            async { elsewhere() }
        })
        .await;
    assert!(matches!(answer, Err(UpstreamError::Connect)));
    assert_eq!(*tries.borrow(), 2);
    assert!(stage.retries("failed"));
}

#[tokio::test(start_paused = true)]
async fn d10_with_one_endpoint_nothing_is_sent_twice() {
    let stage = Stage::new(&["a"]);
    let answer = stage.send(&Failover::new(), elsewhere).await;
    assert!(matches!(answer, Err(UpstreamError::Connect)));
    assert_eq!(stage.tries(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_another_try_the_first_answer_is_what_the_caller_gets() {
    let stage = Stage::new(&["a"]);
    let starting = || Outcome::Elsewhere(Ok("503: starting"));
    let answer = stage.send(&Failover::new(), starting).await;
    assert_eq!(answer.expect("its words"), "503: starting");
}

#[tokio::test(start_paused = true)]
async fn what_another_endpoint_would_do_as_well_is_not_tried_there() {
    let stage = Stage::new(&["a", "b"]);
    let first = || Outcome::Failed(UpstreamError::Timeout);
    let answer = stage.send(&Failover::new(), first).await;
    assert!(matches!(answer, Err(UpstreamError::Timeout)));
    assert_eq!(stage.tries(), 1);
}

#[tokio::test(start_paused = true)]
async fn d06_when_all_fail_few_requests_are_sent_twice() {
    let stage = Stage::new(&["a", "b"]);
    let failover = Failover::new();
    let tries = RefCell::new(0);
    for _ in 0..1000 {
        let deadline = Instant::now() + Duration::from_secs(1);
        let answer = failover
            .send(&stage.endpoints, wanted(), deadline, |_| {
                *tries.borrow_mut() += 1;
                async { elsewhere() }
            })
            .await;
        assert!(answer.is_err());
    }
    let second = *tries.borrow() - 1000;
    assert!((200..=216).contains(&second), "{second} second tries");
}

#[tokio::test(start_paused = true)]
async fn without_endpoints_there_is_an_error_at_once() {
    let stage = Stage::new(&[]);
    let answer = stage.send(&Failover::new(), elsewhere).await;
    assert!(matches!(answer, Err(UpstreamError::NoEndpoint)));
}

/// Sends a request whose first endpoint never answers, and is lost after 5 seconds if `lost`.
async fn silent(
    stage: &Stage,
    lost: bool,
    patience: Duration,
) -> (Result<String, UpstreamError>, Duration) {
    let begun = Instant::now();
    let failover = Failover::new();
    let sent = failover.send(&stage.endpoints, wanted(), begun + patience, |endpoint| {
        let name = endpoint.name().to_owned();
        let first = stage.tried.borrow().is_empty();
        stage.tried.borrow_mut().push(name.clone());
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            Outcome::Answered(name)
        }
    });
    let probe = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if lost {
            let first = stage.tried.borrow()[0].clone();
            stage.endpoint(&first).observe(ProbeResult::Lost);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = sent => (answer, begun.elapsed()),
        () = probe => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_is_probed_after_a_second_and_left_when_it_is_lost() {
    let stage = Stage::new(&["a", "b"]);
    let (answer, took) = silent(&stage, true, Duration::from_secs(100)).await;
    let tried = stage.tried.borrow().clone();
    assert_eq!(answer.expect("an answer"), tried[1]);
    assert_eq!(took.as_secs(), 5);
    let asked = stage.endpoint(&tried[0]);
    let asked = tokio::time::timeout(Duration::from_millis(1), asked.suspected()).await;
    assert!(asked.is_ok(), "a probe was asked for");
}

#[tokio::test(start_paused = true)]
async fn a_long_query_is_waited_for_while_its_endpoint_lives() {
    let stage = Stage::new(&["a", "b"]);
    let (answer, took) = silent(&stage, false, Duration::from_secs(100)).await;
    assert!(matches!(answer, Err(UpstreamError::Timeout)));
    assert_eq!(took.as_secs(), 100);
    assert_eq!(stage.tries(), 1);
}

#[tokio::test(start_paused = true)]
async fn h20_a_lost_endpoint_is_waited_for_when_there_is_no_other() {
    for stage in [Stage::new(&["a"]), Stage::new(&["a", "b"])] {
        for endpoint in stage.endpoints.now().iter() {
            endpoint.observe(ProbeResult::Lost);
        }
        let (answer, took) = silent(&stage, true, Duration::from_secs(30)).await;
        assert!(matches!(answer, Err(UpstreamError::Timeout)));
        assert_eq!((took.as_secs(), stage.tries()), (30, 1));
    }
}
