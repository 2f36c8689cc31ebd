//! Applies another configuration while the program runs: when its file changes, or on SIGHUP. It is checked and built
//! as a whole before it replaces the one that runs; a fault in it leaves that as it is.

use std::path::PathBuf;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::composition::{Composition, Lasting, connection_limits};
use super::metrics::ReloadResult;
use super::{LoadError, StartError, differences, parse};
use crate::config;
use crate::reload::{INTERVAL, Reloaded};
use crate::server::ConnectionLimits;
use crate::telemetry::chain::Chain;
use crate::telemetry::{self, ChangeableFilter};

/// Follows the configuration's file.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    pub(super) hangup: Signal,
    pub(super) running: Reloaded<Composition>,
    pub(super) limits: Reloaded<ConnectionLimits>,
    pub(super) filter: ChangeableFilter,
    pub(super) lasting: Lasting,
}

/// Why the configuration that runs stays.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Invalid(#[from] LoadError),
    /// Taking the rest alone would run what nobody wrote: a right given along with an address that is not.
    #[error("{} cannot change while the program runs: restart it, or take that change back", .0.join(", "))]
    NeedsRestart(Vec<&'static str>),
    #[error(transparent)]
    Unusable(#[from] StartError),
}

impl ReloadError {
    fn result(&self) -> ReloadResult {
        match self {
            Self::Invalid(_) => ReloadResult::Invalid,
            Self::NeedsRestart(_) => ReloadResult::NeedsRestart,
            Self::Unusable(_) => ReloadResult::Unusable,
        }
    }
}

impl Reloader {
    /// Follows the file, for ever.
    pub(super) async fn run(mut self) {
        let metrics = self.lasting.metrics.reloads.clone();
        metrics.succeeded_now();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Its content at the start is not known here, so the first check compares it with what runs.
        let mut last = None;
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                _ = self.hangup.recv() => true,
            };
            // By content, as with other files; a small one, not worth a blocking thread.
            let text = std::fs::read_to_string(&self.path);
            let content = Some(text.as_ref().ok().cloned());
            if content == last && !asked {
                continue;
            }
            let first = last.is_none();
            last = content;
            match self.take(text).await {
                Ok(sections) if sections.is_empty() => {
                    metrics.succeeded_now();
                    if asked || !first {
                        metrics.count(ReloadResult::Unchanged);
                        tracing::info!(file = %self.path.display(), "the configuration says what runs already");
                    }
                }
                Ok(sections) => {
                    metrics.succeeded_now();
                    metrics.count(ReloadResult::Applied);
                    let changed = sections.join(", ");
                    tracing::info!(file = %self.path.display(), changed, "another configuration runs now");
                    for warning in self.running.now().config.warnings() {
                        tracing::warn!("{warning}");
                    }
                }
                Err(error) => {
                    metrics.failed();
                    metrics.count(error.result());
                    // All faults, each on a line of its own elsewhere.
                    let reason = Chain(&error).to_string().replace('\n', "; ");
                    tracing::error!(file = %self.path.display(), reason, "the configuration is not taken; what ran before stays");
                }
            }
        }
    }

    /// Has another configuration run, and says which sections of it are new.
    async fn take(
        &mut self,
        text: std::io::Result<String>,
    ) -> Result<Vec<&'static str>, ReloadError> {
        let text = text.map_err(|source| config::LoadError::Read {
            path: self.path.clone(),
            source,
        });
        let config = parse(&text.map_err(LoadError::from)?)?;
        let before = self.running.latest();
        let keys = differences::needing_restart(&before.config, &config);
        if !keys.is_empty() {
            return Err(ReloadError::NeedsRestart(keys));
        }
        let sections = differences::sections(&before.config, &config);
        if sections.is_empty() {
            return Ok(sections);
        }
        let filter = telemetry::filter(&config.logging.level).map_err(LoadError::from)?;
        let reviews = &self.lasting.metrics.reviews;
        let authorization = before
            .authorization
            .following(&before.config, &config, reviews)?;
        let mut next = Composition::new(&config, authorization, Some(&before), &self.lasting)?;
        next.found().await;
        next.watch();
        // From here on nothing can fail.
        drop(before);
        let before = self.running.replace(next);
        before.superseded_by(&self.running.now());
        self.limits.replace(connection_limits(&config));
        if before.config.logging.level != config.logging.level
            && let Err(error) = self.filter.change(filter)
        {
            tracing::warn!(%error, "logging.level cannot be changed");
        }
        Ok(sections)
    }
}
