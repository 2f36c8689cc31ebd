//! Prometheus or the API server goes away and comes back, and no caller notices.

use std::time::Duration;

use standins::prometheus::{Scripted, Step};

use crate::load::{Failure, Load};
use crate::relay::Relay;
use crate::replica::Replica;
use crate::stage::{Condition, Stage, token};
use crate::{is_long, phase, run};
use support::client::{Call, query};

#[test]
fn one_of_two_is_killed_and_comes_back() {
    run(async {
        let (stage, [mut first, _second]) = Stage::with_replicas().await;
        let load = Load::start(stage.proxy.service());
        phase(700).await;
        first.signal("KILL");
        first.ended().await;
        phase(700).await;
        first.start_again().await;
        stage.healthy(2).await;
        phase(1000).await;
        load.stop().await.expect_none_failed("kill-one");
        assert!(first.queries().await > 0.0, "it has callers again");
    });
}

#[test]
fn one_of_two_is_told_to_end_and_comes_back() {
    run(async {
        let (stage, [mut first, _second]) = Stage::with_replicas().await;
        let load = Load::start(stage.proxy.service());
        phase(700).await;
        first.signal("TERM");
        first.ended().await;
        phase(500).await;
        first.start_again().await;
        stage.healthy(2).await;
        phase(1000).await;
        load.stop().await.expect_none_failed("terminate-one");
        assert!(first.queries().await > 0.0, "it has callers again");
    });
}

#[test]
fn one_of_two_is_paused() {
    run(async {
        let (stage, [first, _second]) = Stage::with_replicas().await;
        let load = Load::start(stage.proxy.service());
        phase(500).await;
        first.signal("STOP");
        // Until the probe has given it up, its callers wait.
        stage.healthy(1).await;
        phase(700).await;
        first.signal("CONT");
        stage.healthy(2).await;
        phase(500).await;
        let tally = load.stop().await;
        tally.expect_none_failed("pause-one");
        assert!(
            tally.slowest < Duration::from_secs(8),
            "{:?}",
            tally.slowest
        );
    });
}

#[test]
fn the_only_one_hangs_and_callers_are_told() {
    run(async {
        let first = Replica::start().await;
        let upstream = "service: { namespace: monitoring, name: prometheus-operated, port: web }\n    \
                        responseTimeout: 2s";
        let stage = Stage::with_upstream(&[first.address()], upstream).await;
        first.signal("STOP");
        let began = std::time::Instant::now();
        let url = stage.proxy.url(&query("up"));
        let answer = Call::get(url).bearer(&token(0)).send().await;
        let says = answer.message();
        assert_eq!(answer.status, 504, "{says}");
        assert!(
            says.starts_with("Prometheus did not answer in time"),
            "{says}"
        );
        let within = Duration::from_secs(15);
        assert!(began.elapsed() < within, "{:?}", began.elapsed());
        first.signal("CONT");
        stage.healthy(1).await;
        let load = Load::start(stage.proxy.service());
        phase(300).await;
        load.stop().await.expect_none_failed("hangs-no-more");
    });
}

#[test]
fn both_are_rolled_one_after_the_other() {
    run(async {
        let (stage, mut replicas) = Stage::with_replicas::<2>().await;
        let load = Load::start(stage.proxy.service());
        phase(500).await;
        for (pod, replica) in replicas.iter_mut().enumerate() {
            stage.publish(pod, replica.address(), Condition::Terminating);
            replica.signal("TERM");
            replica.ended().await;
            replica.launch();
            stage.publish(pod, replica.address(), Condition::NotReady);
            replica.ready().await;
            stage.publish(pod, replica.address(), Condition::Ready);
            phase(300).await;
        }
        phase(500).await;
        load.stop().await.expect_none_failed("roll-both");
    });
}

