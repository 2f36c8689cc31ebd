//! Whether everything that requests need is available.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;

use super::composition::Composition;
use crate::config::{Config, NeededUpstreams};
use crate::reload::Reloaded;
use crate::server::admin::Probe;
use crate::upstream::Presence;

/// What readiness depends on.
pub(super) struct Dependencies {
    running: Reloaded<Composition>,
    /// Whether Kubernetes has answered once. It is not asked again: while it is away, known callers are
    /// served, and a replica that hides would not help the others.
    answered: AtomicBool,
}

impl Dependencies {
    /// Kubernetes, and as many upstreams as the running configuration needs.
    pub(super) fn new(running: Reloaded<Composition>) -> Self {
        Self {
            running,
            answered: AtomicBool::new(false),
        }
    }
}

impl Probe for Dependencies {
    fn look(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            let running = self.running.latest();
            if !self.answered.load(Ordering::Relaxed) {
                match running.cluster().may_review().await {
                    Ok(true) => self.answered.store(true, Ordering::Relaxed),
                    Ok(false) => return Err(
                        "the proxy's ServiceAccount may not create tokenreviews and subjectaccessreviews".to_owned(),
                    ),
                    Err(unavailable) => return Err(unavailable.to_string()),
                }
            }
            match needed(&running.config) {
                None => Ok(()),
                Some(needed) => judge(needed, &running.presence().look().await),
            }
        })
    }
}

/// Which upstreams count; none where Headlamp needs the gateway for more than its charts: it must not go away with
/// Prometheus.
fn needed(config: &Config) -> Option<NeededUpstreams> {
    match config.listeners.gateway {
        Some(_) => None,
        None => Some(config.readiness.upstreams),
    }
}

fn judge(needed: NeededUpstreams, found: &Presence) -> Result<(), String> {
    let enough = match needed {
        NeededUpstreams::Any => found.up > 0,
        NeededUpstreams::All => found.away.is_empty(),
    };
    if enough {
        return Ok(());
    }
    let away = found.away.iter();
    let told: Vec<_> = away
        .map(|(name, error)| format!("upstream {name}: {error}"))
        .collect();
    Err(told.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::UpstreamError;

    fn found(up: usize, away: &[&str]) -> Presence {
        let away = away.iter();
        let away = away.map(|name| ((*name).to_owned(), UpstreamError::Connect));
        Presence {
            up,
            away: away.collect(),
        }
    }

    #[test]
    fn one_dead_upstream_takes_the_others_down_only_where_all_are_needed() {
        let one_of_two = found(1, &["long-term"]);
        assert_eq!(judge(NeededUpstreams::Any, &one_of_two), Ok(()));
        let missing = judge(NeededUpstreams::All, &one_of_two).expect_err("one is away");
        assert!(missing.starts_with("upstream long-term: "), "{missing}");
        assert_eq!(judge(NeededUpstreams::All, &found(2, &[])), Ok(()));
    }

    #[test]
    fn without_any_upstream_no_policy_calls_it_ready() {
        for needed in [NeededUpstreams::Any, NeededUpstreams::All] {
            let missing = judge(needed, &found(0, &["a", "b"])).expect_err("none answers");
            assert!(missing.contains("upstream a: ") && missing.contains("upstream b: "));
        }
    }
}
