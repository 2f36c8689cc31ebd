//! What the shipped roles open, and what stays shut beside the proxy.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use standins::kubernetes::{KINDS, User};

use support::client::{Call, query};
use support::cluster::{Cluster, PROXY, TEAM_A, VIEWER};
use support::run;

#[test]
fn k09_the_way_past_the_proxy_is_shut() {
    run(async {
        let cluster = Cluster::start().await;
        let upstream = cluster.upstream.address();
        cluster
            .api
            .create_service_at("monitoring", "prometheus", &[], 9090, upstream);
        cluster
            .api
            .create_pod_at("monitoring", "prometheus-0", &[], upstream);
        cluster.api.create_pod_at(
            "monitoring",
            "prom-rbac-proxy-0",
            &[],
            cluster.proxy.service(),
        );
        let path = query("secret");
        let port = upstream.port();
        let own = cluster.proxy.service().port();
        for name in [
            "services/prometheus:9090/proxy".to_owned(),
            "services/prometheus/proxy".to_owned(),
            "services/prometheus:http/proxy".to_owned(),
            "services/http:prometheus:9090/proxy".to_owned(),
            "services/https:prometheus:9090/proxy".to_owned(),
            "services/prom-rbac-proxy/proxy".to_owned(),
            "services/prom-rbac-proxy:http/proxy".to_owned(),
            "services/prom-rbac-proxy:9091/proxy".to_owned(),
            "services/http:prom-rbac-proxy:9090/proxy".to_owned(),
            "services/https:prom-rbac-proxy:9090/proxy".to_owned(),
            format!("pods/prometheus-0:{port}/proxy"),
            format!("pods/http:prometheus-0:{port}/proxy"),
            "pods/prometheus-0/portforward".to_owned(),
            "pods/prometheus-0/exec".to_owned(),
            format!("pods/prom-rbac-proxy-0:{own}/proxy"),
        ] {
            for token in [VIEWER, TEAM_A] {
                let url = format!(
                    "{}/api/v1/namespaces/monitoring/{name}{path}",
                    cluster.api.url()
                );
                let answer = Call::get(&url).bearer(token).send().await;
                let text = answer.text();
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}: {text}");
            }
        }
        assert_eq!(cluster.forwarded().len(), 0);
        // The one form that is open leads to us, who ask for the token that the API server takes away.
        let url = format!(
            "{}{}",
            cluster.api.url(),
            support::cluster::service_door(&path)
        );
        let answer = Call::get(&url).bearer(TEAM_A).send().await;
        let text = answer.text();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{text}");
        assert!(text.contains("carries no token"), "{text}");
        // Not to send the header that it has just sent.
        assert!(text.contains("use the gateway"), "{text}");
        assert!(!text.contains("Bearer TOKEN"), "{text}");
    });
}

#[test]
fn k11_the_proxys_own_token_opens_nothing_and_goes_to_kubernetes_alone() {
    run(async {
        let cluster = Cluster::start().await;
        assert_eq!(
            Call::get(cluster.proxy.url(&query("secret")))
                .send()
                .await
                .status,
            StatusCode::UNAUTHORIZED
        );
        // As a caller it is like any other ServiceAccount that may see nothing.
        let own = Call::get(cluster.proxy.url(&query("secret")))
            .bearer(PROXY)
            .send()
            .await;
        assert_eq!(own.status, StatusCode::FORBIDDEN);
        for token in [VIEWER, TEAM_A] {
            Call::get(cluster.proxy.url(&query("secret")))
                .bearer(token)
                .send()
                .await;
            Call::get(cluster.proxy.url("/api/v1/rules"))
                .bearer(token)
                .send()
                .await;
            Call::get(cluster.proxy.url("/api/v1/metadata"))
                .bearer(token)
                .send()
                .await;
        }
        Call::get(cluster.proxy.admin("/readyz")).send().await;
        // Probes included.
        let requests = cluster.upstream.requests();
        assert!(requests.len() >= 4);
        for seen in requests {
            assert!(!seen.headers.contains_key("authorization"), "{}", seen.uri);
            assert!(
                !format!("{} {:?}", seen.uri, seen.headers).contains(PROXY),
                "{}",
                seen.uri
            );
        }
        let reviews = cluster.api.requests();
        assert!(!reviews.is_empty());
        for seen in reviews {
            assert_eq!(
                seen.headers["authorization"],
                format!("Bearer {PROXY}"),
                "{}",
                seen.uri
            );
        }
    });
}

#[test]
fn the_api_server_is_told_which_program_asks() {
    run(async {
        let cluster = Cluster::start().await;
        let call = Call::get(cluster.proxy.url(&query("secret")));
        assert_eq!(call.bearer(TEAM_A).send().await.status, StatusCode::OK);
        Call::get(cluster.proxy.admin("/readyz")).send().await;
        let (limit, watch) = (Duration::from_secs(10), "watch namespaces");
        assert!(cluster.api.wait_for_requests(watch, 1, limit).await);
        let agent = concat!("prom-rbac-proxy/", env!("CARGO_PKG_VERSION"));
        let mut asked = BTreeSet::new();
        for seen in cluster.api.requests() {
            let agents: Vec<_> = seen.headers.get_all("user-agent").iter().collect();
            assert_eq!(agents, [agent], "{}", seen.uri);
            asked.insert((seen.info.verb, seen.info.resource));
        }
        for (verb, resource) in [
            ("create", "tokenreviews"),
            ("create", "subjectaccessreviews"),
            ("list", "namespaces"),
            ("watch", "namespaces"),
        ] {
            let did = (verb.to_owned(), resource.to_owned());
            assert!(asked.contains(&did), "{did:?} not in {asked:?}");
        }
    });
}

