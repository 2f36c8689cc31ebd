use http::{Method, StatusCode};
use serde_json::json;
use support::cluster::{STRANGER, TEAM_A, TEAM_A_AND_B, VIEWER};
use support::run;

use super::{PATH, names};
use crate::cluster::{Cluster, with_headers};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[test]
fn whom_the_api_server_refuses_is_listed_what_reviews_open_and_no_more() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        cluster.api.apply(json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": "team-a",
                "labels": {"owner": "a"},
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "secret-annotation"},
            },
        }));
        let mut connection = cluster.http2().await;
        let listed = connection.get(TEAM_A, PATH).await;
        assert_eq!(listed.status, StatusCode::OK, "{}", listed.text());
        let list = listed.json();
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!("NamespaceList"), &json!("v1"))
        );
        assert_eq!(names(&list), ["team-a"]);
        let item = &list["items"][0];
        assert_eq!(item["status"], json!({"phase": "Active"}));
        assert_eq!(item["metadata"]["labels"]["owner"], "a");
        assert!(
            item["metadata"]["uid"].is_string()
                && item["metadata"]["creationTimestamp"].is_string()
        );
        assert!(!listed.text().contains("secret-annotation"));
        assert_eq!(listed.headers["content-type"], "application/json");
        assert_eq!(listed.headers["cache-control"], "no-store");

        let list = connection.get(TEAM_A_AND_B, PATH).await.json();
        assert_eq!(names(&list), ["team-a", "team-b"]);
        let refused = connection.get(STRANGER, PATH).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(refused.json()["reason"], "Forbidden");
        assert!(refused.message().contains("mallory"), "{}", refused.text());
        assert_eq!(
            connection.get("wrong", PATH).await.status,
            StatusCode::UNAUTHORIZED
        );

        // Where the API server does not refuse, its answer is the one.
        let viewer = connection.get(VIEWER, PATH).await;
        assert_eq!(viewer.status, StatusCode::OK);
        assert!(viewer.text().contains("secret-annotation"));

        let line = cluster.proxy.audit(&listed).await;
        assert_eq!(
            (&line["endpoint"], &line["caller"]),
            (&json!("namespaces"), &json!("alice"))
        );
        assert_eq!(line["namespaces_granted"], json!(["team-a"]));
        let series = r#"prom_rbac_proxy_requests_total{door="gateway",endpoint="namespaces",decision="namespaces",status_class="2xx"}"#;
        assert!(cluster.proxy.metric(series).await >= 2.0);
    });
}

#[test]
fn without_the_setting_a_refusal_stays_one() {
    run(async {
        let cluster = Cluster::start().await;
        let mut connection = cluster.http2().await;
        let refused = connection.get(TEAM_A, PATH).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(refused.json()["kind"], "Status");
    });
}

#[test]
fn one_namespace_is_answered_like_the_list() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        // The metrics of team-b, and no right on the namespace itself.
        let rule =
            json!([{"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["get"]}]);
        cluster.api.create_cluster_role("metrics-only", &[], rule);
        let mallory = standins::kubernetes::Subject::User("mallory");
        cluster
            .api
            .bind_role("team-b", "metrics", "ClusterRole/metrics-only", mallory);
        let mut connection = cluster.http2().await;
        let one = connection.get(STRANGER, "/api/v1/namespaces/team-b").await;
        assert_eq!(one.status, StatusCode::OK, "{}", one.text());
        let one = one.json();
        assert_eq!(
            (&one["kind"], &one["metadata"]["name"]),
            (&json!("Namespace"), &json!("team-b"))
        );
        for path in ["/api/v1/namespaces/team-a", "/api/v1/namespaces/missing"] {
            let refused = connection.get(STRANGER, path).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
            assert_eq!(refused.json()["kind"], "Status");
        }
        let only = format!("{PATH}?fieldSelector=metadata.name%3Dteam-b");
        assert_eq!(
            names(&connection.get(STRANGER, &only).await.json()),
            ["team-b"]
        );
        let other = format!("{PATH}?fieldSelector=metadata.name%3Dteam-a");
        assert_eq!(
            connection.get(STRANGER, &other).await.status,
            StatusCode::FORBIDDEN
        );
        // What is not a plain read of the path is not answered here.
        for (method, path) in [
            (Method::DELETE, "/api/v1/namespaces/team-b"),
            (Method::GET, "/api/v1/namespaces/team%2Db"),
            (Method::GET, "/api/v1/namespaces/team-b/status"),
            (Method::GET, "/api/v1/watch/namespaces"),
        ] {
            let refused = connection
                .send(crate::cluster::request(method, STRANGER, path))
                .await;
            assert!(
                refused.status.is_client_error(),
                "{path}: {}",
                refused.status
            );
        }
    });
}

