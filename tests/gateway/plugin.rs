use std::time::{SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use serde_json::json;
use standins::headlamp::{self, Headlamp};
use standins::prometheus::{Data, Options, Prometheus, Recorder};

use support::client::Call;
use support::cluster::{STRANGER, TEAM_A};
use support::run;

use crate::cluster::{Cluster, RESERVED, request, with_headers};

#[path = "../corpus/mod.rs"]
#[allow(dead_code, reason = "other suites use the rest")]
mod corpus;

const PODS: &str = "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue";
const SERVICES: &str = "/api/v1/services?labelSelector=headlamp-prometheus%3Dtrue";
const QUERY: &str = "/api/v1/query_range?start=1&end=60&step=15&query=up";

#[test]
fn the_plugin_works_for_a_caller_whose_only_permission_is_view_in_one_namespace() {
    run(async {
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let options = Options::new(Data::everything().without_rules(), folder);
        let prometheus = Prometheus::start(options).await.expect("Prometheus");
        let recorder = Recorder::start(&prometheus.url())
            .await
            .expect("a recorder");
        let cluster = Cluster::with(&recorder.url()).await;
        let backend = headlamp::Options::new(&cluster.url(), cluster.api.ca_pem());
        let headlamp = Headlamp::start(backend).await.expect("Headlamp");
        let cookie = headlamp::cookie_header("main", TEAM_A);
        let get = async |path: &str| {
            let url = format!("{}/clusters/main{path}", headlamp.url());
            let answer = Call::get(url).header("cookie", &cookie).send().await;
            let body = serde_json::from_slice(&answer.body);
            (answer.status, body.unwrap_or(json!(answer.text())))
        };
        cluster.api.forget_requests();

        // What the plugin may not do without the gateway.
        let elsewhere = "/api/v1/pods?labelSelector=app.kubernetes.io%2Fname%3Dprometheus";
        assert_eq!(get(elsewhere).await.0, StatusCode::FORBIDDEN);

        let (status, pods) = get(PODS).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            pods,
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []})
        );
        let (status, services) = get(SERVICES).await;
        assert_eq!(
            (status, &services["kind"]),
            (StatusCode::OK, &json!("ServiceList"))
        );
        let expected = json!([{
            "metadata": {"name": "prom-rbac-proxy", "namespace": "monitoring"},
            "spec": {"ports": [{"port": 9090, "protocol": "TCP"}]},
        }]);
        assert_eq!(services["items"], expected);

        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let range = |query: &str| {
            let start = now - 86_400;
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("query", query)
                .finish();
            format!("{RESERVED}/api/v1/query_range?start={start}&end={now}&step=345&{query}")
        };
        // The question of the autodetection.
        let (status, probe) = get(&range("up").replace("step=345", "step=300")).await;
        assert_eq!(
            (status, &probe["status"]),
            (StatusCode::OK, &json!("success"))
        );

        let (mut answered, mut drawn) = (0, 0);
        for query in corpus::headlamp() {
            let (status, answer) = get(&range(&query)).await;
            match status {
                StatusCode::OK => {
                    answered += 1;
                    assert_eq!(answer["status"], "success", "{query}");
                    let series = answer["data"]["result"].as_array().expect("series");
                    drawn += usize::from(!series.is_empty());
                    for one in series {
                        let (labels, ours) = (&one["metric"], "team-a");
                        let namespace = labels["exported_namespace"]
                            .as_str()
                            .or(labels["namespace"].as_str());
                        let namespace = namespace.unwrap_or(ours);
                        assert_eq!(namespace, ours, "{query}");
                    }
                }
                StatusCode::FORBIDDEN => {
                    assert!(!answer["message"].as_str().expect("a text").is_empty());
                }
                other => panic!("{query}: {other} {answer}"),
            }
        }
        println!("{answered} of the plugin's queries answered, {drawn} of them with series");
        assert!(answered > 60 && drawn > 10);

        let (status, _) = get(&format!("{RESERVED}/-/healthy")).await;
        assert_eq!(status, StatusCode::OK);

        // None of it has gone to the API server but the list that is not ours, and the reviews.
        assert_eq!(cluster.api.count("services/proxy"), 0);
        assert_eq!(
            cluster.api.count("list pods") + cluster.api.count("list services"),
            1
        );
        let audited = |line: &serde_json::Value| {
            line["door"] == "gateway" && line.to_string().contains("alice")
        };
        cluster.proxy.audit_where(audited).await;
    });
}

#[test]
fn lists_that_only_look_like_the_plugins_pass() {
    run(async {
        let cluster = Cluster::start().await;
        let mut connection = cluster.http2().await;
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io, application/json";
        for (path, headers) in [
            ("/api/v1/pods", &[][..]),
            ("/api/v1/pods?labelSelector=a", &[]),
            (
                "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue&limit=1",
                &[],
            ),
            (
                "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue&labelSelector=a",
                &[],
            ),
            (
                "/api/v1/pods?watch=1&labelSelector=headlamp-prometheus%3Dtrue",
                &[],
            ),
            (
                "/api/v1/namespaces/team-b/pods?labelSelector=headlamp-prometheus%3Dtrue",
                &[],
            ),
            (PODS, &[("accept", table)]),
            (PODS, &[("accept", "application/vnd.kubernetes.protobuf")]),
        ] {
            let answer = connection
                .send(with_headers(Method::GET, TEAM_A, path, headers))
                .await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            assert_eq!(answer.json()["kind"], "Status");
        }
        for path in [PODS, SERVICES] {
            let posted = connection.send(request(Method::DELETE, TEAM_A, path)).await;
            assert_eq!(posted.status, StatusCode::FORBIDDEN);
            // Somebody who has no rights is somebody; an unknown token is nobody, and Kubernetes says so.
            assert_eq!(connection.get(STRANGER, path).await.status, StatusCode::OK);
            let nobody = connection.get("wrong", path).await;
            assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
            assert_eq!(nobody.json()["kind"], "Status");
        }
    });
}

