//! How much one caller, and all together, may ask for.

use std::time::Duration;

use super::fault::wrong;
use super::section::Section;
use super::{DAY, HOUR, MILLISECOND};

/// Bounds of requests and connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest PromQL text in bytes. Default 131,072.
    pub max_query_bytes: usize,
    /// Bounds of what a PromQL text holds.
    pub query: QueryLimits,
    /// Most `match[]` in one request, at least 1. Default 256.
    pub max_selectors: usize,
    /// Most parameters of one request, in URL and form together; at least 1. Default 1,100.
    pub max_parameters: usize,
    /// Longest value of a parameter that is neither a query nor a selector, in bytes; at least 1. Default 1,024.
    pub max_parameter_bytes: usize,
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

/// Bounds of one PromQL text, besides its length. Prometheus has none of these; its parser takes time quadratic in the
/// first two and cannot be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Deepest nesting of parentheses, brackets and signs, at least 1. Default 200.
    pub max_depth: usize,
    /// Most binary operators, signs and ranges, at least 1. Default 1,000.
    pub max_operators: usize,
    /// Most vector selectors, at least 1. Default 500.
    pub max_selectors: usize,
    /// Size of all regular expressions in characters, with what is repeated written out; at least 1. Default 131,072.
    pub max_pattern_size: usize,
}

impl QueryLimits {
    fn read(section: &mut Section) -> Self {
        Self {
            max_depth: section.number(
                "maxQueryDepth",
                200,
                1..=10_000,
                "Deepest nesting of one PromQL text: parentheses, brackets, signs",
            ),
            max_operators: section.number(
                "maxQueryOperators",
                1_000,
                1..=100_000,
                "Most operators, signs and ranges in one PromQL text",
            ),
            max_selectors: section.number(
                "maxQuerySelectors",
                500,
                1..=10_000,
                "Most vector selectors in one PromQL text",
            ),
            max_pattern_size: section.number(
                "maxPatternSize",
                131_072,
                1..=10_000_000,
                "Size of all regular expressions in one PromQL text, in characters, with repetitions written out",
            ),
        }
    }
}

impl Limits {
    pub(super) fn read(section: &mut Section) -> Self {
        const MOST: u32 = 1_000_000;
        let max_query_bytes = section.number(
            "maxQueryBytes",
            131_072,
            1..=1_048_576,
            "Longest PromQL text, in bytes",
        );
        let query = QueryLimits::read(section);
        let max_selectors = section.number(
            "maxSelectors",
            256,
            1..=1_000,
            "Most match[] in one request",
        );
        let max_parameters = section.number(
            "maxParameters",
            1_100,
            1..=100_000,
            "Most parameters in one request",
        );
        let max_parameter_bytes = section.number(
            "maxParameterBytes",
            1_024,
            1..=1_048_576,
            "Longest parameter that is neither a query nor a selector, in bytes",
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
            query,
            max_selectors,
            max_parameters,
            max_parameter_bytes,
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
