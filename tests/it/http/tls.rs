//! TLS of the service listener.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use standins::kubernetes::ApiServer;
use standins::tls::{CertificateAuthority, Issued};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::client::{query, raw};
use support::cluster::{Cluster, VIEWER};
use support::proxy::Proxy;
use support::{run, scratch};

struct Served {
    _api: ApiServer,
    proxy: Proxy,
    authority: CertificateAuthority,
    files: [PathBuf; 2],
}

fn write(files: &[PathBuf; 2], issued: &Issued) {
    std::fs::write(&files[0], &issued.certificate_pem).expect("written");
    std::fs::write(&files[1], &issued.key_pem).expect("written");
}

async fn serve() -> Served {
    serve_with(&[("LIMITS__HEADER_TIMEOUT", "700ms")]).await
}

async fn serve_with(environment: &[(&str, &str)]) -> Served {
    let authority = CertificateAuthority::new("test");
    let files = [scratch("tls.crt"), scratch("tls.key")];
    write(&files, &authority.issue(&["localhost", "127.0.0.1"]));
    let [certificate, key] = files.each_ref().map(|file| file.to_str().expect("UTF-8"));
    let prometheus = support::prometheus::everything().await;
    let address = prometheus
        .url()
        .trim_start_matches("http://")
        .parse()
        .expect("an address");
    let files_of_tls = [
        ("LISTENERS__SERVICE__TLS__CERT_FILE", certificate),
        ("LISTENERS__SERVICE__TLS__KEY_FILE", key),
    ];
    let environment = [&files_of_tls, environment].concat();
    let (api, proxy) = Cluster::before(address, &environment).await;
    Served {
        _api: api,
        proxy,
        authority,
        files,
    }
}

fn roots(authority: &CertificateAuthority) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.pem().as_bytes()).flatten() {
        roots.add(certificate).expect("a certificate");
    }
    roots
}

fn config(authority: &CertificateAuthority) -> rustls::ClientConfig {
    rustls::ClientConfig::builder()
        .with_root_certificates(roots(authority))
        .with_no_client_auth()
}

/// Asks over a connection of its own. The answer, and the certificate that was shown.
async fn ask(
    address: SocketAddr,
    config: rustls::ClientConfig,
    name: &str,
    token: Option<&str>,
) -> std::io::Result<(String, Vec<u8>)> {
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut stream = connector.connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec();
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\n{token}Connection: close\r\n\r\n",
        query("secret")
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok((String::from_utf8_lossy(&answer).into_owned(), shown))
}

#[test]
fn h28_tls_is_1_2_or_1_3_without_early_data_and_with_any_name() {
    run(async {
        let served = serve().await;
        let address = served.proxy.service();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let config = rustls::ClientConfig::builder_with_protocol_versions(&[version])
                .with_root_certificates(roots(&served.authority))
                .with_no_client_auth();
            let (answer, _) = ask(address, config, "localhost", Some(VIEWER))
                .await
                .expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200"), "{version:?}: {answer}");
        }
        // An address in place of a name sends no SNI.
        let (answer, _) = ask(
            address,
            config(&served.authority),
            "127.0.0.1",
            Some(VIEWER),
        )
        .await
        .expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let mut early = config(&served.authority);
        early.enable_early_data = true;
        for _ in 0..2 {
            let answer = ask(address, early.clone(), "localhost", Some(VIEWER)).await;
            assert!(answer.expect("an answer").0.starts_with("HTTP/1.1 200"));
        }
        let name = ServerName::try_from("localhost").expect("a name");
        let mut resuming =
            rustls::ClientConnection::new(Arc::new(early), name).expect("a connection");
        assert!(
            resuming.early_data().is_none(),
            "the server's ticket allows early data"
        );
        // A ClientHello of TLS 1.1, with a suite that both know.
        let mut hello = vec![3, 2];
        hello.extend([7; 32]);
        hello.extend([0, 0, 4, 0xc0, 0x13, 0xc0, 0x2f, 1, 0]);
        let length = |bytes: usize| u16::try_from(bytes).expect("short").to_be_bytes();
        let mut record = vec![22, 3, 1];
        record.extend(length(hello.len() + 4));
        record.extend([1, 0]);
        record.extend(length(hello.len()));
        record.extend(&hello);
        let answer = raw(address, &record).await;
        // An alert (21), not a ServerHello (22).
        assert!(!answer.starts_with('\u{16}'), "{answer:?}");
        let plain = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {VIEWER}\r\n\r\n",
            query("secret")
        );
        let answer = raw(address, plain.as_bytes()).await;
        assert!(
            !answer.contains("HTTP/1.1 200") && !answer.contains("42"),
            "{answer:?}"
        );
    });
}