#[test]
fn nobody_asks_as_somebody_else_and_no_cookie_counts() {
    run(async {
        let cluster = Cluster::start().await;
        let mut connection = cluster.http2().await;
        let token = cluster.api.admin_token();
        let query = format!("{RESERVED}{QUERY}");
        for path in [&*query, PODS, SERVICES] {
            for name in [
                "impersonate-user",
                "impersonate-group",
                "impersonate-extra-x",
            ] {
                let sent = with_headers(Method::GET, token, path, &[(name, "alice")]);
                let answer = connection.send(sent).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {name}");
                assert!(
                    answer.message().contains("Impersonate"),
                    "{}",
                    answer.text()
                );
            }
        }
        let cookie = headlamp::cookie_header("main", token);
        let mut sent = with_headers(Method::GET, token, &query, &[("cookie", &cookie)]);
        sent.headers_mut().remove("authorization");
        let answer = connection.send(sent).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(
            answer.message().contains("Authorization"),
            "{}",
            answer.text()
        );
        assert_eq!(cluster.api.count("services/proxy"), 0);
    });
}

#[test]
fn no_spelling_of_a_path_leads_around_the_proxy() {
    run(async {
        let cluster = Cluster::start().await;
        // Whoever may do everything: nothing but the gateway is in the way.
        let token = cluster.api.admin_token();
        let mut connection = cluster.http2().await;
        let services = "/api/v1/namespaces/monitoring/services";
        let ours = format!("{services}/prom-rbac-proxy:9090");
        let mut statuses = Vec::new();
        for path in [
            format!("{ours}/proxy/metrics"),
            format!("{ours}/proxy/api/v1/admin/tsdb/snapshot"),
            format!("{ours}/proxy/api/v1/status/walreplay"),
            format!("{ours}/proxy//api/v1/query?query=up"),
            format!("{ours}/proxy/x/../api/v1/query?query=up"),
            format!("{ours}/proxy/%2e%2e/proxy/metrics"),
            format!("{ours}/%70roxy/metrics"),
            format!("{ours}%2fproxy%2fmetrics"),
            format!("{services}/prom-rbac-proxy%3a9090/proxy/metrics"),
            format!("{services}/http:prom-rbac-proxy:9090/proxy/metrics"),
            format!("{services}/https:prom-rbac-proxy:9090/proxy/metrics"),
            format!("{services}/:prom-rbac-proxy:9090/proxy/metrics"),
            format!("{services}/./prom-rbac-proxy:9090/proxy/metrics"),
            format!("{services}/x/../prom-rbac-proxy:9090/proxy/metrics"),
            format!("/api/..{}", ours.replace('/', "%2f")) + "/proxy/x",
            format!("/{services}/prometheus:9090/proxy/metrics"),
            format!("{services}/prometheus:9090/proxy/metrics"),
            "/api/v1/namespaces/monitoring/pods/prometheus-0:9090/proxy/metrics".to_owned(),
        ] {
            let answer = connection.get(token, &path).await;
            assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
            assert_eq!(
                answer.json()["status"],
                "error",
                "{path}: {}",
                answer.text()
            );
            assert!(!answer.message().is_empty());
            statuses.push(answer.status.as_u16());
        }
        // That itself says what the proxy is.
        for path in [format!("{ours}/proxy"), format!("{ours}/proxy/")] {
            let answer = connection.get(token, &path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert_eq!(answer.json()["name"], "prom-rbac-proxy", "{path}");
        }
        assert_eq!(
            cluster.api.count("services/proxy") + cluster.api.count("pods/proxy"),
            0
        );
        assert!(statuses.contains(&400) && statuses.contains(&404));
        for method in [Method::PUT, Method::DELETE, Method::OPTIONS] {
            let sent = request(method.clone(), token, &format!("{ours}/proxy{QUERY}"));
            let answer = connection.send(sent).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
        // Others' proxy paths are the API server's matter, as are other ports.
        for path in [
            format!("{services}/opencost:9003/proxy/a//b"),
            format!("{services}/prom-rbac-proxy:9091/proxy/metrics"),
            format!("{services}/prom-rbac-proxy:9090"),
            "/api/v1/namespaces/other/services/prom-rbac-proxy:9090/proxy/x".to_owned(),
        ] {
            let answer = connection.get(token, &path).await;
            assert_eq!(answer.json()["kind"], "Status", "{path}: {}", answer.text());
            let seen = cluster.api.requests().pop().expect("it came");
            assert_eq!(seen.uri, path);
        }
    });
}
