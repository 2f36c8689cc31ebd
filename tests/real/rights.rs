use std::collections::BTreeSet;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::api::{AGENT, Credentials};
use crate::world::cluster::URL;
use crate::world::proxies::ACCOUNT;
use crate::world::{World, proved, run};
use support::client::query;
use support::cluster::service_door;

#[test]
#[ignore = "scripts/e2e runs it"]
fn no_viewer_may_reach_pods_or_other_services_through_the_api_server() {
    run(async |world| {
        let cluster = &world.cluster;
        let groups = [
            "system:serviceaccounts",
            "system:serviceaccounts:people",
            "system:authenticated",
        ];
        let attributes = |verb: &str, resource: &str, name: &str, namespace: &str| {
            json!({
                "verb": verb, "resource": resource, "subresource": "proxy", "name": name, "namespace": namespace,
            })
        };
        let mut reviews = 0;
        for account in ["viewer", "alice", "mallory"] {
            let user = format!("system:serviceaccount:people:{account}");
            let own = attributes("get", "services", "prom-rbac-proxy:9090", "monitoring");
            assert!(cluster.may(&user, &groups, &own).await);
            for (verb, resource, name, namespace) in [
                ("get", "pods", "", "monitoring"),
                ("get", "pods", "prometheus-0:9090", "monitoring"),
                ("create", "pods", "prometheus-0:9090", "monitoring"),
                ("get", "pods", "", "team-a"),
                ("get", "pods", "", ""),
                ("get", "services", "", "monitoring"),
                ("get", "services", "", ""),
                ("get", "services", "prometheus-operated:9090", "monitoring"),
                ("get", "services", "prom-rbac-proxy", "monitoring"),
                ("get", "services", "prom-rbac-proxy:9091", "monitoring"),
                (
                    "get",
                    "services",
                    "prom-rbac-proxy-metrics:9091",
                    "monitoring",
                ),
                ("get", "services", "http:prom-rbac-proxy:9090", "monitoring"),
                ("get", "services", "prom-rbac-proxy:9090", "team-a"),
                ("create", "services", "prom-rbac-proxy:9090", "monitoring"),
                ("update", "services", "prom-rbac-proxy:9090", "monitoring"),
                ("delete", "services", "prom-rbac-proxy:9090", "monitoring"),
            ] {
                let attributes = attributes(verb, resource, name, namespace);
                assert!(
                    !cluster.may(&user, &groups, &attributes).await,
                    "{user}: {attributes}"
                );
                reviews += 1;
            }
        }
        let mut requests = 0;
        let served = world.prometheus.get("/api/v1/status/buildinfo").await;
        assert_eq!(served.expect("Prometheus").0, StatusCode::OK);
        for token in [&world.viewer, &world.alice, &world.mallory] {
            for target in [
                "services/prometheus-operated:9090",
                "services/http:prometheus-operated:9090",
                "services/prometheus-operated:web",
                "services/http:prom-rbac-proxy:9090",
                "services/prom-rbac-proxy-metrics:9091",
                "pods/prometheus-0:9090",
                "pods/prometheus-0",
            ] {
                let path = format!(
                    "/api/v1/namespaces/monitoring/{target}/proxy{}",
                    query("up")
                );
                let answer = cluster.as_user(token, Method::GET, &path).await;
                assert_eq!(
                    answer.status,
                    StatusCode::FORBIDDEN,
                    "{target}: {}",
                    answer.text()
                );
                requests += 1;
            }
            let post = service_door("/api/v1/query");
            let answer = cluster.as_user(token, Method::POST, &post).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
        }
        proved(format!(
            "viewers have get on services/proxy of prom-rbac-proxy:9090 and on nothing else: {reviews} reviews \
             denied, {requests} requests past it refused, Prometheus' own Service and pod among them"
        ));
    });
}