#[test]
fn h28_a_handshake_that_does_not_come_is_not_waited_for_long() {
    run(async {
        let served = serve().await;
        for start in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
            let mut stream = TcpStream::connect(served.proxy.service())
                .await
                .expect("connected");
            stream.write_all(start).await.expect("written");
            let begun = Instant::now();
            let mut rest = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
            let _ = end.await.expect("closed in time");
            assert!(
                begun.elapsed() < Duration::from_secs(3),
                "{:?}",
                begun.elapsed()
            );
        }
    });
}

/// In seconds since 1970.
const END_OF_2039: f64 = 2_208_988_800.0;

#[test]
fn h28_another_certificate_is_shown_without_a_restart() {
    run(async {
        let served = serve().await;
        let address = served.proxy.service();
        let shown = async || {
            ask(address, config(&served.authority), "localhost", None)
                .await
                .expect("an answer")
                .1
        };
        let before = shown().await;
        let expiry = "prom_rbac_proxy_certificate_expiry_timestamp_seconds{listener=\"service\"}";
        assert!(served.proxy.metric(expiry).await > END_OF_2039);
        let names = ["localhost", "127.0.0.1"];
        write(&served.files, &served.authority.issue_until(&names, 2040));
        let begun = Instant::now();
        while shown().await == before {
            assert!(begun.elapsed() < Duration::from_secs(15), "not reloaded");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(served.proxy.metric(expiry).await, END_OF_2039);
    });
}

#[test]
fn t25_a_client_certificate_is_no_token() {
    run(async {
        let served = serve().await;
        let issued = served.authority.issue(&["system:admin"]);
        let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("a key");
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots(&served.authority))
            .with_client_auth_cert(chain.flatten().collect(), key)
            .expect("a certificate");
        let (answer, _) = ask(served.proxy.service(), config, "localhost", None)
            .await
            .expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    });
}

#[test]
fn h29_plain_http_beyond_this_machine_is_warned_of() {
    let check = |address: &str| {
        let file = scratch("plain.yaml");
        let text = format!(
            "listeners: {{ service: {{ address: \"{address}\" }} }}\nupstreams: [{{ name: a, url: \"http://127.0.0.1:9\" }}]\n"
        );
        std::fs::write(&file, text).expect("written");
        let output = std::process::Command::new(support::files::binary())
            .args(["check", "--config"])
            .arg(&file)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        [output.stdout, output.stderr].concat()
    };
    let warns = |output: Vec<u8>| String::from_utf8_lossy(&output).contains("plain HTTP");
    assert!(warns(check("0.0.0.0:9090")));
    assert!(!warns(check("127.0.0.1:9090")));
}

#[test]
fn h32_silence_before_or_within_the_handshake_does_not_hold_up_the_end() {
    run(async {
        let served = serve_with(&[]).await;
        let address = served.proxy.service();
        let silent = TcpStream::connect(address).await.expect("connected");
        let mut begun = TcpStream::connect(address).await.expect("connected");
        // The head of a record with a ClientHello that does not follow.
        begun
            .write_all(&[22, 3, 1, 2, 0, 1])
            .await
            .expect("written");
        // Answered, and so surely accepted after the other two.
        let answer = ask(address, config(&served.authority), "localhost", None).await;
        assert!(answer.expect("an answer").0.starts_with("HTTP/1.1 401"));
        let asked = Instant::now();
        served.proxy.signal("TERM");
        assert!(served.proxy.ended().await.success());
        // 2 s of notice, 2 s of draining; the machine may be busy.
        assert!(
            asked.elapsed() < Duration::from_secs(15),
            "{:?}",
            asked.elapsed()
        );
        let log = served.proxy.log();
        let drained = log.lines().find(|line| line.contains("\"drained\""));
        let drained = drained.expect("a line on the end");
        assert!(drained.contains("\"complete\":true"), "{drained}");
        drop((silent, begun));
    });
}
