use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use serde_json::json;
use standins::kubernetes::{ApiServer, Options};
use standins::prometheus::Recorder;

use crate::world::administrator::ADMIN;
use crate::world::api::Http;
use crate::world::cluster::URL;
use crate::world::headlamp::Headlamp;
use crate::world::pods::Pod;
use crate::world::{SOON, World, programs, proved, run, until};

/// Paths that somebody on the way may decode, clean, or refuse.
const PATHS: [&str; 20] = [
    "/api/v1/query?query=up",
    "/api/v1/query?query=a%20b+c&query=%7Bx%3D%22y%22%7D&b=1;c=2",
    "/api/v1/label/a%20b/values",
    "/a%2Fb",
    "/a%2fb?x=%2f",
    "/a/%2e%2e/b",
    "/a/../b?x=1",
    "/../a",
    "/a/./b",
    "//a",
    "/a//b",
    "/a/",
    "/%61",
    "/a;b",
    "/a%3Fb",
    "/a%23b",
    "/a%25b",
    "/a+b",
    "/\u{e4}",
    "/",
];

/// Headers that matter to the proxy, as a browser and others send them.
const HEADERS: [(&str, &str); 14] = [
    ("cookie", "headlamp-auth-main.0=abc; other=1"),
    ("x-remote-user", "admin"),
    ("x-remote-group", "system:masters"),
    ("x-forwarded-for", "192.0.2.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "headlamp.example.com"),
    ("x-forwarded-user", "somebody"),
    ("x-scope-orgid", "1"),
    ("origin", "https://headlamp.example.com"),
    ("referer", "https://headlamp.example.com/c/main"),
    ("accept", "application/json"),
    ("accept-language", "de"),
    ("user-agent", "browser"),
    ("range", "bytes=0-1"),
];

/// What one program makes of a request: what was answered, and what came out at the other side.
#[derive(Debug, PartialEq)]
struct Passed {
    status: u16,
    location: Option<String>,
    method: Option<Method>,
    target: Option<String>,
    headers: Vec<(String, String)>,
}

/// Sends every path, with and without headers.
async fn pass(http: &Http, base: &str, bearer: Option<&str>, recorder: &Recorder) -> Vec<Passed> {
    let mut all = Vec::new();
    for path in PATHS {
        for headers in [&HEADERS[..], &[]] {
            recorder.forget();
            let mut request = Request::get(format!("{base}{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = bearer {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let Ok(request) = request.body(Full::<Bytes>::default()) else {
                continue;
            };
            let answer = http.request(request).await.expect("an answer");
            let location = answer.headers.get("location");
            let seen = recorder.requests().into_iter().next();
            all.push(Passed {
                status: answer.status.as_u16(),
                location: location.map(|value| value.to_str().expect("text").to_owned()),
                method: seen.as_ref().map(|seen| seen.method.clone()),
                target: seen.as_ref().map(|seen| seen.uri.clone()),
                headers: seen.map(|seen| sorted(&seen.headers)).unwrap_or_default(),
            });
        }
    }
    all
}

/// All headers but those that name a port, which differ by nature.
fn sorted(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut all: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .filter(|(name, _)| !["host", "x-forwarded-host"].contains(&name.as_str()))
        // Ids of the request, new for each.
        .filter(|(name, _)| name != "audit-id")
        .collect();
    all.sort();
    all
}

fn differences(real: &[Passed], stand_in: &[Passed]) -> Vec<String> {
    assert_eq!(real.len(), stand_in.len());
    let pairs = real.iter().zip(stand_in);
    pairs
        .filter(|(real, stand_in)| real != stand_in)
        .map(|(real, stand_in)| format!("real:     {real:?}\nstand-in: {stand_in:?}\n"))
        .collect()
}

async fn recorder(world: &World) -> Recorder {
    let recorder = Recorder::start(&world.prometheus.url()).await;
    recorder.expect("a recorder")
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn the_api_servers_stand_in_passes_to_services_what_the_api_server_passes() {
    run(async |world| {
        let cluster = &world.cluster;
        let behind_real = recorder(world).await;
        let address = behind_real.address();
        let pod = Pod::start_as(cluster, "echo", "echo-0", "10.77.0.30", address).await;
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "echo" },
            "spec": {
                "selector": { "app.kubernetes.io/name": "echo" },
                "ports": [{ "port": 9090, "protocol": "TCP", "targetPort": "web" }],
            },
        });
        let services = "/api/v1/namespaces/monitoring/services";
        cluster.create(services, &service).await;
        let proxy = format!("{services}/echo:9090/proxy");
        until("the service has its pod", SOON, async || {
            let answer = cluster
                .as_user(ADMIN, Method::GET, &format!("{proxy}/-/ready"))
                .await;
            answer.status.is_success()
        })
        .await;
        let base = format!("{URL}{proxy}");
        let real = pass(&cluster.http, &base, Some(ADMIN), &behind_real).await;

        let behind_stand_in = recorder(world).await;
        let api = ApiServer::start(Options::default())
            .await
            .expect("it starts");
        api.create_namespace("monitoring", &[]);
        api.create_service_at("monitoring", "echo", &[], 9090, behind_stand_in.address());
        let http = Http::new(api.ca_pem());
        let base = format!("{}{proxy}", api.url());
        let token = api.admin_token().to_owned();
        let stand_in = pass(&http, &base, Some(&token), &behind_stand_in).await;

        let differences = differences(&real, &stand_in);
        assert!(
            differences.is_empty(),
            "{} of {}:\n{}",
            differences.len(),
            real.len(),
            differences.join("\n")
        );
        cluster.delete(&format!("{services}/echo")).await;
        pod.delete(cluster).await;
        proved(format!(
            "of {} requests with odd paths and headers the API server and its stand-in make the same",
            real.len()
        ));
    });
}

