//! This machine's clock compared with the API server's.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Request, header};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::cluster::goaway::again_if_unprocessed;
use crate::doctor::finding::{Code, Finding, Severity};

/// The difference that is ignored: the header has whole seconds, and an answer takes its time.
const TOLERATED: f64 = 5.0;

/// How many seconds the API server's clock is ahead of ours; negative: behind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ahead(f64);

/// Asks the API server for its time. `None` if it does not say.
pub(super) async fn ahead(client: &kube::Client) -> Option<Ahead> {
    let request = || {
        let request = Request::get("/version").body(kube::client::Body::empty());
        client.send(request.expect("a request"))
    };
    let before = SystemTime::now();
    let answer = again_if_unprocessed(request).await.ok()?;
    let took = before.elapsed().ok()?;
    between(answer.headers(), before + took / 2)
}

fn between(headers: &HeaderMap, ours: SystemTime) -> Option<Ahead> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = DateTimeParser::new().parse_timestamp(date).ok()?;
    let ours = Timestamp::try_from(ours).ok()?;
    // The second has begun at some time before.
    let theirs = theirs + Duration::from_millis(500);
    Some(Ahead(theirs.duration_since(ours).as_secs_f64()))
}

/// Judges the difference.
pub(super) fn examine(ahead: Option<Ahead>) -> Option<Finding> {
    let Ahead(seconds) = ahead?;
    let which = if seconds > 0.0 { "behind" } else { "ahead of" };
    (seconds.abs() > TOLERATED).then(|| {
        Finding::new(
            Code::InstallClockSkew,
            Severity::Warning,
            "the clock of this machine".to_owned(),
            format!(
                "it is {} {which} the API server's: where the proxy runs, certificates count too early or too late, and \
                 charts end in another now; tokens are judged by the API server's",
                describe(seconds.abs())
            ),
            "synchronise both with the same time servers".to_owned(),
        )
    })
}

fn describe(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_from_another_by_more_than_some_seconds() {
        let mut headers = HeaderMap::new();
        assert_eq!(between(&headers, SystemTime::UNIX_EPOCH), None);
        let date = "Sun, 06 Nov 1994 08:49:37 GMT".parse().expect("a header");
        headers.insert(header::DATE, date);
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let judged = |ours: SystemTime| {
            let finding = examine(between(&headers, ours));
            finding.map(|finding| finding.what)
        };
        assert_eq!(judged(then), None);
        assert_eq!(judged(then + Duration::from_secs(5)), None);
        let what = judged(then - Duration::from_secs(90)).expect("a finding");
        assert!(
            what.starts_with("it is 90 s behind") || what.starts_with("it is 91 s behind"),
            "{what}"
        );
        let what = judged(then + Duration::from_secs(90)).expect("a finding");
        assert!(what.contains(" s ahead of "), "{what}");
    }
}
