//! TLS on both sides: callers who reach the proxy by HTTPS, and a Prometheus that wants HTTPS, a client
//! certificate, a token and a header.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use standins::tls::{CertificateAuthority, Issued};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use support::client::{Call, query};
use support::cluster::{VIEWER, api_server};
use support::proxy::{Proxy, configuration};
use support::{prometheus, run, scratch};

fn write(name: &str, content: &str) -> PathBuf {
    let path = scratch(name);
    std::fs::write(&path, content).expect("written");
    path
}

fn pair(issued: &Issued) -> (PathBuf, PathBuf) {
    (
        write("cert.pem", &issued.certificate_pem),
        write("key.pem", &issued.key_pem),
    )
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("PEM")
}

fn roots(authority: &CertificateAuthority) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(certificates(authority.pem()));
    roots
}

#[test]
fn callers_reach_the_proxy_by_tls_with_either_version_of_http() {
    run(async {
        let authority = CertificateAuthority::new("callers");
        let (cert, key) = pair(&authority.issue(&["localhost", "127.0.0.1"]));
        let (_api, kubeconfig) = api_server().await;
        let proxy = Proxy::start(
            &configuration(&kubeconfig, &prometheus::everything().await.url()),
            &[
                (
                    "LISTENERS__SERVICE__TLS__CERT_FILE",
                    cert.to_str().expect("UTF-8"),
                ),
                (
                    "LISTENERS__SERVICE__TLS__KEY_FILE",
                    key.to_str().expect("UTF-8"),
                ),
            ],
        );
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots(&authority))
            .with_no_client_auth();
        let connector = || {
            hyper_rustls::HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_only()
        };
        for (connector, version) in [
            (connector().enable_http1().build(), Version::HTTP_11),
            (connector().enable_http2().build(), Version::HTTP_2),
        ] {
            let client = Client::builder(TokioExecutor::new()).build(connector);
            let url = format!(
                "https://localhost:{}{}",
                proxy.service().port(),
                query("up")
            );
            let request = Request::get(url).header("authorization", format!("Bearer {VIEWER}"));
            let request = request.body(Full::<Bytes>::default()).expect("a request");
            let answer = client.request(request).await.expect("an answer");
            assert_eq!(
                (answer.status(), answer.version()),
                (StatusCode::OK, version)
            );
            answer
                .into_body()
                .collect()
                .await
                .expect("the whole answer");
        }
        let plain = Call::get(proxy.url(&query("up")))
            .bearer(VIEWER)
            .try_send()
            .await;
        assert!(plain.is_err(), "no plain HTTP where TLS is configured");
    });
}

/// A Prometheus behind TLS that takes nobody without a certificate of `authority`. Answers every request
/// with an empty vector and gives its head to the receiver.
async fn upstream(
    authority: &CertificateAuthority,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let issued = authority.issue(&["prometheus.test"]);
    let verifier =
        rustls::server::WebPkiClientVerifier::builder(Arc::new(roots(authority))).build();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier.expect("a verifier"))
        .with_single_cert(
            certificates(&issued.certificate_pem),
            PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("a key"),
        )
        .expect("they fit");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let (heads, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let body = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = heads.send(String::from_utf8_lossy(&head).into_owned());
        }
    });
    (address, received)
}

#[test]
fn an_upstream_gets_its_certificate_token_and_headers() {
    run(async {
        let authority = CertificateAuthority::new("upstream");
        let (address, mut heads) = upstream(&authority).await;
        let (cert, key) = pair(&authority.issue(&["proxy"]));
        let ca = write("ca.pem", authority.pem());
        let token = write("token", "upstream-token\n");
        let (_api, kubeconfig) = api_server().await;
        let configuration = configuration(&kubeconfig, &format!("https://{address}/base"));
        let paths = [&ca, &cert, &key, &token].map(|path| path.to_str().expect("UTF-8").to_owned());
        let [ca, cert, key, token] = paths.each_ref().map(String::as_str);
        let settings = [
            ("UPSTREAMS__0__TLS__CA_FILE", ca),
            ("UPSTREAMS__0__TLS__CERT_FILE", cert),
            ("UPSTREAMS__0__TLS__KEY_FILE", key),
            ("UPSTREAMS__0__TLS__SERVER_NAME", "prometheus.test"),
            ("UPSTREAMS__0__BEARER_TOKEN_FILE", token),
            ("UPSTREAMS__0__HEADERS", "{ X-Scope-OrgID: tenant }"),
        ];
        let proxy = Proxy::start(&configuration, &settings);
        let answer = Call::get(proxy.url(&query("up")))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let head = loop {
            let head = heads.recv().await.expect("a request");
            if head.contains("/api/v1/query") {
                break head.to_lowercase();
            }
        };
        assert!(
            head.starts_with("get /base/api/v1/query?query=up&"),
            "{head}"
        );
        assert!(
            head.contains("authorization: bearer upstream-token\r\n"),
            "{head}"
        );
        assert!(head.contains("x-scope-orgid: tenant\r\n"), "{head}");
        assert!(!head.contains(VIEWER), "{head}");

        // Without the certificate there is no connection, and a clear answer.
        let without: Vec<_> = settings
            .into_iter()
            .filter(|(key, _)| !key.contains("TLS__CERT") && !key.contains("TLS__KEY"))
            .collect();
        let proxy = Proxy::start(&configuration, &without);
        let answer = Call::get(proxy.url(&query("up")))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(
            answer.message().contains("Prometheus"),
            "{}",
            answer.message()
        );
    });
}
