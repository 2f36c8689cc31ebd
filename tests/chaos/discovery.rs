//! Where Prometheus is found, and which of several is asked.

use standins::prometheus::{Data, Options, Prometheus};

use crate::load::Load;
use crate::replica::Replica;
use crate::stage::Stage;
use crate::{phase, run};
use support::cache;
use support::client::{Call, encoded};

#[test]
fn pods_are_found_by_label_and_services_by_the_number_of_a_port() {
    run(async {
        let replicas = [Replica::start().await, Replica::start().await];
        let addresses = [replicas[0].address(), replicas[1].address()];
        for (case, address) in [
            (
                "pods",
                "pods: { namespace: monitoring, selector: app.kubernetes.io/name=prometheus, port: http }",
            ),
            (
                "numbered-port",
                "service: { namespace: monitoring, name: prometheus-operated, port: 9090 }",
            ),
        ] {
            let before = [replicas[0].queries().await, replicas[1].queries().await];
            let stage = Stage::with_upstream(&addresses, address).await;
            let load = Load::start(stage.proxy.service());
            phase(300).await;
            load.stop().await.expect_none_failed(case);
            for (replica, before) in replicas.iter().zip(before) {
                assert!(replica.queries().await > before, "both are used");
            }
        }
    });
}

#[test]
fn each_caller_stays_with_one_prometheus() {
    run(async {
        let (stage, replicas) = Stage::with_replicas::<2>().await;
        for caller in 0..4 {
            let before = [replicas[0].queries().await, replicas[1].queries().await];
            for _ in 0..10 {
                let path = format!("/api/v1/query?{}", encoded(&[("query", "vector(1)")]));
                let call = Call::get(stage.proxy.url(&path));
                let answer = call.bearer(&crate::stage::token(caller)).send().await;
                assert_eq!(answer.status, 200);
            }
            let after = [replicas[0].queries().await, replicas[1].queries().await];
            let mut asked = [after[0] - before[0], after[1] - before[1]];
            asked.sort_by(f64::total_cmp);
            assert_eq!(asked, [0.0, 10.0], "caller {caller}");
        }
    });
}

#[test]
fn a_range_goes_to_the_prometheus_that_has_it() {
    run(async {
        let options = Options::new(Data::only(["team-a"]).without_rules(), cache());
        let with_history = Prometheus::start(options).await.expect("Prometheus");
        let empty = Replica::start().await;
        let stage = Stage::new(&[with_history.address(), empty.address()]).await;
        let load = Load::start(stage.proxy.service());
        phase(500).await;
        load.stop().await.expect_none_failed("history");
        assert_eq!(empty.queries().await, 0.0);
    });
}
