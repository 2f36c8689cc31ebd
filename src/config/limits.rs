//! How much one caller, and all together, may ask for.

use std::time::Duration;

use super::fault::wrong;
use super::section::Section;
use super::{DAY, HOUR, MILLISECOND};

/// Bounds of requests and connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest PromQL text in bytes. Default 32,768.
    pub max_query_bytes: usize,
    /// Most `match[]` in one request, at least 1. Default 256.
    pub max_selectors: usize,
    /// Longest request body in bytes; at least `max_query_bytes`. Default 1,048,576.
    pub max_body_bytes: usize,
    /// Most namespaces that one request may name, at least 1. Each is reviewed. Default 500.
    pub max_namespaces: usize,
    /// Longest time range of a query. Default `None`: no limit (`0s` in the document).
    pub max_range: Option<Duration>,
    /// Most steps of a range query. Default 11,000, which is Prometheus' own; `None`: no limit (0 in the
    /// document).
    pub max_points: Option<u32>,
    /// Most requests of one caller at a time, at least 1. Default 32.
    pub concurrent_per_caller: u32,
    /// Most requests of one caller that wait for their turn; one more is refused. Default 1,024.
    pub queued_per_caller: u32,
    /// Most requests of all callers at a time, at least 1. Default 4,096.
    pub concurrent: u32,
    /// Longest wait for a turn. Default 10 s.
    pub queue_timeout: Duration,
    /// Longest time of a whole answer, from the request's head to the last byte. Default 5 min.
    pub max_duration: Duration,
    /// Longest wait for a request's head, counted from the last answer, for a TLS handshake, and for a caller to
    /// take more of an answer. Default 60 s.
    pub header_timeout: Duration,
    /// Most connections of callers, all listeners together, at least 1. Default 3,000.
    pub max_connections: u32,
    /// How long open answers may go on after SIGTERM. Default 30 s.
    pub drain_timeout: Duration,
}

impl Limits {
    pub(super) fn read(section: &mut Section) -> Self {
        const MOST: u32 = 1_000_000;
        let max_query_bytes = section.number(
            "maxQueryBytes",
            32_768,
            1..=1_048_576,
            "Longest PromQL text, in bytes",
        );
        let max_selectors = section.number(
            "maxSelectors",
            256,
            1..=1_000,
            "Most match[] in one request",
        );
        let max_body_bytes = section.number(
            "maxBodyBytes",
            1_048_576,
            1_024..=67_108_864,
            "Longest request body, in bytes",
        );
        let max_namespaces = section.number(
            "maxNamespaces",
            500,
            1..=100_000,
            "Most namespaces that one request may name",
        );
        let max_range = section.duration(
            "maxRange",
            "0s",
            Duration::ZERO..=36_500 * DAY,
            "Longest time range of a query; 0s: no limit",
        );
        let max_points = section.number(
            "maxPoints",
            11_000,
            0..=u32::MAX,
            "Most steps of a range query; 0: no limit",
        );
        let limits = Self {
            max_query_bytes,
            max_selectors,
            max_body_bytes,
            max_namespaces,
            max_range: (!max_range.is_zero()).then_some(max_range),
            max_points: (max_points > 0).then_some(max_points),
            concurrent_per_caller: section.number(
                "concurrentPerCaller",
                32,
                1..=MOST,
                "Most requests of one caller at a time",
            ),
            queued_per_caller: section.number(
                "queuedPerCaller",
                1_024,
                0..=MOST,
                "Most requests of one caller that wait for their turn",
            ),
            concurrent: section.number(
                "concurrent",
                4_096,
                1..=MOST,
                "Most requests of all callers at a time",
            ),
            queue_timeout: section.duration(
                "queueTimeout",
                "10s",
                Duration::ZERO..=HOUR,
                "Longest wait for a turn",
            ),
            max_duration: section.duration(
                "maxDuration",
                "5m",
                MILLISECOND..=DAY,
                "Longest time of a whole answer",
            ),
            header_timeout: section.duration(
                "headerTimeout",
                "60s",
                MILLISECOND..=HOUR,
                "Longest wait for a request's head, counted from the last answer, and for a caller to take more of one",
            ),
            max_connections: section.number(
                "maxConnections",
                3_000,
                1..=MOST,
                "Most connections of callers, all listeners together",
            ),
            drain_timeout: section.duration(
                "drainTimeout",
                "30s",
                Duration::ZERO..=HOUR,
                "How long open answers may go on after SIGTERM",
            ),
        };
        if section.sound(&["maxBodyBytes", "maxQueryBytes"])
            && limits.max_body_bytes < limits.max_query_bytes
        {
            let hint = "raise it: a query is sent in a body too";
            section.fault("maxBodyBytes", wrong("is less than maxQueryBytes", hint));
        }
        limits
    }
}
