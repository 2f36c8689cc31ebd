//! Where one request ends and the next begins.

use support::client::{query, raw};
use support::cluster::{Cluster, TEAM_A};
use support::run;

/// A request that must never be seen upstream: it stands where a body, or nothing, should be.
fn hidden() -> String {
    format!(
        "GET /api/v1/query?query=hidden HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\n\r\n"
    )
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{headers}\r\n\r\n{body}"
    )
}

/// Sends a request with the hidden one behind it; how many answers came, the first one's status, and whether
/// the connection was closed.
async fn smuggle(cluster: &Cluster, what: &str, request: String) -> Option<u16> {
    let answer = raw(cluster.proxy.service(), request.as_bytes()).await;
    let hidden = cluster.forwarded().iter().any(|seen| {
        seen.uri.contains("hidden") || String::from_utf8_lossy(&seen.body).contains("hidden")
    });
    assert!(
        !hidden,
        "{what}: the hidden request was sent upstream\n{answer}"
    );
    let answers = answer.matches("HTTP/1.1 ").count();
    assert!(answers <= 1, "{what}: {answers} answers\n{answer}");
    answer.get(9..12).and_then(|status| status.parse().ok())
}

#[test]
fn h04_a_length_beside_chunks_is_one_request_and_the_connections_last() {
    run(async {
        let cluster = Cluster::start().await;
        let form = "query=secret";
        let chunked = format!("{:x}\r\n{form}\r\n0\r\n\r\n{}", form.len(), hidden());
        for headers in [
            "Content-Length: 7\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 7",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "Content-Length: 500\r\nTransfer-Encoding: chunked",
        ] {
            let status = smuggle(&cluster, headers, post(headers, &chunked)).await;
            assert!(matches!(status, Some(200 | 400)), "{headers}: {status:?}");
        }
        let empty = format!("0\r\n\r\n{}", hidden());
        let headers = "Content-Length: 5\r\nTransfer-Encoding: chunked";
        smuggle(&cluster, "no chunk", post(headers, &empty)).await;
    });
}

#[test]
fn h05_lengths_that_can_be_read_in_two_ways_are_a_400() {
    run(async {
        let cluster = Cluster::start().await;
        let behind = format!("query=u{}", hidden());
        for length in [
            "Content-Length: 7\r\nContent-Length: 8",
            "Content-Length: 7, 8",
            "Content-Length: +7",
            "Content-Length: 0x7",
            "Content-Length: -1",
            "Content-Length: 7 7",
            "Content-Length: ",
            "Content-Length: 99999999999999999999999",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding : chunked",
            "Content-Length : 7",
        ] {
            let status = smuggle(&cluster, length, post(length, &behind)).await;
            assert_eq!(status, Some(400), "{length}");
        }
        for chunks in [
            // Sizes that overflow, that are none, or that only one kind of parser takes.
            format!("ffffffffffffffff1\r\nquery=u{}", hidden()),
            format!("+7\r\nquery=u\r\n0\r\n\r\n{}", hidden()),
            format!("0x7\r\nquery=u\r\n0\r\n\r\n{}", hidden()),
            format!("-1\r\nquery=u\r\n0\r\n\r\n{}", hidden()),
            format!("7\nquery=u\n0\n\n{}", hidden()),
            format!(
                "7;{}\r\nquery=u\r\n0\r\n\r\n{}",
                "x".repeat(1 << 20),
                hidden()
            ),
            format!("7\r\nquery=uXX0\r\n\r\n{}", hidden()),
        ] {
            let shown: String = chunks.chars().take(20).collect();
            let status = smuggle(
                &cluster,
                &shown,
                post("Transfer-Encoding: chunked", &chunks),
            )
            .await;
            assert!(
                matches!(status, Some(400 | 408 | 413) | None),
                "{shown:?}: {status:?}"
            );
        }
    });
}

#[test]
fn h05_a_body_where_none_belongs_hides_no_request() {
    run(async {
        let cluster = Cluster::start().await;
        let hidden = hidden();
        let get = |version: &str, headers: &str, body: &str| {
            format!(
                "GET {} HTTP/{version}\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\n{headers}\r\n\r\n{body}",
                query("secret")
            )
        };
        let length = format!("Content-Length: {}", hidden.len());
        let status = smuggle(&cluster, "GET with a length", get("1.1", &length, &hidden)).await;
        assert_eq!(status, Some(400));
        let chunks = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        let chunked = "Transfer-Encoding: chunked";
        let status = smuggle(&cluster, "GET with chunks", get("1.1", chunked, &chunks)).await;
        assert_eq!(status, Some(400));
        let status = smuggle(&cluster, "chunks in 1.0", get("1.0", chunked, &chunks)).await;
        assert!(matches!(status, Some(400 | 200)), "{status:?}");
    });
}

