//! Another configuration while the program runs.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use standins::prometheus::{Recorder, Scripted, Step};
use tokio::sync::watch;

use support::client::{Call, query};
use support::cluster::{Cluster, VIEWER, api_server};
use support::proxy::{Options, Proxy, configuration};
use support::{prometheus, run, scratch, soon};

const TAKEN: &str = "another configuration runs now";
const REFUSED: &str = "the configuration is not taken";

/// A right that nobody has in the place of the one that callers have: who is denied is under the new configuration.
const ATTRIBUTES: &str = "  attributes: { group: example.org, resource: charts }\n";

/// With that right. The configuration of tests ends within `authorization`.
fn denying(text: &str) -> String {
    format!("{text}{ATTRIBUTES}")
}

async fn status(proxy: &Proxy) -> StatusCode {
    let call = Call::get(proxy.url(&query("up"))).bearer(VIEWER);
    call.send().await.status
}

async fn reloads(proxy: &Proxy, result: &str) -> f64 {
    let series = format!("prom_rbac_proxy_config_reloads_total{{result=\"{result}\"}}");
    proxy.metric(&series).await
}

/// Waits until as many reloads have had a result.
async fn reloaded(proxy: &Proxy, result: &str, count: f64) {
    let counted = async {
        while reloads(proxy, result).await < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(counted).await;
}

/// The line of the log that says why a configuration is not taken.
async fn reason(proxy: &Proxy) -> String {
    let line = proxy.said(REFUSED).await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    line["reason"].as_str().expect("a reason").to_owned()
}

async fn is_successful(proxy: &Proxy) -> bool {
    let series = "prom_rbac_proxy_config_last_reload_successful";
    proxy.metric(series).await == 1.0
}

#[test]
fn a_file_that_changes_is_taken_and_the_log_and_metrics_say_so() {
    run(async {
        let cluster = Cluster::start().await;
        let proxy = &cluster.proxy;
        assert_eq!(status(proxy).await, StatusCode::OK);
        let timestamp = "prom_rbac_proxy_config_last_reload_success_timestamp_seconds";
        let began = proxy.metric(timestamp).await;
        assert!(began > 1.7e9 && is_successful(proxy).await, "{began}");
        proxy.reconfigure(denying);
        let line = proxy.said(TAKEN).await;
        assert!(line.contains(r#""changed":"authorization""#), "{line}");
        assert_eq!(status(proxy).await, StatusCode::FORBIDDEN);
        assert_eq!(reloads(proxy, "applied").await, 1.0);
        assert!(proxy.metric(timestamp).await > began);
        assert!(is_successful(proxy).await);
    });
}

#[test]
fn a_link_that_is_swapped_is_taken_as_kubernetes_mounts_a_config_map() {
    run(async {
        let (_api, kubeconfig) = api_server().await;
        let text = configuration(&kubeconfig, &prometheus::everything().await.url());
        // FOLDER/config.yaml -> ..data/config.yaml, ..data -> a folder with a name of its own.
        let folder = scratch("mounted");
        let publish = |name: &str, text: &str| {
            let data = folder.join(name);
            std::fs::create_dir_all(&data).expect("a folder");
            std::fs::write(data.join("config.yaml"), text).expect("written");
            let fresh = folder.join("..data_tmp");
            symlink(name, &fresh).expect("a link");
            std::fs::rename(fresh, folder.join("..data")).expect("swapped");
        };
        publish("..first", &text);
        let config = folder.join("config.yaml");
        symlink(Path::new("..data/config.yaml"), &config).expect("a link");
        let proxy = Proxy::launch(&Options::serve(&config)).expect("the proxy starts");
        assert_eq!(status(&proxy).await, StatusCode::OK);
        publish("..second", &denying(&text));
        proxy.said(TAKEN).await;
        assert_eq!(status(&proxy).await, StatusCode::FORBIDDEN);
    });
}

#[test]
fn sighup_has_it_read_again_what_a_change_elsewhere_makes_usable() {
    run(async {
        let cluster = Cluster::start().await;
        let proxy = &cluster.proxy;
        proxy.signal("HUP");
        reloaded(proxy, "unchanged", 1.0).await;
        let token = scratch("token");
        let with_token = |text: &str| {
            let file = token.to_str().expect("UTF-8");
            let upstream = format!("pathPrefix: /, bearerTokenFile: \"{file}\",");
            text.replace("pathPrefix: /,", &upstream)
        };
        proxy.reconfigure(with_token);
        reloaded(proxy, "unusable", 1.0).await;
        let reason = reason(proxy).await;
        assert!(reason.contains(token.to_str().expect("UTF-8")), "{reason}");
        assert!(!is_successful(proxy).await);
        std::fs::write(&token, "of-the-proxy").expect("written");
        proxy.signal("HUP");
        reloaded(proxy, "applied", 1.0).await;
        assert!(is_successful(proxy).await);
        assert_eq!(status(proxy).await, StatusCode::OK);
        let forwarded = cluster.some_forwarded();
        let sent = &forwarded.last().expect("one").headers["authorization"];
        assert_eq!(sent, "Bearer of-the-proxy");
    });
}

#[test]
fn a_faulty_file_changes_nothing_and_says_all_that_is_wrong() {
    run(async {
        let cluster = Cluster::start().await;
        let proxy = &cluster.proxy;
        let faulty = |text: &str| {
            let text = denying(text).replace("level: trace", "level: loud");
            format!("{text}limits: {{ maxRnge: 5d, concurrent: 0 }}\n")
        };
        let before = proxy.reconfigure(faulty);
        let reason = reason(proxy).await;
        for part in ["limits.maxRnge", "limits.concurrent", "logging.level"] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
        assert_eq!(reloads(proxy, "invalid").await, 1.0);
        assert!(!is_successful(proxy).await);
        assert_eq!(status(proxy).await, StatusCode::OK);
        // What was there before is what runs.
        proxy.reconfigure(|_| before);
        reloaded(proxy, "unchanged", 1.0).await;
        assert!(is_successful(proxy).await);
    });
}

#[test]
fn an_address_that_changes_is_said_to_take_a_restart_and_nothing_else_is_taken() {
    run(async {
        let cluster = Cluster::start().await;
        let proxy = &cluster.proxy;
        proxy.reconfigure(|text| denying(text).replacen("127.0.0.1:0", "127.0.0.1:1", 1));
        let reason = reason(proxy).await;
        assert!(
            reason.starts_with("listeners.service.address cannot change while the program runs"),
            "{reason}"
        );
        assert_eq!(reloads(proxy, "needs_restart").await, 1.0);
        assert_eq!(status(proxy).await, StatusCode::OK);
    });
}

#[test]
fn the_log_has_another_level_and_what_is_remembered_stays() {
    run(async {
        let cluster = Cluster::start().await;
        let proxy = &cluster.proxy;
        assert_eq!(status(proxy).await, StatusCode::OK);
        let reviews = r#"prom_rbac_proxy_reviews_total{review="token",outcome="answered"}"#;
        let asked = proxy.metric(reviews).await;
        assert!(asked > 0.0);
        let silent = |text: &str| text.replace("level: trace", "level: error");
        let loud = proxy.reconfigure(silent);
        reloaded(proxy, "applied", 1.0).await;
        // Said at the level `info`, had it been heard.
        proxy.signal("HUP");
        reloaded(proxy, "unchanged", 1.0).await;
        proxy.reconfigure(|_| loud);
        reloaded(proxy, "applied", 2.0).await;
        proxy.said(TAKEN).await;
        assert!(!proxy.log().contains("says what runs already"));
        assert_eq!(status(proxy).await, StatusCode::OK);
        assert_eq!(proxy.metric(reviews).await, asked);
    });
}

#[test]
fn an_answer_under_way_ends_as_it_began_and_the_next_request_goes_elsewhere() {
    run(async {
        let (go_on, told) = watch::channel(false);
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n12";
        let steps = vec![
            Step::ReadRequest,
            Step::write(head),
            Step::Until(told),
            Step::write("34"),
            Step::Again,
        ];
        let first = Scripted::start(steps).await.expect("an upstream");
        let second = Recorder::start(&prometheus::everything().await.url()).await;
        let second = second.expect("a recorder");
        let (_api, proxy) = Cluster::before(first.address(), &[]).await;
        let call = Call::get(proxy.url(&query("up"))).bearer(VIEWER);
        let mut body = call.begin().await.into_body();
        let beginning = body.frame().await.expect("a frame").expect("data");
        assert_eq!(beginning.into_data().expect("data"), "12");
        let (before, now) = (first.address().to_string(), second.address().to_string());
        proxy.reconfigure(|text| text.replace(&before, &now));
        reloaded(&proxy, "applied", 1.0).await;
        assert_eq!(status(&proxy).await, StatusCode::OK);
        let sent = second.requests();
        assert!(sent.iter().any(|seen| seen.uri.contains("query")));
        go_on.send(true).expect("it waits");
        let rest = body.collect().await.expect("the whole answer").to_bytes();
        assert_eq!(rest, "34");
    });
}
