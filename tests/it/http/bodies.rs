//! Bodies of requests: large, compressed, endless, or nobody's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::cluster::{Cluster, TEAM_A};
use support::run;

/// Sends a head and then `piece` over and over, until the other side answers, closes, or 64 MB went out. The
/// answer, how many bytes went out, and whether it was closed after that.
async fn pour(address: SocketAddr, head: &str, piece: &[u8]) -> (String, usize, bool) {
    const MOST: usize = 64 << 20;
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut read, mut write) = stream.into_split();
    write.write_all(head.as_bytes()).await.expect("written");
    let mut sent = 0;
    let pouring = async {
        while sent < MOST && !piece.is_empty() {
            if write.write_all(piece).await.is_err() {
                break;
            }
            sent += piece.len();
        }
        std::future::pending::<()>().await;
    };
    let mut answer = vec![0; 4096];
    let reading = tokio::time::timeout(Duration::from_secs(10), read.read(&mut answer));
    let length = tokio::select! {
        () = pouring => 0,
        read = reading => read.expect("an answer in time").unwrap_or(0),
    };
    answer.truncate(length);
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), read.read_to_end(&mut rest));
    let closed = closed.await.is_ok();
    (String::from_utf8_lossy(&answer).into_owned(), sent, closed)
}

fn head(token: &str, more: &str) -> String {
    format!(
        "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{more}\r\n\r\n"
    )
}

#[test]
fn h10_e05_a_body_past_the_limit_is_a_413_that_is_not_read_to_its_end() {
    run(async {
        let cluster = Cluster::start().await;
        let address = cluster.proxy.service();
        let gigabyte = head(TEAM_A, "Content-Length: 1000000000");
        let (answer, sent, closed) = pour(address, &gigabyte, &[b'a'; 65536]).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(closed && sent < 32 << 20, "{sent} {closed}");
        let endless = head(TEAM_A, "Transfer-Encoding: chunked");
        let piece = format!("10000\r\n{}\r\n", "a".repeat(65536));
        let (answer, sent, closed) = pour(address, &endless, piece.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(closed && sent < 32 << 20, "{sent} {closed}");
        let peak = cluster.proxy.memory_kib("VmHWM");
        assert!(peak < 60 * 1024, "{peak} KiB");
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn h10_a_compressed_body_is_a_415_and_never_unfolded() {
    run(async {
        let cluster = Cluster::start().await;
        for encoding in [
            "gzip",
            "GZIP",
            "deflate",
            "br",
            "zstd",
            "snappy",
            "identity",
            "gzip, gzip",
            "",
        ] {
            let head = head(
                TEAM_A,
                &format!("Content-Encoding: {encoding}\r\nContent-Length: 8"),
            );
            let answer = support::client::raw(
                cluster.proxy.service(),
                format!("{head}query=up").as_bytes(),
            )
            .await;
            assert!(answer.starts_with("HTTP/1.1 415"), "{encoding}: {answer}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn h10_a_body_that_is_announced_and_does_not_come_is_not_waited_for_long() {
    run(async {
        let cluster = Cluster::with(&[("LIMITS__HEADER_TIMEOUT", "500ms")]).await;
        for more in [
            "Content-Length: 8\r\nExpect: 100-continue",
            "Content-Length: 8",
            "Transfer-Encoding: chunked",
        ] {
            let begun = Instant::now();
            let (answer, ..) = pour(cluster.proxy.service(), &head(TEAM_A, more), &[]).await;
            let continued = answer.starts_with("HTTP/1.1 100 Continue\r\n\r\n");
            assert!(
                continued || answer.starts_with("HTTP/1.1 408"),
                "{more}: {answer}"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(4),
                "{more}: {:?}",
                begun.elapsed()
            );
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn h11_without_a_token_no_body_is_read() {
    run(async {
        let cluster = Cluster::start().await;
        let anonymous = "POST /api/v1/query HTTP/1.1\r\nHost: x\r\n\
            Content-Type: application/x-www-form-urlencoded\r\n";
        for (more, piece) in [
            ("Content-Length: 1000000000", vec![b'a'; 65536]),
            (
                "Transfer-Encoding: chunked",
                format!("10000\r\n{}\r\n", "a".repeat(65536)).into_bytes(),
            ),
            // Nobody is asked to send what nobody will read.
            (
                "Content-Length: 1000000000\r\nExpect: 100-continue",
                Vec::new(),
            ),
        ] {
            let head = format!("{anonymous}{more}\r\n\r\n");
            let (answer, sent, closed) = pour(cluster.proxy.service(), &head, &piece).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{more}: {answer}");
            assert!(closed && sent < 32 << 20, "{more}: {sent} {closed}");
        }
        assert!(cluster.proxy.memory_kib("VmHWM") < 60 * 1024);
    });
}

#[test]
fn h06_malformed_chunks_are_a_400_that_says_so() {
    run(async {
        let cluster = Cluster::start().await;
        let head = head(TEAM_A, "Transfer-Encoding: chunked");
        for body in [
            "zz\r\nquery=up\r\n0\r\n\r\n",
            "8\r\nquery=upp\r\n0\r\n\r\n",
            "-8\r\nquery=up\r\n0\r\n\r\n",
            "8\nquery=up\n0\n\n",
            " 8\r\nquery=up\r\n0\r\n\r\n",
            "fffffffffffffffffff\r\nquery=up",
            "8\r\nquery=up\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(cluster.proxy.service())
                .await
                .expect("connected");
            let request = format!("{head}{body}");
            stream.write_all(request.as_bytes()).await.expect("written");
            let mut answer = String::new();
            let reading = stream.read_to_string(&mut answer);
            let read = tokio::time::timeout(Duration::from_secs(10), reading).await;
            assert!(read.is_ok(), "{body:?}: closed after the answer");
            assert!(answer.starts_with("HTTP/1.1 400"), "{body:?}: {answer}");
            assert!(
                answer.contains("the body is malformed"),
                "{body:?}: {answer}"
            );
            // Nothing that follows is taken for a request.
            assert_eq!(
                answer.matches("HTTP/1.1 400 ").count(),
                1,
                "{body:?}: {answer}"
            );
            assert!(!answer.contains("HTTP/1.1 2"), "{body:?}: {answer}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}
