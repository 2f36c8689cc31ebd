use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::api::Credentials;
use crate::world::proxies::{DENIED_TTL, Extra, TTL};
use crate::world::{World, proved, run, until};
use support::client::query;

/// The API server itself remembers a token that was good for this long.
const REMEMBERED_BY_KUBERNETES: Duration = Duration::from_secs(10);

/// What a request, and a busy machine, may take.
const SLACK: Duration = Duration::from_secs(5);

async fn status(world: &World, proxy: &Extra, token: &str, path: &str) -> StatusCode {
    let url = format!("{}{path}", proxy.url());
    world
        .cluster
        .http
        .get(&url, Credentials::Bearer(token))
        .await
        .status
}

/// A new ServiceAccount in `people`, and a token of it.
async fn account(world: &World, name: &str) -> String {
    let account =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } });
    let path = "/api/v1/namespaces/people/serviceaccounts";
    world.cluster.create(path, &account).await;
    world.cluster.token("people", name, json!({})).await
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn what_is_granted_and_revoked_counts_within_the_time_to_live() {
    run(async |world| {
        let proxy = Extra::forgetful(&world.cluster, "granting", &world.prometheus.url()).await;
        let token = account(world, "bob").await;
        let (a, b) = (
            query("up{namespace=\"team-a\"}"),
            query("up{namespace=\"team-b\"}"),
        );
        assert_eq!(
            status(world, &proxy, &token, &a).await,
            StatusCode::FORBIDDEN
        );
        world.bind("team-a", "bob").await;
        let granted = until("bob may see team-a", TTL + SLACK, async || {
            status(world, &proxy, &token, &a).await == StatusCode::OK
        })
        .await;
        assert_eq!(
            status(world, &proxy, &token, &b).await,
            StatusCode::FORBIDDEN
        );
        world.unbind("team-a", "bob").await;
        let revoked = until("bob may not see team-a", TTL + SLACK, async || {
            status(world, &proxy, &token, &a).await == StatusCode::FORBIDDEN
        })
        .await;
        proved(format!(
            "with a time to live of {TTL:?} a new RoleBinding counts after {:.1} s, its removal after {:.1} s",
            granted.as_secs_f32(),
            revoked.as_secs_f32()
        ));
    });
}