/// The rules of a caller in a namespace that open something beside what it reads and writes: a way through the API
/// server to a port, or everything.
async fn ways_through(world: &World, token: &str, namespace: &str) -> Vec<Value> {
    let url = format!("{URL}/apis/authorization.k8s.io/v1/selfsubjectrulesreviews");
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": { "namespace": namespace },
    });
    let bearer = Credentials::Bearer(token);
    let answer = world
        .cluster
        .http
        .send(Method::POST, &url, bearer, Some(&review));
    let status = answer.await.ok().json()["status"].clone();
    assert_eq!(status["incomplete"], false, "{status}");
    let rules = status["resourceRules"].as_array().expect("rules").clone();
    assert!(!rules.is_empty());
    let opens = |rule: &Value| {
        let resources = rule["resources"].as_array().cloned().unwrap_or_default();
        resources.iter().any(|resource| {
            let resource = resource.as_str().unwrap_or_default();
            ["*", "proxy", "exec", "attach", "portforward"]
                .iter()
                .any(|way| resource.rsplit('/').next() == Some(way))
        })
    };
    rules.into_iter().filter(opens).collect()
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn all_rules_of_a_viewer_have_one_way_through_the_api_server() {
    run(async |world| {
        let namespaces = world.cluster.object("/api/v1/namespaces").await;
        let namespaces = namespaces["items"].as_array().expect("a list").clone();
        let mut reviews = 0;
        for token in [&world.viewer, &world.alice, &world.mallory] {
            for namespace in &namespaces {
                let namespace = namespace["metadata"]["name"].as_str().expect("a name");
                let ways = ways_through(world, token, namespace).await;
                if namespace == "monitoring" {
                    let only = json!([{
                        "verbs": ["get"], "apiGroups": [""], "resources": ["services/proxy"],
                        "resourceNames": ["prom-rbac-proxy:9090"],
                    }]);
                    assert_eq!(json!(ways), only);
                } else {
                    assert_eq!(ways, [Value::Null; 0], "{namespace}");
                }
                reviews += 1;
            }
        }
        proved(format!(
            "of all rules of 3 callers in all namespaces, {reviews} lists, one leads through the API server: get on \
             services/proxy of prom-rbac-proxy:9090"
        ));
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn the_proxys_own_account_can_do_what_it_must_and_nothing_else() {
    run(async |world| {
        let cluster = &world.cluster;
        let token = &world.proxies.tokens[0];
        let groups = [
            "system:serviceaccounts",
            "system:serviceaccounts:monitoring",
            "system:authenticated",
        ];
        let must = BTreeSet::from([
            ("create", "authentication.k8s.io", "tokenreviews", ""),
            // Its own rights, which every user may ask about.
            (
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews",
                "",
            ),
            ("create", "authorization.k8s.io", "subjectaccessreviews", ""),
            ("list", "", "namespaces", ""),
            ("watch", "", "namespaces", ""),
            ("list", "discovery.k8s.io", "endpointslices", "monitoring"),
            ("watch", "discovery.k8s.io", "endpointslices", "monitoring"),
        ]);
        let mut denied = 0;
        for (group, resource) in [
            ("authentication.k8s.io", "tokenreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
            ("authorization.k8s.io", "selfsubjectaccessreviews"),
            ("authorization.k8s.io", "localsubjectaccessreviews"),
            ("discovery.k8s.io", "endpointslices"),
            ("metrics.k8s.io", "pods"),
            ("metrics.k8s.io", "nodes"),
            ("rbac.authorization.k8s.io", "rolebindings"),
            ("rbac.authorization.k8s.io", "clusterroles"),
            ("apps", "deployments"),
            ("", "namespaces"),
            ("", "pods"),
            ("", "secrets"),
            ("", "configmaps"),
            ("", "services"),
            ("", "endpoints"),
            ("", "nodes"),
            ("", "serviceaccounts"),
            ("", "events"),
            ("", "users"),
        ] {
            for verb in [
                "get",
                "list",
                "watch",
                "create",
                "update",
                "patch",
                "delete",
                "impersonate",
            ] {
                for namespace in ["", "monitoring", "team-a"] {
                    let access = (verb, group, resource, namespace);
                    let wide = must.contains(&(verb, group, resource, ""));
                    let attributes = json!({
                        "verb": verb, "group": group, "resource": resource, "namespace": namespace,
                    });
                    let may = cluster.may(ACCOUNT, &groups, &attributes).await;
                    assert_eq!(may, wide || must.contains(&access), "{attributes}");
                    denied += usize::from(!may);
                }
            }
        }
        for path in [
            "/api/v1/pods",
            "/api/v1/namespaces/monitoring/secrets",
            "/api/v1/namespaces/team-a/configmaps",
            "/apis/discovery.k8s.io/v1/namespaces/team-a/endpointslices",
            "/apis/discovery.k8s.io/v1/endpointslices",
            "/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy/",
        ] {
            let answer = cluster.as_user(token, Method::GET, path).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        }
        // What the proxies have done so far, without these requests here.
        let mut done = BTreeSet::new();
        for event in cluster.audit() {
            if event["user"]["username"] != ACCOUNT || event["userAgent"] == AGENT {
                continue;
            }
            let object = &event["objectRef"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let did = (
                text(&event["verb"]),
                text(&object["apiGroup"]),
                text(&object["resource"]),
                text(&object["namespace"]),
            );
            let agent = concat!("prom-rbac-proxy/", env!("CARGO_PKG_VERSION"));
            assert_eq!(event["userAgent"], agent, "{event}");
            let code = event["responseStatus"]["code"].as_u64().unwrap_or_default();
            assert!(code != 403 || cluster.was_starting(&event).await, "{event}");
            done.insert(did);
        }
        let must: BTreeSet<_> = must
            .iter()
            .map(|(verb, group, resource, namespace)| {
                let all = [verb, group, resource, namespace].map(|text| (*text).to_owned());
                let [verb, group, resource, namespace] = all;
                (verb, group, resource, namespace)
            })
            .collect();
        let other: Vec<_> = done.difference(&must).collect();
        assert!(
            other.is_empty(),
            "the proxies did something else: {other:?}"
        );
        assert!(done.len() >= 4, "{done:?}");
        proved(format!(
            "the proxy's account may do {} things of those asked, {denied} accesses are denied; by the API server's \
             audit log the proxies did {} of them by their own name and nothing else, and were refused none but while the API server was starting",
            must.len(),
            done.len()
        ));
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn the_api_server_takes_the_bearer_away_and_leaves_the_cookie() {
    run(async |world| {
        let url = format!("{URL}{}", service_door(&query("up")));
        let http = &world.cluster.http;
        let bearer = http.get(&url, Credentials::Bearer(&world.viewer)).await;
        assert_eq!(bearer.status, StatusCode::UNAUTHORIZED, "{}", bearer.text());
        assert!(bearer.message().contains("token"), "{}", bearer.message());
        let cookie = world.headlamp.login(&world.viewer).await;
        let answer = world
            .headlamp
            .get(&cookie, &service_door(&query("up")))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        proved(
            "a bearer does not pass services/proxy and is 401 with a reason; Headlamp's cookie does",
        );
    });
}
