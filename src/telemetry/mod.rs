//! The log: JSON lines on standard output, written by a thread of its own so that no request waits for a slow reader.
//! Lines that do not fit into its buffers are dropped and counted.

pub mod chain;
pub mod ids;
mod lines;
pub mod metrics;
mod process;
pub mod spans;
mod text_format;
pub mod trace;

use std::sync::Arc;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;

pub use self::lines::{Line, Lines, Lost, Writing};

/// The `User-Agent` of requests to the API server and to a trace collector.
pub(crate) const AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("prom-rbac-proxy/", env!("CARGO_PKG_VERSION")));

/// The most verbose level for other crates, whatever is configured: past it, those that see requests log their content,
/// tokens included.
const CAP: Level = Level::INFO;

/// The first segment of this program's targets.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// The log. It is flushed when this is dropped.
pub struct Telemetry {
    lines: Lines,
    filter: ChangeableFilter,
    _writing: Writing,
}

/// Decides what is logged, and can be changed. Cheap to clone.
#[derive(Clone)]
pub struct ChangeableFilter(Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl ChangeableFilter {
    /// Logs what `filter` passes from now on.
    ///
    /// # Errors
    /// When the log that it belongs to has ended, or never was the process': in a test.
    pub fn change(&self, filter: EnvFilter) -> Result<(), reload::Error> {
        (self.0)(filter)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Level(#[from] LevelError),
    #[error("the thread that writes the log cannot be started")]
    Thread(#[source] std::io::Error),
}

#[derive(Debug, thiserror::Error)]
#[error(
    "logging.level: {level:?} is neither a level nor a list of directives; write such as info or warn,prom_rbac_proxy=debug"
)]
pub struct LevelError {
    level: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Parses a level or a list of directives.
///
/// # Errors
/// When it is neither.
pub fn filter(level: &str) -> Result<EnvFilter, LevelError> {
    let failed = |source| LevelError {
        level: level.to_owned(),
        source,
    };
    EnvFilter::builder().parse(level).map_err(failed)
}

/// Passes our own events, and those of other crates down to [`CAP`]. Not done by a further directive: the more specific
/// one wins, and a configured directive can name a target, a span or a field.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    let name = metadata.target().split("::").next();
    metadata.level() <= &CAP || name == Some(OURS)
}

/// Writes the events that `filter` passes, until it is changed. It has a lock, taken only for events that are written:
/// `tracing` caches at each place in the program whether its event is.
fn subscriber<W>(filter: EnvFilter, writer: W) -> (impl Subscriber + Send + Sync, ChangeableFilter)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer)
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    let filter = ChangeableFilter(Arc::new(move |filter| handle.reload(filter)));
    (builder.finish().with(filter_fn(is_harmless)), filter)
}

impl Telemetry {
    /// Starts logging at `level`, for the whole process.
    ///
    /// # Errors
    /// When the level is none, or the system gives no thread.
    pub fn start(level: &str) -> Result<Self, StartError> {
        let filter = filter(level)?;
        let (lines, writing) = Lines::start(std::io::stdout()).map_err(StartError::Thread)?;
        let (subscriber, filter) = subscriber(filter, lines.clone());
        // A second start, in a test, keeps the first one's log.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(Self {
            lines,
            filter,
            _writing: writing,
        })
    }

    /// What decides what is logged.
    pub fn filter(&self) -> &ChangeableFilter {
        &self.filter
    }

    /// Where the audit log's lines go.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is written of what `log` says at `level`.
    fn written(level: &str, log: impl FnOnce()) -> String {
        written_of(level, |_| log())
    }

    /// The same, where `log` may change the level.
    fn written_of(level: &str, log: impl FnOnce(&ChangeableFilter)) -> String {
        #[derive(Clone, Default)]
        struct Sink(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Sink {
            fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("no panic").extend_from_slice(line);
                Ok(line.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let sink = Sink::default();
        let writer = {
            let sink = sink.clone();
            move || sink.clone()
        };
        let (subscriber, changeable) = subscriber(filter(level).expect("a level"), writer);
        tracing::subscriber::with_default(subscriber, || log(&changeable));
        let written = sink.0.lock().expect("no panic").clone();
        String::from_utf8(written).expect("text")
    }

    #[test]
    fn t22_no_directive_has_other_crates_log_what_travels() {
        for level in [
            "trace",
            "trace,h2=trace",
            "h2::codec=trace",
            "info,h2::codec::framed_read=trace,hyper::proto=debug",
            "[exchange]=trace",
            "h2[exchange]=trace",
            "[{header}]=trace",
            "info,[{header=1}]=trace",
            "h2_other=trace",
        ] {
            let written = written(level, || {
                let span = tracing::info_span!(target: "h2::codec", "exchange", header = 1);
                let _entered = span.enter();
                tracing::trace!(target: "h2::codec::framed_read", header = "secret", "frame");
                tracing::debug!(target: "h2::codec", header = "secret", "frame");
                tracing::debug!(target: "hyper::proto::h1", header = "secret", "head");
                tracing::trace!(target: "h2", header = "secret", "frame");
                tracing::debug!(target: "h2_other", header = "secret", "frame");
                tracing::debug!(target: "prom_rbac_proxy_not", header = "secret", "frame");
            });
            assert!(!written.contains("secret"), "{level}: {written}");
        }
    }

    #[test]
    fn what_is_ours_and_what_is_harmless_is_logged_as_configured() {
        let written = written("info,prom_rbac_proxy::server=trace", || {
            tracing::trace!(target: "prom_rbac_proxy::server", "first");
            tracing::info!(target: "h2::codec", "second");
            tracing::debug!(target: "prom_rbac_proxy::gateway", "third");
        });
        assert!(
            written.contains("first") && written.contains("second"),
            "{written}"
        );
        assert!(!written.contains("third"), "{written}");
    }

    #[test]
    fn t22_another_level_holds_from_then_on_and_has_no_crate_log_what_travels() {
        let log = |changeable: &ChangeableFilter| {
            for level in ["info", "trace,h2=trace", "warn"] {
                let changed = changeable.change(filter(level).expect("a level"));
                changed.expect("the log goes on");
                // One place in the program, which must not remember what it was told before.
                tracing::debug!(target: "prom_rbac_proxy::gateway", set = level, "ours");
                tracing::trace!(target: "h2", header = "secret", "frame");
            }
        };
        let written = written_of("error", log);
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(written.contains("trace,h2=trace"), "{written}");
    }

    #[test]
    fn what_is_no_level_says_so() {
        assert!(filter("loud=nonsense=").is_err());
    }
}