#[test]
fn all_endpoints_are_replaced() {
    run(async {
        let (stage, mut old) = Stage::with_replicas::<2>().await;
        let load = Load::start(stage.proxy.service());
        phase(500).await;
        let new = [Replica::start().await, Replica::start().await];
        for (pod, replica) in new.iter().enumerate() {
            stage.publish(2 + pod, replica.address(), Condition::Ready);
        }
        stage.healthy(4).await;
        for (pod, replica) in old.iter_mut().enumerate() {
            stage.publish(pod, replica.address(), Condition::Terminating);
            replica.signal("TERM");
            replica.ended().await;
            stage.withdraw(pod);
        }
        stage.healthy(2).await;
        phase(500).await;
        load.stop().await.expect_none_failed("replace-all");
        for replica in &new {
            assert!(replica.queries().await > 0.0, "all endpoints are used");
        }
    });
}

#[test]
fn the_api_server_stops_and_comes_back() {
    run(async {
        let (stage, [mut first, second]) = Stage::with_replicas().await;
        let load = Load::start(stage.proxy.service());
        phase(1000).await;
        stage.api.stop().await;
        phase(1000).await;
        // What was known stays known, and health goes on without Kubernetes.
        first.signal("KILL");
        first.ended().await;
        stage.healthy(1).await;
        tokio::time::sleep(Duration::from_secs(if is_long() { 60 } else { 1 })).await;
        stage.api.start_again().await.expect("it listens again");
        let third = Replica::start().await;
        stage.publish(2, third.address(), Condition::Ready);
        stage.withdraw(0);
        stage.healthy(2).await;
        phase(500).await;
        load.stop().await.expect_none_failed("api-server-stopped");
        for replica in [&second, &third] {
            assert!(replica.queries().await > 0.0, "both are used");
        }
    });
}

#[test]
fn d06_all_are_away_and_come_back() {
    run(async {
        let (stage, mut replicas) = Stage::with_replicas::<2>().await;
        let load = Load::start(stage.proxy.service());
        phase(300).await;
        for replica in &mut replicas {
            replica.signal("KILL");
            replica.ended().await;
        }
        phase(1000).await;
        let away = load.stop().await;
        away.print("all-away");
        assert!(
            away.slowest < Duration::from_secs(5),
            "errors come at once: {:?}",
            away.slowest
        );
        for failure in &away.failures {
            assert!(matches!(failure, Failure::Status(502, _)), "{failure:?}");
        }
        for replica in &mut replicas {
            replica.start_again().await;
        }
        stage.healthy(2).await;
        let load = Load::start(stage.proxy.service());
        phase(500).await;
        load.stop().await.expect_none_failed("all-back");
    });
}

/// Answers everything with `answer`, then closes.
async fn double(answer: &str) -> Scripted {
    let script = vec![Step::ReadRequest, Step::write(answer)];
    Scripted::start(script).await.expect("a port")
}

#[test]
fn h19_an_answer_that_is_cut_in_the_middle_ends_as_an_error() {
    run(async {
        let (first, second) = (Replica::start().await, Replica::start().await);
        let relay = Relay::start(second.address()).await;
        let stage = Stage::new(&[first.address(), relay.address()]).await;
        relay.cut(true);
        let load = Load::start(stage.proxy.service());
        phase(1500).await;
        let tally = load.stop().await;
        tally.print("cut-in-the-middle");
        assert!(
            !tally.failures.is_empty(),
            "some callers are tied to the one that cuts"
        );
        assert!(tally.failures.len() < tally.requests, "the others are not");
        for failure in &tally.failures {
            assert!(matches!(failure, Failure::Cut(_)), "{failure:?}");
        }
        relay.cut(false);
        let load = Load::start(stage.proxy.service());
        phase(500).await;
        load.stop().await.expect_none_failed("cut-no-more");
    });
}

#[test]
fn garbage_from_one_of_two_reaches_nobody() {
    run(async {
        let good = Replica::start().await;
        for (case, garbage) in [
            ("garbage", "\u{1}\u{2}garbage without end\r\n\r\n"),
            (
                "page",
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>",
            ),
            (
                "starting",
                "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 19\r\nConnection: close\r\n\r\nService Unavailable",
            ),
            ("closed", ""),
        ] {
            let bad = double(garbage).await;
            let stage = Stage::new(&[good.address()]).await;
            let load = Load::start(stage.proxy.service());
            phase(200).await;
            stage.publish(1, bad.address(), Condition::Ready);
            phase(1000).await;
            load.stop().await.expect_none_failed(case);
        }
    });
}
