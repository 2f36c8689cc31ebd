//! What the caches of reviews have in common: the defaults for how long they keep answers.

use std::time::Duration;

use super::DAY;
use super::section::Section;

/// For how long answers of Kubernetes serve by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caches {
    /// A minute, and ten while Kubernetes does not answer.
    Standard,
    /// As Kubernetes' own extension API servers remember such answers: for 10 s, and no longer whatever happens.
    Strict,
}

impl Caches {
    /// The key stands at the document's root, as it is for both sections that have a cache.
    pub(super) fn read(root: &mut Section) -> Self {
        root.choice(
            "caches",
            [("standard", Self::Standard), ("strict", Self::Strict)],
            "Defaults of authentication.cache and authorization.cache: standard, or strict (ttl and allowedTtl 10s, watchedTtl and staleFor 0s)",
        )
    }

    /// The default for what is granted or denied while changes of rights are watched.
    pub(super) fn watched(self) -> &'static str {
        match self {
            Self::Standard => "5m",
            Self::Strict => "0s",
        }
    }

    /// The default for what is accepted or granted. What is rejected or denied has 10 s either way.
    pub(super) fn remembered(self) -> &'static str {
        match self {
            Self::Standard => "60s",
            Self::Strict => "10s",
        }
    }
}

/// The key that both caches have.
pub(super) fn stale_for(section: &mut Section, caches: Caches) -> Duration {
    let default = match caches {
        Caches::Standard => "10m",
        Caches::Strict => "0s",
    };
    section.duration(
        "staleFor",
        default,
        Duration::ZERO..=DAY,
        "Age of an answer that serves while Kubernetes is silent; 0s: none",
    )
}