#[test]
fn each_form_and_parameter_is_answered_or_refused_in_the_api_servers_shape() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let mut connection = cluster.http2().await;
        let mut get = async |query: &str, accept: &str| {
            let path = format!("{PATH}?{query}");
            let sent = with_headers(Method::GET, TEAM_A_AND_B, &path, &[("accept", accept)]);
            connection.send(sent).await
        };
        let table = get("limit=500", TABLE).await.json();
        assert_eq!(table["kind"], "Table");
        assert_eq!(table["columnDefinitions"][1]["name"], "Status");
        assert_eq!(table["rows"][0]["cells"][0], "team-a");
        assert_eq!(table["rows"][0]["cells"][1], "Active");
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["metadata"]["continue"], json!(null));
        let whole = get("includeObject=Object", TABLE).await.json();
        assert_eq!(whole["rows"][0]["object"]["kind"], "Namespace");
        let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        let partial = get("", partial).await.json();
        assert_eq!(partial["kind"], "PartialObjectMetadataList");
        assert_eq!(names(&partial), ["team-a", "team-b"]);
        assert_eq!(partial["items"][0].get("status"), None);

        for (query, expected) in [
            (
                "labelSelector=kubernetes.io%2Fmetadata.name%3Dteam-b",
                &["team-b"][..],
            ),
            (
                "labelSelector=kubernetes.io%2Fmetadata.name%20notin%20(team-b,x)",
                &["team-a"],
            ),
            (
                "labelSelector=!absent&resourceVersion=0",
                &["team-a", "team-b"],
            ),
            ("fieldSelector=metadata.name%21%3Dteam-b", &["team-a"]),
            (
                "fieldSelector=status.phase%3DActive&timeoutSeconds=5",
                &["team-a", "team-b"],
            ),
            (
                "resourceVersion=1&resourceVersionMatch=NotOlderThan&limit=1",
                &["team-a", "team-b"],
            ),
            ("pretty=true&unknown=1", &["team-a", "team-b"]),
        ] {
            let answer = get(query, "*/*").await;
            assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
            assert_eq!(names(&answer.json()), expected, "{query}");
        }
        let pretty = get("pretty=1", "application/json").await;
        assert!(
            pretty.text().contains("\n      \"metadata\": {\n"),
            "{}",
            pretty.text()
        );

        for (query, accept, status, reason) in [
            ("", PROTOBUF, 406, "NotAcceptable"),
            (
                "",
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                406,
                "NotAcceptable",
            ),
            ("labelSelector=a%3D%3D%3Db", "*/*", 400, "BadRequest"),
            ("labelSelector=a%3E1", "*/*", 400, "BadRequest"),
            ("fieldSelector=spec.x%3D1", "*/*", 400, "BadRequest"),
            ("resourceVersion=x", "*/*", 400, "BadRequest"),
            ("limit=x", "*/*", 400, "BadRequest"),
            ("limit=1&limit=2", "*/*", 400, "BadRequest"),
            ("resourceVersionMatch=Exact", "*/*", 400, "BadRequest"),
            ("sendInitialEvents=true", "*/*", 400, "BadRequest"),
            ("watch=1&sendInitialEvents=true", "*/*", 400, "BadRequest"),
            ("watch=1&timeoutSeconds=x", "*/*", 400, "BadRequest"),
            ("continue=abc", "*/*", 410, "Expired"),
            (
                "resourceVersion=5&resourceVersionMatch=Exact",
                "*/*",
                410,
                "Expired",
            ),
            ("resourceVersion=999999999", "*/*", 504, "Timeout"),
        ] {
            let answer = get(query, accept).await;
            let object = answer.json();
            assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text());
            assert_eq!(
                (&object["kind"], &object["reason"]),
                (&json!("Status"), &json!(reason))
            );
            assert_eq!(object["code"], status);
        }
        // A client that takes JSON beside protobuf gets it.
        let both = format!("{PROTOBUF},application/json");
        assert_eq!(names(&get("", &both).await.json()).len(), 2);
    });
}

#[test]
fn nobody_is_listed_the_namespaces_of_somebody_else() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let mut connection = cluster.http2().await;
        let headers = [("impersonate-user", "alice")];
        let sent = with_headers(Method::GET, STRANGER, PATH, &headers);
        assert_eq!(connection.send(sent).await.status, StatusCode::FORBIDDEN);
        // Whoever may impersonate gets the API server's word for the other, which is a refusal.
        let sent = with_headers(Method::GET, cluster.api.admin_token(), PATH, &headers);
        let refused = connection.send(sent).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
        let mut sent = with_headers(
            Method::GET,
            TEAM_A,
            PATH,
            &[("cookie", &standins::headlamp::cookie_header("main", TEAM_A))],
        );
        sent.headers_mut().remove("authorization");
        let answer = connection.send(sent).await;
        assert!(answer.status.is_client_error(), "{}", answer.status);
    });
}
