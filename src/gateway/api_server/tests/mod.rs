use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use standins::body::{self, Body as AnyBody};
use standins::tls::CertificateAuthority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

mod goaway;

const HOUR: Duration = Duration::from_secs(3600);

/// Serves HTTP on a loopback port, with TLS where there is a configuration.
async fn serve<F>(
    tls: Option<Arc<rustls::ServerConfig>>,
    connections: Arc<AtomicUsize>,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepted");
            stream.set_nodelay(true).expect("set");
            connections.fetch_add(1, Ordering::Relaxed);
            let (tls, answer) = (tls.clone(), answer.clone());
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answered.await) }
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = match tls {
                    None => {
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await
                    }
                    Some(tls) => {
                        let stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await;
                        let stream = TokioIo::new(stream.expect("TLS"));
                        builder.serve_connection(stream, service).await
                    }
                };
            });
        }
    });
    address
}

/// A server that passes everything to `server`, and a client for it.
async fn front(server: ApiServer) -> (String, Client<HttpConnector, Full<Bytes>>) {
    let connections = Arc::new(Connections::new(Arc::new(server)));
    let address = serve(None, Arc::default(), move |request| {
        let connections = connections.clone();
        async move {
            let response = connections.send(request).await;
            let response = response.unwrap_or_else(|error| error.response());
            response.map(|body| body.boxed_unsync())
        }
    })
    .await;
    let client = Client::builder(TokioExecutor::new()).build_http();
    (format!("http://{address}"), client)
}

fn plain(address: SocketAddr, path: &str) -> ApiServer {
    let url = format!("http://{address}{path}").parse().expect("a URL");
    ApiServer::new(&kube::Config::new(url)).expect("a configuration")
}

/// An API server with TLS, as a configuration names it that has credentials of its own.
async fn secure<F>(
    connections: Arc<AtomicUsize>,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> ApiServer
where
    F: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = CertificateAuthority::new("test");
    let identity = authority.issue(&["kubernetes.test"]);
    let address = serve(Some(identity.server_config()), connections, answer).await;
    configured(&authority, address)
}

