//! Answers that several callers get.

/// Each answer, byte for byte, while what it is of changes.
mod comparison;
/// One answer for all who ask the same at the same time, and for nobody else.
mod joining;
/// What is kept for those who ask a little later.
mod keeping;

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;

use support::client::{Answer, Call, encoded};
use support::cluster::Cluster;

const HOUR: u64 = 60 * 60;

/// In seconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// A query over the hour before `end`.
fn range(query: &str, end: u64, step: u64) -> String {
    let (start, end, step) = ((end - HOUR).to_string(), end.to_string(), step.to_string());
    let parameters = [
        ("start", &*start),
        ("end", &*end),
        ("step", &*step),
        ("query", query),
    ];
    format!("/api/v1/query_range?{}", encoded(&parameters))
}

/// Asks as Headlamp does, through the service door.
async fn ask(cluster: &Cluster, path: &str, token: &str) -> Answer {
    let answer = Call::get(cluster.proxy.url(path))
        .cookie(token)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer
}

fn status(answer: &Answer) -> Option<&str> {
    let status = answer.headers.get("cache-status")?;
    Some(status.to_str().expect("text"))
}

const HIT: Option<&str> = Some("prom-rbac-proxy; hit");
