//! How callers are authenticated, and for how long the result is cached.

use std::time::Duration;

use http::{HeaderName, header};

use super::caches::{Caches, stale_for};
use super::fault::wrong;
use super::format::{HEADER_NAME, PLAIN};
use super::section::Section;
use super::{DAY, MILLISECOND, is_hop_by_hop};

/// Where tokens are found and what is asked about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// Audiences of which a token must carry one. Default empty: the API server's own.
    pub audiences: Vec<String>,
    /// Whether Headlamp's `headlamp-auth-<cluster>.<n>` cookies are read. Default true.
    pub headlamp_cookie: bool,
    /// Headers that may carry a token, in the order in which they are looked at. Default `authorization`.
    pub token_headers: Vec<HeaderName>,
    /// How long an answer about a token serves.
    pub cache: AuthenticationCache,
}

/// Lifetime of answers of TokenReview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticationCache {
    /// For an accepted token. Default 60 s; 10 s with strict caches.
    pub ttl: Duration,
    /// For a rejected token; at most `ttl`. Default 10 s; zero: not remembered.
    pub rejected_ttl: Duration,
    /// How old an answer may be that is used while Kubernetes does not answer. Default 10 min; zero with strict caches.
    /// Zero: none is used.
    pub stale_for: Duration,
    /// Number of tokens remembered, at least 1. Default 10,000.
    pub capacity: u64,
}

impl Authentication {
    pub(super) fn read(section: &mut Section, caches: Caches) -> Self {
        let audiences = section.texts(
            "audiences",
            &[],
            "Audiences of which a token must carry one; empty: the API server's own",
            &PLAIN,
        );
        let headlamp_cookie = section.flag(
            "headlampCookie",
            true,
            "Whether Headlamp's cookies may carry the token",
        );
        let token_headers = section.texts(
            "tokenHeaders",
            &["authorization"],
            "Headers that may carry the token, the first one first",
            &HEADER_NAME,
        );
        for (index, name) in token_headers.iter().enumerate() {
            let key = format!("tokenHeaders[{index}]");
            if is_hop_by_hop(name) || [header::COOKIE, header::HOST].contains(name) {
                let problem = format!("\"{name}\" cannot carry a token");
                section.fault(
                    &key,
                    wrong(problem, "use authorization or a header of your own"),
                );
            }
            if token_headers[..index].contains(name) {
                section.fault(
                    &key,
                    wrong(format!("\"{name}\" stands here twice"), "remove one"),
                );
            }
        }
        if token_headers.is_empty()
            && !headlamp_cookie
            && section.sound(&["tokenHeaders", "headlampCookie"])
        {
            section.fault(
                "tokenHeaders",
                wrong(
                    "is empty and headlampCookie is false, so that nobody can be known",
                    "add authorization",
                ),
            );
        }
        let cache = section.section(
            "cache",
            "How long an answer about a token serves",
            |section| {
                let cache = AuthenticationCache {
                    ttl: section.duration(
                        "ttl",
                        caches.remembered(),
                        MILLISECOND..=DAY,
                        "For an accepted token",
                    ),
                    rejected_ttl: section.duration(
                        "rejectedTtl",
                        "10s",
                        Duration::ZERO..=DAY,
                        "For a rejected token, at most ttl; 0s: not remembered",
                    ),
                    stale_for: stale_for(section, caches),
                    capacity: section.number(
                        "capacity",
                        10_000,
                        1..=10_000_000,
                        "Tokens remembered",
                    ),
                };
                if section.sound(&["ttl", "rejectedTtl"]) && cache.rejected_ttl > cache.ttl {
                    let hint =
                        "lower it, or a caller who was let in again waits longer than others";
                    section.fault("rejectedTtl", wrong("is longer than ttl", hint));
                }
                cache
            },
        );
        Self {
            audiences,
            headlamp_cookie,
            token_headers,
            cache,
        }
    }
}