#[test]
fn h06_odd_lines_and_hosts_are_a_400_or_without_effect() {
    run(async {
        let cluster = Cluster::start().await;
        let token = format!("Authorization: Bearer {TEAM_A}");
        let line = format!("GET {} HTTP/1.1", query("secret"));
        for (what, request) in [
            ("no Host", format!("{line}\r\n{token}\r\n\r\n")),
            (
                "two Hosts",
                format!("{line}\r\nHost: a\r\nHost: a\r\n{token}\r\n\r\n"),
            ),
            (
                "a folded line",
                format!("{line}\r\nHost: x\r\nX-A: b\r\n c\r\n{token}\r\n\r\n"),
            ),
            (
                "a NUL",
                format!("{line}\r\nHost: x\r\nX-A: b\0c\r\n{token}\r\n\r\n"),
            ),
            (
                "a CR",
                format!("{line}\r\nHost: x\r\nX-A: b\rc\r\n{token}\r\n\r\n"),
            ),
            (
                "a blank in a name",
                format!("{line}\r\nHost: x\r\nX A: b\r\n{token}\r\n\r\n"),
            ),
            (
                "no colon",
                format!("{line}\r\nHost: x\r\nXA\r\n{token}\r\n\r\n"),
            ),
        ] {
            let status = smuggle(&cluster, what, request).await;
            assert_eq!(status, Some(400), "{what}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
        // Read by some as line ends, by others not: one request here in any case.
        let bare = format!(
            "{line}\nHost: x\n{token}\nConnection: close\n\n{}",
            hidden()
        );
        let status = smuggle(&cluster, "bare LF", bare).await;
        assert!(matches!(status, Some(200 | 400)), "{status:?}");
        for host in [
            "evil.example",
            "localhost:1",
            "",
            "[::1]",
            "a b",
            "prometheus.monitoring",
        ] {
            let request = format!("{line}\r\nHost: {host}\r\n{token}\r\nConnection: close\r\n\r\n");
            let status = smuggle(&cluster, host, request).await;
            assert!(matches!(status, Some(200 | 400)), "{host:?}: {status:?}");
        }
        let upstream = cluster.upstream.url();
        for seen in cluster.some_forwarded() {
            assert_eq!(
                seen.headers["host"].to_str().ok(),
                upstream.strip_prefix("http://")
            );
        }
        let old = format!("GET {} HTTP/1.0\r\n{token}\r\n\r\n", query("secret"));
        assert_eq!(smuggle(&cluster, "1.0 without Host", old).await, Some(200));
    });
}

#[test]
fn h07_heads_past_the_limit_are_refused() {
    run(async {
        let cluster = Cluster::start().await;
        let token = format!("Authorization: Bearer {TEAM_A}");
        let line = format!("GET {} HTTP/1.1\r\nHost: x\r\n{token}", query("secret"));
        let many = (0..101).fold(line.clone(), |head, index| {
            format!("{head}\r\nX-{index}: a")
        });
        let large = format!("{line}\r\nX-A: {}", "a".repeat(300 * 1024));
        let long = format!(
            "GET {}{} HTTP/1.1\r\nHost: x\r\n{token}",
            query("secret"),
            "a".repeat(70 * 1024)
        );
        for (what, head) in [
            ("101 headers", many),
            ("300 KB", large),
            ("a URI of 70 KB", long),
        ] {
            let status = smuggle(&cluster, what, format!("{head}\r\n\r\n")).await;
            // With more on the way than is read, the answer may be lost in a reset.
            assert!(
                matches!(status, Some(431 | 414) | None),
                "{what}: {status:?}"
            );
        }
        assert_eq!(cluster.forwarded().len(), 0);
        assert!(cluster.proxy.memory_kib("VmHWM") < 60 * 1024);
        // The next one is served.
        let status = smuggle(
            &cluster,
            "usual",
            format!("{line}\r\nConnection: close\r\n\r\n"),
        )
        .await;
        assert_eq!(status, Some(200));
    });
}