/// A range that ends now, as two viewers ask for it within one step of the grid.
fn live(expression: &str) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    let end = now.expect("after 1970").as_secs() / 60 * 60;
    let times = format!("start={}&end={end}&step=60", end - 3600);
    let query = query(expression).replace("/query?", "/query_range?");
    format!("{query}&{times}")
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn what_is_kept_for_others_is_nobodys_whose_permission_was_revoked() {
    run(async |world| {
        let proxy = Extra::forgetful(&world.cluster, "keeping", &world.prometheus.url()).await;
        let (erin, frank) = (account(world, "erin").await, account(world, "frank").await);
        for name in ["erin", "frank"] {
            world.bind("team-a", name).await;
        }
        // Through the service door, whose answers are kept.
        let ask = async |token: &str| {
            let url = format!("{}{}", proxy.url(), live("up{namespace=\"team-a\"}"));
            let cookie = standins::headlamp::cookie_header("main", token);
            let answer = world
                .cluster
                .http
                .get(&url, Credentials::Cookie(&cookie))
                .await;
            let kept = answer.headers.get("cache-status").cloned();
            (
                answer.status,
                kept.is_some_and(|status| status == "prom-rbac-proxy; hit"),
            )
        };
        let hit = (StatusCode::OK, true);
        for token in [&erin, &frank] {
            until("both share what is kept", TTL + SLACK, async || {
                ask(token).await == hit
            })
            .await;
        }
        world.unbind("team-a", "erin").await;
        let revoked = until("erin may not see team-a", TTL + SLACK, async || {
            let (status, kept) = ask(&erin).await;
            assert!(status == StatusCode::OK || !kept, "{status}");
            status == StatusCode::FORBIDDEN
        })
        .await;
        until("frank is given what is kept", TTL + SLACK, async || {
            ask(&frank).await == hit
        })
        .await;
        assert_eq!(ask(&erin).await, (StatusCode::FORBIDDEN, false));
        proved(format!(
            "with a time to live of {TTL:?} who has lost a RoleBinding gets nothing that is kept after {:.1} s, while another \
             one does",
            revoked.as_secs_f32()
        ));
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_token_counts_no_longer_than_its_account_and_its_expiry() {
    run(async |world| {
        let proxy = Extra::forgetful(&world.cluster, "ending", &world.prometheus.url()).await;
        let path = query("up");
        let token = account(world, "leaver").await;
        world.bind("team-a", "leaver").await;
        until("leaver may see team-a", TTL + SLACK, async || {
            status(world, &proxy, &token, &path).await == StatusCode::OK
        })
        .await;
        world
            .cluster
            .delete("/api/v1/namespaces/people/serviceaccounts/leaver")
            .await;
        let limit = TTL + REMEMBERED_BY_KUBERNETES + SLACK;
        let deleted = until("leaver's token counts no more", limit, async || {
            status(world, &proxy, &token, &path).await == StatusCode::UNAUTHORIZED
        })
        .await;
        let lifetime = Duration::from_secs(8);
        let claims = json!({ "sub": "guest", "groups": ["team-a-guests"] });
        let token = world.cluster.issuer.token(lifetime, claims);
        bind_group(world, "team-a-guests").await;
        until(
            "the guest may see team-a",
            Duration::from_secs(5),
            async || status(world, &proxy, &token, &path).await == StatusCode::OK,
        )
        .await;
        let limit = lifetime + TTL + REMEMBERED_BY_KUBERNETES + SLACK;
        let expired = until("the guest's token has expired", limit, async || {
            status(world, &proxy, &token, &path).await == StatusCode::UNAUTHORIZED
        })
        .await;
        let garbled = format!("{}x", world.alice);
        let answer = status(world, &proxy, &garbled, &path).await;
        assert_eq!(answer, StatusCode::UNAUTHORIZED);
        proved(format!(
            "with a time to live of {TTL:?} a deleted ServiceAccount's token is refused after {:.1} s, a token of \
             {lifetime:?} {:.1} s after its first use, a garbled one at once",
            deleted.as_secs_f32(),
            expired.as_secs_f32()
        ));
    });
}

/// The namespaces that a query which names none tells of; none where it is refused.
async fn seen(world: &World, proxy: &Extra, token: &str) -> Vec<String> {
    let path = query("count by (namespace) (container_memory_working_set_bytes)");
    let url = format!("{}{path}", proxy.url());
    let bearer = Credentials::Bearer(token);
    let answer = world.cluster.http.get(&url, bearer).await;
    if answer.status == StatusCode::FORBIDDEN {
        return Vec::new();
    }
    let answer = answer.ok().json();
    let rows = answer["data"]["result"].as_array().expect("a vector");
    let name = |row: &Value| row["metric"]["namespace"].as_str().map(str::to_owned);
    rows.iter().filter_map(name).collect()
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_query_that_names_no_namespace_follows_what_is_granted_and_revoked() {
    run(async |world| {
        let proxy = Extra::forgetful(&world.cluster, "following", &world.prometheus.url()).await;
        let token = account(world, "carol").await;
        let becomes = async |namespaces: &[&str], limit| {
            let what = format!("carol sees {namespaces:?}");
            until(&what, limit, async || {
                let mut seen = seen(world, &proxy, &token).await;
                seen.sort();
                seen == namespaces
            })
            .await
        };
        becomes(&[], SLACK).await;
        world.bind("team-a", "carol").await;
        // What is denied is remembered for a second, and that nothing can be read for another.
        let first = becomes(&["team-a"], 2 * DENIED_TTL + SLACK).await;
        world.bind("team-b", "carol").await;
        let second = becomes(&["team-a", "team-b"], TTL + DENIED_TTL + SLACK).await;
        world.unbind("team-a", "carol").await;
        let revoked = becomes(&["team-b"], TTL + SLACK).await;
        proved(format!(
            "a query that names no namespace shows a first one {:.1} s after it is granted, a second one after \
             {:.1} s, and one that is revoked is gone after {:.1} s",
            first.as_secs_f32(),
            second.as_secs_f32(),
            revoked.as_secs_f32()
        ));
    });
}

/// `view` in team-a for a group.
async fn bind_group(world: &World, group: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": group },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group }],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/team-a/rolebindings";
    let answer = world.cluster.admin(Method::POST, path, &binding).await;
    assert!(answer.status == StatusCode::CREATED, "{}", answer.text());
}