/// Everything that the proxy's account may do in the whole cluster, by the shipped roles.
const MAY: [&str; 6] = [
    "create authentication.k8s.io/tokenreviews",
    "create authorization.k8s.io/subjectaccessreviews",
    "list /namespaces",
    "watch /namespaces",
    // What every account may ask about itself.
    "create authorization.k8s.io/selfsubjectaccessreviews",
    "create authorization.k8s.io/selfsubjectrulesreviews",
];

/// The same in its own namespace.
const MAY_AT_HOME: [&str; 3] = [
    "get /services/proxy prom-rbac-proxy:9090",
    "list discovery.k8s.io/endpointslices",
    "watch discovery.k8s.io/endpointslices",
];

#[test]
fn k12_the_proxys_account_may_do_what_it_must_and_nothing_else() {
    run(async {
        let cluster = Cluster::start().await;
        let account = User::service_account("monitoring", "prom-rbac-proxy");
        let mut resources: BTreeSet<(String, String)> = KINDS
            .iter()
            .map(|kind| (kind.group.to_owned(), kind.resource.to_owned()))
            .collect();
        for (group, resource) in [
            ("authentication.k8s.io", "tokenreviews"),
            ("authentication.k8s.io", "selfsubjectreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
            ("authorization.k8s.io", "localsubjectaccessreviews"),
            ("authorization.k8s.io", "selfsubjectaccessreviews"),
            ("authorization.k8s.io", "selfsubjectrulesreviews"),
            ("", "services/proxy"),
            ("", "pods/proxy"),
            ("", "pods/exec"),
            ("", "pods/log"),
            ("", "pods/portforward"),
            ("", "nodes/proxy"),
            ("", "serviceaccounts/token"),
            ("", "users"),
            ("", "groups"),
            ("", "secrets"),
            ("", "configmaps"),
            ("metrics.k8s.io", "pods"),
            ("metrics.k8s.io", "nodes"),
            ("rbac.authorization.k8s.io", "clusterroles"),
            ("certificates.k8s.io", "certificatesigningrequests"),
        ] {
            resources.insert((group.to_owned(), resource.to_owned()));
        }
        let verbs = [
            "get",
            "list",
            "watch",
            "create",
            "update",
            "patch",
            "delete",
            "deletecollection",
            "impersonate",
            "bind",
            "escalate",
            "approve",
        ];
        let (mut everywhere, mut at_home) = (BTreeSet::new(), BTreeSet::new());
        for (group, resource) in &resources {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let slash = if subresource.is_empty() { "" } else { "/" };
            for verb in verbs {
                for (namespace, name) in [
                    ("", ""),
                    ("team-a", ""),
                    ("monitoring", ""),
                    ("monitoring", "prom-rbac-proxy:9090"),
                ] {
                    let attributes = json!({
                        "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                        "namespace": namespace, "name": name,
                    });
                    if !cluster.api.may(&account, &attributes).0 {
                        continue;
                    }
                    let right = format!("{verb} {group}/{resource}{slash}{subresource}");
                    if namespace.is_empty() {
                        everywhere.insert(right);
                    } else if !everywhere.contains(&right) {
                        let named = cluster.api.may(&account, &{
                            let mut any = attributes.clone();
                            any["name"] = "".into();
                            any
                        });
                        let name = if named.0 {
                            String::new()
                        } else {
                            format!(" {name}")
                        };
                        assert_eq!(namespace, "monitoring", "{right}");
                        at_home.insert(format!("{right}{name}"));
                    }
                }
            }
        }
        let unexpected: Vec<_> = everywhere
            .iter()
            .filter(|right| !MAY.contains(&right.as_str()))
            .collect();
        let own = "create authentication.k8s.io/selfsubjectreviews";
        assert!(
            unexpected.iter().all(|right| right.as_str() == own),
            "{unexpected:?}"
        );
        for right in &MAY[..4] {
            assert!(everywhere.contains(*right), "{right}");
        }
        assert_eq!(at_home, MAY_AT_HOME.map(str::to_owned).into());
    });
}

#[test]
fn k12_what_is_asked_of_kubernetes_is_what_the_roles_are_for() {
    run(async {
        let cluster = Cluster::start().await;
        for token in [VIEWER, TEAM_A] {
            for path in [
                query("secret"),
                "/api/v1/rules".to_owned(),
                "/api/v1/labels".to_owned(),
            ] {
                Call::get(cluster.proxy.url(&path))
                    .bearer(token)
                    .send()
                    .await;
            }
        }
        Call::get(cluster.proxy.admin("/readyz")).send().await;
        let asked: BTreeSet<_> = cluster
            .api
            .requests()
            .iter()
            .map(|seen| {
                assert_eq!(
                    seen.user,
                    "system:serviceaccount:monitoring:prom-rbac-proxy"
                );
                format!("{} {}", seen.info.verb, seen.info.combined_resource())
            })
            .collect();
        for request in &asked {
            let known = [
                "create tokenreviews",
                "create subjectaccessreviews",
                "create selfsubjectaccessreviews",
                "list namespaces",
                "watch namespaces",
            ];
            assert!(known.contains(&request.as_str()), "{request}");
        }
        assert!(asked.contains("create tokenreviews"));
    });
}
