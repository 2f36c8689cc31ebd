//! The log: JSON lines on standard output, written by a thread of their own so that nobody waits for a slow
//! reader. Lines that do not fit are dropped and counted.

pub mod ids;
mod lines;
pub mod metrics;
pub mod spans;
pub mod trace;

use tracing_subscriber::EnvFilter;

pub use self::lines::{Line, Lines, Lost, Writing};

/// What the API server and a collector are told that asks.
pub(crate) const AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("prom-rbac-proxy/", env!("CARGO_PKG_VERSION")));

/// Libraries that log what travels, tokens included, below this level. Whatever is configured, they say no
/// more.
const CAPPED: [&str; 7] = [
    "hyper=info",
    "hyper_util=info",
    "h2=info",
    "rustls=info",
    "tokio_rustls=info",
    "kube_client=info",
    "tower=info",
];

/// The log. It is flushed when this is dropped.
pub struct Telemetry {
    lines: Lines,
    _writing: Writing,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is not clear what goes into it.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// Nobody writes it.
    #[error("the thread that writes the log cannot be started")]
    Thread(#[source] std::io::Error),
}

/// A level that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "logging.level: {level:?} is neither a level nor a list of directives; write such as info or warn,prom_rbac_proxy=debug"
)]
pub struct LevelError {
    level: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Reads a level.
///
/// # Errors
/// When it is none.
pub fn filter(level: &str) -> Result<EnvFilter, LevelError> {
    let failed = |source| LevelError {
        level: level.to_owned(),
        source,
    };
    let filter = EnvFilter::builder().parse(level).map_err(failed)?;
    let capped = CAPPED
        .iter()
        .map(|directive| directive.parse().expect("a directive of ours is valid"));
    Ok(capped.fold(filter, EnvFilter::add_directive))
}

impl Telemetry {
    /// Starts logging at `level`, for the whole process.
    ///
    /// # Errors
    /// When the level is none, or the system gives no thread.
    pub fn start(level: &str) -> Result<Self, StartError> {
        let filter = filter(level)?;
        let (lines, writing) = Lines::start(std::io::stdout()).map_err(StartError::Thread)?;
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_env_filter(filter)
            .with_writer(lines.clone())
            .finish();
        // A second start, in a test, keeps the first one's log.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Ok(Self {
            lines,
            _writing: writing,
        })
    }

    /// Where lines go that are made elsewhere.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t22_libraries_that_log_headers_stay_capped() {
        let filter = filter("trace,h2=trace").expect("a level").to_string();
        for directive in CAPPED {
            assert!(filter.contains(directive), "{directive} in {filter}");
        }
        assert!(!filter.contains("h2=trace"), "{filter}");
    }

    #[test]
    fn what_is_no_level_says_so() {
        assert!(filter("loud=nonsense=").is_err());
    }
}
