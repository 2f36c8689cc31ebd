//! `doctor --as`: the steps of one caller, and the grants that it prints.

use serde_json::{Value, json};
use standins::kubernetes::{ApiServer, User};
use support::run;

use super::{doctor, found, installed, json_of, leave_door_to, lists_everything};
use crate::commands::text;

/// The section on the caller.
fn section(report: &Value) -> &Value {
    let mut sections = report["sections"].as_array().expect("sections").iter();
    let section = sections.find(|section| section["title"] == "A caller");
    section.expect("the section")
}

/// The report for a user, and how it ended.
async fn asked(api: &ApiServer, name: &str, user: &'static str) -> (Value, Option<i32>) {
    let more = ["--as", user, "--group", "viewers", "--output", "json"];
    let output = doctor(api, name, api.admin_token(), &more).await;
    assert_eq!(text(&output.stderr), "");
    (json_of(&output), output.status.code())
}

#[test]
fn each_step_of_a_caller_is_told_with_its_review() {
    run(async {
        let api = installed().await;
        api.forget_requests();
        let (report, ended) = asked(&api, "caller-alice", "alice").await;
        assert_eq!(ended, Some(0), "only advice");
        let notes = section(&report)["notes"].to_string();
        for told in [
            "alice, in the groups viewers, system:authenticated",
            "sees the series of the namespaces team-a",
            "review: get pods.metrics.k8s.io in the whole cluster: denied",
            "review: get nodes.metrics.k8s.io in the whole cluster: denied",
            "searched: ",
            "service door: review: get services/proxy of prom-rbac-proxy:9090 in namespace monitoring: allowed; charts \
             show the series of these namespaces",
            "ingress door",
            "direct door",
            "gateway door: listeners.gateway is not set",
        ] {
            assert!(notes.contains(told), "{told}: {notes}");
        }
        assert!(!notes.contains("team-b"), "{notes}");
        // Beside lists, nothing but reviews, which store nothing.
        for request in api.requests() {
            let review = request.uri.contains("/subjectaccessreviews");
            assert!(
                request.method == "GET" || review,
                "{} {}",
                request.method,
                request.uri
            );
        }
        let (report, ended) = asked(&api, "caller-viewer", "viewer").await;
        assert_eq!((found(&report), ended), (Vec::new(), Some(0)));
        let notes = section(&report)["notes"].to_string();
        assert!(notes.contains("sees all series"), "{notes}");
    });
}

#[test]
fn what_is_printed_opens_what_was_closed_and_nothing_else() {
    run(async {
        let api = installed().await;
        lists_everything(&api, "mallory");
        leave_door_to(&api, "others");
        let (report, ended) = asked(&api, "caller-closed", "mallory").await;
        assert_eq!(ended, Some(1));
        let codes: Vec<_> = found(&report).into_iter().map(|(code, _)| code).collect();
        let expected = [
            "caller-door-closed",
            "caller-sees-nothing",
            "caller-cluster-metrics-closed",
        ];
        assert_eq!(codes, expected);
        for finding in section(&report)["findings"].as_array().expect("findings") {
            let manifest = finding["manifest"].as_str().expect("a manifest");
            // The roles are there already.
            assert_eq!(manifest.matches("kind: ").count(), 3, "{manifest}");
            let manifest = manifest.replace("NAMESPACE", "team-b");
            api.apply_yaml(&manifest, "monitoring").expect("applied");
        }
        let (report, ended) = asked(&api, "caller-opened", "mallory").await;
        assert_eq!((found(&report), ended), (Vec::new(), Some(0)));
        let notes = section(&report)["notes"].to_string();
        assert!(notes.contains("the namespaces team-b\""), "{notes}");
        let may = |verb: &str, resource: &str, subresource: &str, name: &str| {
            let access = json!({
                "verb": verb, "resource": resource, "subresource": subresource, "name": name, "namespace": "monitoring",
            });
            api.may(&User::named("mallory"), &access).0
        };
        assert!(may("get", "services", "proxy", "prom-rbac-proxy:9090"));
        assert!(!may("get", "services", "proxy", "prometheus:9090"));
        assert!(!may("create", "services", "proxy", "prom-rbac-proxy:9090"));
    });
}

#[test]
fn a_role_that_is_missing_is_printed_with_its_binding() {
    run(async {
        let api = installed().await;
        let roles = "clusterroles.rbac.authorization.k8s.io";
        assert!(api.delete(roles, "", "prom-rbac-proxy-cluster-metrics"));
        let (report, _) = asked(&api, "caller-roleless", "alice").await;
        let findings = section(&report)["findings"].as_array().expect("findings");
        let closed = findings
            .iter()
            .find(|finding| finding["code"] == "caller-cluster-metrics-closed");
        let manifest = closed.expect("found")["manifest"]
            .as_str()
            .expect("a manifest");
        assert!(manifest.contains("kind: ClusterRole\n"), "{manifest}");
        api.apply_yaml(manifest, "monitoring").expect("applied");
        let (report, _) = asked(&api, "caller-granted", "alice").await;
        assert!(!report.to_string().contains("caller-cluster-metrics-closed"));
    });
}

#[test]
fn a_service_account_is_granted_as_one() {
    run(async {
        let api = installed().await;
        let account = "system:serviceaccount:team-a:robot";
        let (report, ended) = asked(&api, "caller-robot", account).await;
        assert_eq!(ended, Some(1));
        let finding = &section(&report)["findings"][0];
        assert_eq!(finding["code"], "caller-sees-nothing");
        let manifest = finding["manifest"].as_str().expect("a manifest");
        let manifest = manifest.replace("NAMESPACE", "team-b");
        api.apply_yaml(&manifest, "monitoring").expect("applied");
        let access = json!({"verb": "get", "group": "metrics.k8s.io", "resource": "pods", "namespace": "team-b"});
        let robot = User::service_account("team-a", "robot");
        assert!(api.may(&robot, &access).0, "{manifest}");
    });
}

#[test]
fn without_the_right_to_ask_reviews_the_rest_is_told() {
    run(async {
        let api = installed().await;
        api.add_user("reads-all", User::named("auditor"));
        let rule = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["list", "watch"]}]);
        api.create_cluster_role("reads-all", &[], rule);
        let auditor = standins::kubernetes::Subject::User("auditor");
        api.bind_cluster_role("reads-all", "reads-all", auditor);
        let more = ["--as", "alice", "--output", "json"];
        let output = doctor(&api, "caller-unasked", "reads-all", &more).await;
        let report = json_of(&output);
        assert_eq!(output.status.code(), Some(0), "{report}");
        let unread = section(&report)["unread"].to_string();
        assert!(
            unread.contains("403") && unread.contains("what they see is not known"),
            "{unread}"
        );
    });
}
