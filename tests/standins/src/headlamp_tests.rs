use http::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Headlamp, Options, cookie_header, cookies};
use crate::body;
use crate::connect;
use crate::kubernetes::{ApiServer, User};

async fn pair() -> (ApiServer, Headlamp) {
    let server = ApiServer::start(crate::kubernetes::Options::default()).await;
    let server = server.expect("it starts");
    let headlamp = Headlamp::start(Options::new(&server.url(), server.ca_pem())).await;
    (server, headlamp.expect("it starts"))
}

#[test]
fn long_tokens_are_kept_in_chunks() {
    let token = "x".repeat(8000);
    let cookies = cookies("my.cluster", &token);
    let lengths: Vec<usize> = cookies.iter().map(|(_, value)| value.len()).collect();
    assert_eq!(lengths, [3800, 3800, 400]);
    assert_eq!(cookies[2].0, "headlamp-auth-mycluster.2");
}

#[tokio::test]
async fn login_sets_cookies_that_authenticate_later_requests() {
    let (server, headlamp) = pair().await;
    let token = "t".repeat(4000);
    server.add_user(&token, User::named("long"));
    let client = connect::unverified();
    let login = Request::post(format!("{}/clusters/main/set-token", headlamp.url()))
        .body(body::full(json!({"token": token}).to_string()))
        .expect("valid");
    let response = client.request(login).await.expect("it answers");
    let set: Vec<&str> = response
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().expect("ASCII"))
        .collect();
    assert_eq!(set.len(), 2);
    assert!(set[1].starts_with("headlamp-auth-main.1=tttt"));
    assert!(set[0].ends_with("; Path=/clusters/main; Max-Age=86400; HttpOnly; SameSite=Strict"));
    let sent: Vec<&str> = set
        .iter()
        .filter_map(|cookie| cookie.split(';').next())
        .collect();
    assert_eq!(sent.join("; "), cookie_header("main", &token));
    let request = Request::get(format!(
        "{}/clusters/main/api/v1/namespaces?limit=1",
        headlamp.url()
    ))
    .header("cookie", format!("other=1; {}", sent.join("; ")))
    .header("authorization", "Bearer of-the-client")
    .header("x-forwarded-for", "10.1.1.1")
    .body(body::empty())
    .expect("valid");
    let response = client.request(request).await.expect("it answers");
    assert_eq!(
        response.status(),
        StatusCode::FORBIDDEN,
        "known, but without a right"
    );
    let seen = server.requests().pop().expect("a request");
    assert_eq!(
        (seen.user.as_str(), seen.uri.as_str()),
        ("long", "/api/v1/namespaces?limit=1")
    );
    assert_eq!(seen.version, http::Version::HTTP_2);
    assert!(
        seen.headers["cookie"]
            .to_str()
            .expect("ASCII")
            .starts_with("other=1; headlamp-auth")
    );
    assert_eq!(seen.headers["x-forwarded-for"], "10.1.1.1, 127.0.0.1");
    assert_eq!(seen.headers["user-agent"], "Headlamp unknown (linux/amd64)");
    let host = server.address().to_string();
    assert_eq!(seen.headers["x-forwarded-host"], host.as_str());
}

#[tokio::test]
async fn web_sockets_pass_with_the_cookie_s_user_and_without_headlamp_s_own_protocols() {
    let (server, headlamp) = pair().await;
    let request = Request::get(format!(
        "{}/clusters/main/api/v1/namespaces/default/pods/p/exec?command=a&command=b",
        headlamp.url()
    ))
    .header("cookie", cookie_header("main", server.admin_token()))
    .header("connection", "Upgrade")
    .header("upgrade", "websocket")
    .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    .header(
        "sec-websocket-protocol",
        "base64url.bearer.authorization.k8s.io.eA, v5.channel.k8s.io",
    )
    .body(body::empty())
    .expect("valid");
    let client = connect::unverified();
    let mut response = client.request(request).await.expect("it answers");
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers();
    assert_eq!(headers["sec-websocket-protocol"], "v5.channel.k8s.io");
    assert_eq!(
        headers["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    let upgraded = hyper::upgrade::on(&mut response).await.expect("upgraded");
    let mut stream = TokioIo::new(upgraded);
    stream.write_all(b"ping").await.expect("open");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.expect("an echo");
    assert_eq!(&answer, b"ping");
    let seen = server.requests().pop().expect("a request");
    assert_eq!(seen.user, "kubernetes-admin");
    assert_eq!(seen.version, http::Version::HTTP_11);
    assert!(seen.uri.ends_with("exec?command=a&command=b"));
}

#[tokio::test]
async fn odd_paths_are_redirected_and_unreachable_servers_are_502_without_a_body() {
    let (server, headlamp) = pair().await;
    let client = connect::unverified();
    let get = async |path: &str| {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}{path}", headlamp.url()))
            .body(body::empty())
            .expect("valid");
        client.request(request).await.expect("it answers")
    };
    let response = get("/clusters/main/api//v1/x?a=b").await;
    assert_eq!(response.status(), StatusCode::MOVED_PERMANENTLY);
    assert_eq!(
        response.headers()["location"],
        "/clusters/main/api/v1/x?a=b"
    );
    assert_eq!(
        get("/clusters/other/api").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(get("/clusters/main/version").await.status(), StatusCode::OK);
    server.stop().await;
    let response = get("/clusters/main/version").await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let bytes = body::read(response.into_body(), 100).await.expect("a body");
    assert!(bytes.is_empty());
}