/// Logs in with a long token and then with a short one: the status, the cookies, and the body of each.
async fn logins(world: &World, url: &str) -> Vec<(u16, Vec<String>, String)> {
    let url = format!("{url}/clusters/main/set-token");
    let mut cookies = String::new();
    let mut all = Vec::new();
    for token in ["long".repeat(3000), "short".to_owned(), String::new()] {
        let body = json!({ "cluster": "main", "token": token }).to_string();
        let request = Request::post(&url)
            .header("content-type", "application/json")
            .header("cookie", &cookies)
            .body(Full::from(body))
            .expect("a request");
        let answer = world
            .cluster
            .http
            .request(request)
            .await
            .expect("an answer");
        let set = answer.headers.get_all("set-cookie").iter();
        let mut set: Vec<_> = set
            .map(|cookie| cookie.to_str().expect("text").to_owned())
            .collect();
        let sent = set.iter().filter_map(|cookie| cookie.split(';').next());
        cookies = sent.collect::<Vec<_>>().join("; ");
        for cookie in &mut set {
            *cookie = cookie.replace("long", "");
        }
        set.sort();
        all.push((answer.status.as_u16(), set, answer.text().to_owned()));
    }
    all
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn headlamps_stand_in_passes_to_the_api_server_what_headlamp_passes() {
    run(async |world| {
        // No package registry has Headlamp: whoever has it asks for this.
        if programs::headlamp().is_none() {
            println!("\n  not asked for: HEADLAMP_BINARY is not set");
            return;
        }
        let (behind_real, behind_stand_in) = (recorder(world).await, recorder(world).await);
        let api_url = |recorder: &Recorder| format!("http://{}", recorder.address());
        let headlamp = Headlamp::start(&world.cluster, "recorded", &api_url(&behind_real)).await;
        let options = standins::headlamp::Options::new(
            &api_url(&behind_stand_in),
            world.cluster.authority.pem(),
        );
        let stand_in = standins::headlamp::Headlamp::start(options).await;
        let stand_in = stand_in.expect("the stand-in starts");
        let http = &world.cluster.http;
        let logins = (
            logins(world, headlamp.url()).await,
            logins(world, &stand_in.url()).await,
        );
        assert_eq!(logins.0, logins.1);
        let base = format!("{}/clusters/main", headlamp.url());
        let real = pass(http, &base, None, &behind_real).await;
        let base = format!("{}/clusters/main", stand_in.url());
        let stand_in = pass(http, &base, None, &behind_stand_in).await;
        let differences = differences(&real, &stand_in);
        assert!(
            differences.is_empty(),
            "{} of {}:\n{}",
            differences.len(),
            real.len(),
            differences.join("\n")
        );
        proved(format!(
            "of {} requests with odd paths and headers Headlamp and its stand-in make the same",
            real.len()
        ));
    });
}
