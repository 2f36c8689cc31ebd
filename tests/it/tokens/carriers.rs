//! What carries a token, and what does not.

use http::StatusCode;

use support::client::{Answer, Call, query, raw};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::oracle::{assert_no_leak, values};
use support::run;

/// Asks for `secret`: everybody's is 42, 99, 8 and 7; team-a's is 7.
fn ask(cluster: &Cluster) -> Call {
    Call::get(cluster.proxy.url(&query("secret")))
}

fn nobody_was_asked(cluster: &Cluster) {
    assert_eq!(cluster.api.count("tokenreviews"), 0, "reviewed");
    assert_eq!(cluster.forwarded().len(), 0, "sent upstream");
}

#[track_caller]
fn is_401(answer: &Answer, what: &str) {
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}");
    assert_eq!(answer.headers["www-authenticate"], "Bearer", "{what}");
}

#[test]
fn t02_two_authorization_headers_are_a_401_in_any_order() {
    run(async {
        let cluster = Cluster::start().await;
        for (first, second) in [(TEAM_A, VIEWER), (VIEWER, TEAM_A), (VIEWER, VIEWER)] {
            let answer = ask(&cluster).bearer(first).bearer(second).send().await;
            is_401(&answer, &format!("{first} and {second}"));
        }
        let joined = format!("Bearer {TEAM_A}, Bearer {VIEWER}");
        is_401(
            &ask(&cluster).header("authorization", &joined).send().await,
            &joined,
        );
        nobody_was_asked(&cluster);
    });
}

