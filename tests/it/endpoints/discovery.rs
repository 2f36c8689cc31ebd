//! What lists of names, labels and series tell, on two Prometheus: one with everything behind the proxy, and one that holds
//! what the caller may see. An answer that differs would depend on series of others.

use http::StatusCode;
use serde_json::Value;

use standins::prometheus::{Data, Options, Prometheus};
use support::client::{Answer, Call, encoded};
use support::cluster::{Cluster, TEAM_A};
use support::prometheus::of_team_a;
use support::proxy::Proxy;
use support::{cache, run};

/// Selectors without a fixed name, with patterns of it and without.
const OPEN: [&str; 7] = [
    r#"{__name__=~".+"}"#,
    r#"{__name__=~"keda_.+"}"#,
    r#"{__name__=~"keda_.+|up|capi_.+|karpenter_.+"}"#,
    r#"{__name__!~"keda_.*", pod!=""}"#,
    r#"{exported_namespace=~".+"}"#,
    r#"{exported_namespace="victim"}"#,
    r#"{cluster_namespace!="", __name__!="up"}"#,
];

async fn start(data: Data) -> Prometheus {
    // What rules write depends on when they ran.
    let options = Options::new(data.without_rules(), cache());
    Prometheus::start(options).await.expect("Prometheus")
}

async fn ask(proxy: &Proxy, path: &str, pairs: &[(&str, &str)]) -> Answer {
    let url = proxy.url(&format!("{path}?{}", encoded(pairs)));
    Call::get(url).bearer(TEAM_A).send().await
}

/// What is compared of an answer: its data, and of samples the series alone, as the next sample may just have come.
fn told(path: &str, text: &str) -> Vec<String> {
    let mut told: Vec<_> = if path == "/federate" {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| line.rsplit_once('}'));
        series.map(|(series, _)| series.to_owned()).collect()
    } else {
        let answer: Value = serde_json::from_str(text).expect("JSON");
        let data = answer["data"].as_array().expect("a list");
        data.iter().map(Value::to_string).collect()
    };
    told.sort();
    told
}

#[test]
fn lists_tell_of_a_rules_metrics_what_a_prometheus_of_the_callers_own_tells() {
    run(async {
        let (full, own) = tokio::join!(start(Data::everything()), start(of_team_a()));
        let (_api, proxy) = Cluster::before(full.address(), &[]).await;
        let each = OPEN.iter().map(|text| vec![("match[]", *text)]);
        let two = vec![("match[]", OPEN[1]), ("match[]", "up")];
        let questions: Vec<_> = each.chain([two]).collect();
        let mut with_data = 0;
        for path in [
            "/api/v1/label/__name__/values",
            "/api/v1/label/exported_namespace/values",
            "/api/v1/labels",
            "/api/v1/series",
            "/federate",
        ] {
            for pairs in &questions {
                let answer = ask(&proxy, path, pairs).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
                let original = format!("{path}?{}", encoded(pairs));
                let (_, expected) = own.get(&original).await.expect("an answer");
                let told_here = told(path, answer.text());
                assert_eq!(told_here, told(path, &expected), "{path} {pairs:?}");
                with_data += usize::from(!told_here.is_empty());
            }
        }
        assert!(with_data > 20, "{with_data} answers with data");
        for path in ["/api/v1/labels", "/api/v1/label/__name__/values"] {
            let answer = ask(&proxy, path, &[]).await;
            let (_, expected) = own.get(path).await.expect("an answer");
            assert_eq!(told(path, answer.text()), told(path, &expected), "{path}");
            let shown = ["exported_namespace", "keda_scaler_metrics_value"];
            let shown = shown.iter().any(|name| answer.text().contains(name));
            assert!(shown, "{path}: {}", answer.text());
        }
    });
}