/// The API server at that address, as such a configuration has it.
fn configured(authority: &CertificateAuthority, address: SocketAddr) -> ApiServer {
    let own = authority.issue(&["proxy"]);
    let file = |name: &str, content: &str| {
        let port = address.port();
        let name = format!("prom-rbac-proxy-{}-{port}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("written");
        Some(path.to_str().expect("UTF-8").to_owned())
    };
    let url = format!("https://{address}/k8s/clusters/one/");
    let mut config = kube::Config::new(url.parse().expect("a URL"));
    let authority = CertificateDer::from_pem_slice(authority.pem().as_bytes());
    config.root_cert = Some(vec![authority.expect("PEM").to_vec()]);
    config.tls_server_name = Some("kubernetes.test".to_owned());
    config.auth_info.token = Some("the-proxys-own".to_owned().into());
    config.auth_info.client_certificate = file("own.crt", &own.certificate_pem);
    config.auth_info.client_key = file("own.key", &own.key_pem);
    let server = ApiServer::new(&config).expect("a configuration");
    for file in [
        config.auth_info.client_certificate,
        config.auth_info.client_key,
    ] {
        std::fs::remove_file(file.expect("written")).expect("removed");
    }
    server
}

#[tokio::test]
async fn address_authority_and_name_are_taken_and_credentials_are_not() {
    let (seen, mut seen_by_server) = mpsc::unbounded_channel();
    let server = secure(Arc::default(), move |request: Request<Incoming>| {
        let _ = seen.send((request.uri().to_string(), request.headers().clone()));
        async { Response::new(body::empty()) }
    })
    .await;
    assert!(!server.tls.client_auth_cert_resolver.has_certs());
    let (url, client) = front(server).await;
    let target = "/api//v1/%2e%2e/pods?x=%zz&x=+";
    let answer = client.get(format!("{url}{target}").parse().expect("a URL"));
    assert!(answer.await.expect("an answer").status().is_success());
    let (uri, headers) = seen_by_server.recv().await.expect("a request");
    assert!(
        uri.ends_with(&format!("/k8s/clusters/one{target}")),
        "{uri}"
    );
    assert!(!headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_watch_may_be_silent_for_an_hour_on_either_protocol() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let kept = events.clone();
    let answer = move |_: Request<Incoming>| {
        let (sender, body) = body::channel(1);
        kept.lock().expect("not poisoned").push(sender);
        async { Response::new(body) }
    };
    let http2 = secure(Arc::default(), answer.clone()).await;
    let http1 = plain(serve(None, Arc::default(), answer).await, "");
    for server in [http1, http2] {
        let (url, client) = front(server).await;
        let answer = client.get(url.parse().expect("a URL")).await;
        let mut watch = answer.expect("an answer").into_body();
        let mut sender = events.lock().expect("not poisoned").remove(0);
        for event in ["before", "after"] {
            sender.send_data(event.into()).await.expect("sent");
            let frame = tokio::time::timeout(Duration::from_secs(10), watch.frame()).await;
            let frame = frame.expect("in time").expect("no end").expect("sound");
            assert_eq!(frame.into_data().expect("data"), event);
            tokio::time::pause();
            tokio::time::advance(HOUR).await;
            tokio::time::resume();
        }
    }
}

#[tokio::test]
async fn bodies_stream_in_both_directions_at_once() {
    let echo = |request: Request<Incoming>| {
        let body = request.into_body().map_err(Into::into).boxed_unsync();
        async { Response::new(body) }
    };
    let http2 = secure(Arc::default(), echo).await;
    let http1 = plain(serve(None, Arc::default(), echo).await, "");
    for server in [http1, http2] {
        let (url, _) = front(server).await;
        let client: Client<HttpConnector, AnyBody> =
            Client::builder(TokioExecutor::new()).build_http();
        let (mut sender, body) = body::channel(1);
        let request = Request::post(url).body(body).expect("a request");
        sender.send_data("first".into()).await.expect("sent");
        let mut answer = client
            .request(request)
            .await
            .expect("an answer")
            .into_body();
        for next in ["second", "third", ""] {
            let frame = tokio::time::timeout(Duration::from_secs(10), answer.frame()).await;
            let frame = frame.expect("in time").expect("no end").expect("sound");
            let expected = match next {
                "second" => "first",
                "third" => "second",
                _ => "third",
            };
            assert_eq!(frame.into_data().expect("data"), expected);
            if !next.is_empty() {
                sender.send_data(next.into()).await.expect("sent");
            }
        }
        drop(sender);
        assert!(answer.frame().await.is_none());
    }
}

#[tokio::test]
async fn more_streams_than_a_connection_takes_get_another_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let kept = bodies.clone();
    let server = secure(connections.clone(), move |_: Request<Incoming>| {
        let (sender, body) = body::channel(1);
        kept.lock().expect("not poisoned").push(sender);
        async { Response::new(body) }
    })
    .await;
    let (url, client) = front(server).await;
    let mut watches = Vec::new();
    for _ in 0..2 * STREAMS_PER_CONNECTION + 1 {
        watches.push(
            client
                .get(url.parse().expect("a URL"))
                .await
                .expect("an answer"),
        );
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
    bodies.lock().expect("not poisoned").clear();
    for watch in watches {
        watch.into_body().collect().await.expect("an end");
    }
    for _ in 0..2 * STREAMS_PER_CONNECTION {
        let answer = client
            .get(url.parse().expect("a URL"))
            .await
            .expect("an answer");
        bodies.lock().expect("not poisoned").clear();
        answer.into_body().collect().await.expect("an end");
    }
    assert_eq!(
        connections.load(Ordering::Relaxed),
        3,
        "places are given back"
    );
}

/// Answers one request of each connection, and closes it when the next one comes.
async fn one_answer_each() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let counted = counted.clone();
            tokio::spawn(async move {
                for answer in [&b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..], b""] {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else {
                            return;
                        };
                        head.push(byte);
                    }
                    counted.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.write_all(answer).await;
                }
            });
        }
    });
    (address, requests)
}

#[tokio::test]
async fn a_connection_that_closes_as_it_is_used_costs_a_reader_nothing_and_repeats_no_writer() {
    let (address, requests) = one_answer_each().await;
    let (url, client) = front(plain(address, "")).await;
    let send = async |method: Method| {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().expect("a URL");
        client.request(request).await.expect("an answer").status()
    };
    assert_eq!(send(Method::GET).await, 200);
    // Sent on the old connection, and again on a new one.
    assert_eq!(send(Method::GET).await, 200);
    assert_eq!(requests.load(Ordering::Relaxed), 3);
    assert_eq!(send(Method::DELETE).await, 502);
    assert_eq!(requests.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn an_api_server_that_is_not_there_is_a_bad_gateway_with_a_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let (url, client) = front(plain(address, "")).await;
    let answer = client
        .get(url.parse().expect("a URL"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 502);
    let body = answer
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let status: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        (&status["kind"], &status["reason"]),
        (&"Status".into(), &"BadGateway".into())
    );
    let message = status["message"].as_str().expect("text");
    assert!(
        message.contains("cannot reach the Kubernetes API server"),
        "{message}"
    );
}

#[test]
fn targets_that_are_no_paths_are_refused() {
    let server = plain(([127, 0, 0, 1], 1).into(), "");
    for target in ["*", "localhost:80"] {
        let uri: Uri = target.parse().expect("a target");
        assert_eq!(server.target(&uri), Err(PassError::Target), "{target}");
    }
}