#[test]
fn t03_a_header_decides_and_a_cookie_never_helps_out() {
    run(async {
        let cluster = Cluster::start().await;
        let answer = ask(&cluster).bearer(TEAM_A).cookie(VIEWER).send().await;
        assert_eq!(values(&answer), ["7"]);
        let answer = ask(&cluster).bearer(VIEWER).cookie(TEAM_A).send().await;
        assert_eq!(values(&answer).len(), 4);
        cluster.upstream.forget();
        for header in ["Bearer wrong-token", "Bearer ", "Basic dTpw", "Negotiate x"] {
            let call = ask(&cluster).header("authorization", header).cookie(VIEWER);
            is_401(&call.send().await, header);
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn t04_chunks_join_by_number_up_to_the_first_gap_and_nothing_else_does() {
    run(async {
        let cluster = Cluster::start().await;
        let (head, tail) = TEAM_A.split_at(5);
        let own = |cookie: String| {
            let call = ask(&cluster).header("cookie", &cookie);
            async move { (cookie, call.send().await) }
        };
        for cookie in [
            format!("headlamp-auth-main.1={tail}; headlamp-auth-main.0={head}"),
            format!("headlamp-auth-main.0={TEAM_A}; headlamp-auth-main.2=stale"),
        ] {
            let (cookie, answer) = own(cookie).await;
            assert_eq!(answer.status, StatusCode::OK, "{cookie}");
            assert_eq!(values(&answer), ["7"]);
        }
        let split = ask(&cluster)
            .header("cookie", &format!("a=b; headlamp-auth-main.0={head}"))
            .header("cookie", &format!("headlamp-auth-main.1={tail}; c=d"));
        assert_eq!(values(&split.send().await), ["7"]);
        cluster.api.forget_requests();
        cluster.upstream.forget();
        let crowd = (0..1000).map(|index| format!("headlamp-auth-main.{index}=A"));
        let crowd = crowd.collect::<Vec<_>>().join("; ");
        let strange = ["00", "+0", "-1", "99999999999999999999", "8", "", "0x0"];
        let strange = strange.map(|index| format!("headlamp-auth-main.{index}={TEAM_A}"));
        let only_second = format!("headlamp-auth-main.1={TEAM_A}");
        for cookie in strange.into_iter().chain([crowd, only_second]) {
            let (cookie, answer) = own(cookie).await;
            is_401(&answer, &cookie);
        }
        nobody_was_asked(&cluster);
    });
}

#[test]
fn t05_cookies_that_can_be_read_in_two_ways_are_a_401() {
    run(async {
        let cluster = Cluster::start().await;
        for cookies in [
            vec![format!(
                "headlamp-auth-main.0={TEAM_A}; headlamp-auth-main.0={VIEWER}"
            )],
            vec![
                format!("headlamp-auth-main.0={TEAM_A}"),
                format!("headlamp-auth-main.0={VIEWER}"),
            ],
            vec![format!(
                "headlamp-auth-main.0={TEAM_A}; headlamp-auth-other.0={VIEWER}"
            )],
            vec![
                format!("headlamp-auth-other.0={VIEWER}"),
                format!("headlamp-auth-main.0={TEAM_A}"),
            ],
            vec![format!(
                "headlamp-auth-a.b.0={TEAM_A}; headlamp-auth-ab.0={VIEWER}"
            )],
        ] {
            let call = cookies
                .iter()
                .fold(ask(&cluster), |call, cookie| call.header("cookie", cookie));
            is_401(&call.send().await, &format!("{cookies:?}"));
        }
        nobody_was_asked(&cluster);
    });
}

#[test]
fn t06_chunks_of_two_sessions_are_reviewed_as_one_text_that_nobody_knows() {
    run(async {
        let cluster = Cluster::start().await;
        let user = standins::kubernetes::User::named;
        let (first, second) = ("A".repeat(3800), "Z".repeat(3800));
        cluster.api.add_user(&format!("{first}A"), user("viewer"));
        cluster.api.add_user(&format!("{second}Z"), user("viewer"));
        let mixed = format!("headlamp-auth-main.0={first}; headlamp-auth-main.1=Z");
        let whole = format!("headlamp-auth-main.0={first}; headlamp-auth-main.1=A");
        for _ in 0..2 {
            let answer = ask(&cluster).header("cookie", &whole).send().await;
            assert_eq!(answer.status, StatusCode::OK);
            is_401(
                &ask(&cluster).header("cookie", &mixed).send().await,
                "mixed",
            );
        }
        let reviewed: Vec<_> = cluster
            .api
            .requests_for("tokenreviews")
            .iter()
            .map(|seen| {
                seen.body["spec"]["token"]
                    .as_str()
                    .expect("text")
                    .to_owned()
            })
            .collect();
        assert_eq!(reviewed, [format!("{first}A"), format!("{first}Z")]);
    });
}

#[test]
fn t08_tokens_up_to_the_limit_are_reviewed_and_longer_ones_are_not() {
    run(async {
        let cluster = Cluster::start().await;
        let user = || standins::kubernetes::User::named("viewer");
        for length in [7 * 1024, 16 * 1024] {
            let token = "a".repeat(length);
            cluster.api.add_user(&token, user());
            for call in [ask(&cluster).bearer(&token), ask(&cluster).cookie(&token)] {
                assert_eq!(call.send().await.status, StatusCode::OK, "{length}");
            }
        }
        cluster.api.forget_requests();
        cluster.upstream.forget();
        for length in [16 * 1024 + 1, 20 * 1024, 64 * 1024, 400 * 1024] {
            let token = "a".repeat(length);
            let line = format!(
                "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n",
                query("secret")
            );
            let answer = raw(cluster.proxy.service(), line.as_bytes()).await;
            let refused = answer.starts_with("HTTP/1.1 401") || answer.starts_with("HTTP/1.1 431");
            // Past what is read at all, the connection may be reset before the answer is read.
            let reset = answer.is_empty() && length > 64 * 1024;
            assert!(refused || reset, "{length}: {answer}");
        }
        nobody_was_asked(&cluster);
    });
}

#[test]
fn t09_bytes_that_are_in_no_token_are_a_401_without_a_review() {
    run(async {
        let cluster = Cluster::start().await;
        for token in [
            &b"A,Z"[..],
            b"A\xffZ",
            b"\x80",
            b"A\0Z",
            b"A\x01",
            b"A Z",
            b"\"A\"",
        ] {
            let path = query("secret");
            let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
            for carrier in ["Authorization: Bearer ", "Cookie: headlamp-auth-main.0="] {
                let request = [head.as_bytes(), carrier.as_bytes(), token, b"\r\n\r\n"].concat();
                let answer = raw(cluster.proxy.service(), &request).await;
                let refused =
                    answer.starts_with("HTTP/1.1 401") || answer.starts_with("HTTP/1.1 400");
                assert!(refused, "{carrier}{token:?}: {answer}");
            }
        }
        nobody_was_asked(&cluster);
    });
}

#[test]
fn t14_impersonation_and_front_proxy_headers_of_a_caller_have_no_effect() {
    const FORGED: [(&str, &str); 7] = [
        ("impersonate-user", "system:admin"),
        ("impersonate-group", "system:masters"),
        ("impersonate-extra-scopes", "all"),
        ("x-remote-user", "admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-a", "b"),
        ("x-forwarded-user", "admin"),
    ];
    run(async {
        let cluster = Cluster::start().await;
        let call = FORGED.iter().fold(ask(&cluster), |call, (name, value)| {
            call.header(name, value)
        });
        let answer = call.bearer(TEAM_A).send().await;
        assert_eq!(values(&answer), ["7"]);
        for review in cluster.api.requests_for("subjectaccessreviews") {
            assert_eq!(review.body["spec"]["user"], "alice");
        }
        let at_kubernetes = cluster.api.requests().into_iter().map(|seen| seen.headers);
        let at_prometheus = cluster.forwarded().into_iter().map(|seen| seen.headers);
        for headers in at_kubernetes.chain(at_prometheus) {
            for (name, _) in FORGED {
                assert!(!headers.contains_key(name), "{name}");
            }
        }
    });
}

#[test]
fn t24_other_carriers_are_ignored_and_go_nowhere() {
    run(async {
        let cluster = Cluster::start().await;
        let url = |more: &str| cluster.proxy.url(&format!("{}{more}", query("secret")));
        let protocol = format!(
            "base64url.bearer.authorization.k8s.io.{}",
            "dmlld2VyLXRva2Vu"
        );
        let form = format!("query=secret&token={VIEWER}&access_token={VIEWER}");
        let carriers = |call: Call| {
            call.header("proxy-authorization", &format!("Bearer {VIEWER}"))
                .header("x-auth-token", VIEWER)
                .header("x-forwarded-access-token", VIEWER)
                .header("sec-websocket-protocol", &protocol)
        };
        let in_url = format!("&access_token={VIEWER}&token={VIEWER}");
        let in_form = |call: Call| carriers(call);
        is_401(&carriers(Call::get(url(&in_url))).send().await, "URL");
        let path = cluster.proxy.url("/api/v1/query");
        is_401(
            &in_form(Call::form(&path, form.clone())).send().await,
            "form",
        );
        nobody_was_asked(&cluster);
        let own = carriers(Call::get(url(&in_url)))
            .bearer(TEAM_A)
            .send()
            .await;
        assert_eq!(values(&own), ["7"]);
        let own = in_form(Call::form(&path, form)).bearer(TEAM_A).send().await;
        assert_eq!(values(&own), ["7"]);
        for seen in cluster.some_forwarded() {
            let all = format!("{} {:?} {:?}", seen.uri, seen.headers, seen.body);
            assert!(
                !all.contains(VIEWER) && !all.contains("access_token"),
                "{all}"
            );
        }
        cluster.proxy.audit(&own).await;
        assert!(!cluster.proxy.log().contains(VIEWER));
    });
}

#[test]
fn t26_nobody_is_trusted_for_where_a_request_comes_from() {
    run(async {
        let cluster = Cluster::start().await;
        let path = query("secret");
        for path in [
            path.clone(),
            support::cluster::service_door(&path),
            format!("/clusters/main{}", support::cluster::service_door(&path)),
            "/clusters/main/serviceproxy/monitoring/prometheus?request=%2Fapi%2Fv1%2Fquery"
                .to_owned(),
            "/-/healthy".to_owned(),
            "/api/v1/status/buildinfo".to_owned(),
        ] {
            let answer = Call::get(cluster.proxy.url(&path))
                .header("x-forwarded-for", "127.0.0.1")
                .header("x-real-ip", "10.0.0.1")
                .header("x-headlamp_backend-token", "x")
                .send()
                .await;
            is_401(&answer, &path);
        }
        nobody_was_asked(&cluster);
        let unknown = "/clusters/main/serviceproxy/monitoring/prometheus?request=x";
        let answer = Call::get(cluster.proxy.url(unknown))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn t27_a_form_of_another_site_is_answered_for_the_cookies_owner_and_without_cors() {
    run(async {
        let cluster = Cluster::start().await;
        let answer = Call::form(cluster.proxy.url("/api/v1/query"), "query=secret")
            .cookie(TEAM_A)
            .header("origin", "http://evil.example")
            .header("sec-fetch-site", "cross-site")
            .send()
            .await;
        assert_no_leak(&answer, "cross-site");
        assert!(
            answer
                .headers
                .keys()
                .all(|name| !name.as_str().starts_with("access-control-"))
        );
        let preflight = Call::new(http::Method::OPTIONS, cluster.proxy.url("/api/v1/query"))
            .header("origin", "http://evil.example")
            .header("access-control-request-method", "POST")
            .send()
            .await;
        assert!(preflight.status.is_client_error(), "{}", preflight.status);
        assert!(
            !preflight
                .headers
                .contains_key("access-control-allow-origin")
        );
    });
}

#[test]
fn t28_a_401_does_not_tell_why_a_token_was_rejected() {
    run(async {
        let cluster = Cluster::start().await;
        let account = |seconds, audiences: &[&str]| standins::kubernetes::TokenRequest {
            seconds,
            audiences: audiences.iter().map(|&one| one.to_owned()).collect(),
            pod: None,
        };
        cluster.api.create_service_account("team-a", "grafana");
        let token = |request| cluster.api.create_token("team-a", "grafana", &request);
        let revoked = token(account(600, &[]));
        cluster.api.revoke_token(&revoked);
        let mut answers = Vec::new();
        for token in [
            "wrong-token".to_owned(),
            revoked,
            token(account(600, &["vault"])),
            token(account(0, &[])),
        ] {
            let answer = ask(&cluster).bearer(&token).send().await;
            is_401(&answer, "rejected");
            answers.push(answer.text().to_owned());
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
    });
}
