//! Values that are exchanged while the program runs, and files that are read again when they change: certificates,
//! authorities, tokens.
//!
//! Their content is compared, not their modification time: Kubernetes swaps a symbolic link, and some editors keep the
//! time.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

/// How often files are read that may change while the program runs.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// A value that is replaced as a whole and read without a lock: made from files, and again when one of them changes, or
/// replaced through [`Reloaded::replace`]. Cheap to clone.
pub struct Reloaded<T>(Arc<ArcSwap<T>>);

impl<T> Clone for Reloaded<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloaded")
    }
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read", .path.display())]
pub struct FileError {
    pub path: PathBuf,
    #[source]
    pub source: std::io::Error,
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// A value that stays until it is replaced.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// Replaces the value for all clones, and returns the previous one. Whoever still holds that goes on with it.
    pub fn replace(&self, value: T) -> Arc<T> {
        self.0.swap(Arc::new(value))
    }

    /// Makes the value from the content of `paths`, now and, on `runtime`, whenever one of them changes. While the new
    /// content cannot be used, the last value stays.
    ///
    /// # Errors
    /// When a file cannot be read now, or `make` fails.
    pub fn watch<E>(
        paths: Vec<PathBuf>,
        runtime: &Handle,
        make: impl Fn(&[Vec<u8>]) -> Result<T, E> + Send + 'static,
    ) -> Result<Self, E>
    where
        E: From<FileError> + std::error::Error + Send + 'static,
    {
        let mut content = read(&paths)?;
        let reloaded = Self(Arc::new(ArcSwap::from_pointee(make(&content)?)));
        if paths.is_empty() {
            return Ok(reloaded);
        }
        let watched = Arc::downgrade(&reloaded.0);
        runtime.spawn(async move {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // Small local files: not worth a blocking thread.
                let Ok(now) = read(&paths) else { continue };
                let Some(watched) = watched.upgrade() else { return };
                if now == content {
                    continue;
                }
                match make(&now) {
                    Ok(value) => {
                        watched.store(Arc::new(value));
                        tracing::info!(files = ?paths, "reloaded");
                    }
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(files = ?paths, error, "the changed files cannot be used; what was loaded before stays");
                    }
                }
                content = now;
            }
        });
        Ok(reloaded)
    }

    /// The current value, borrowed for a moment.
    pub fn now(&self) -> arc_swap::Guard<Arc<T>> {
        self.0.load()
    }

    /// The current value, for as long as it is needed.
    pub fn latest(&self) -> Arc<T> {
        self.0.load_full()
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, FileError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| FileError {
            path: path.clone(),
            source,
        })
    };
    paths.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_and_a_bad_one_is_not_taken() {
        let path =
            std::env::temp_dir().join(format!("prom-rbac-proxy-reload-{}", std::process::id()));
        std::fs::write(&path, "1").expect("written");
        let parse = |content: &[Vec<u8>]| {
            let text = String::from_utf8_lossy(&content[0]).into_owned();
            let bad = |_| FileError {
                path: PathBuf::new(),
                source: std::io::ErrorKind::InvalidData.into(),
            };
            text.parse::<u32>().map_err(bad)
        };
        let reloaded =
            Reloaded::watch(vec![path.clone()], &Handle::current(), parse).expect("a number");
        let mut seen = Vec::new();
        for content in ["1", "2", "two", "3"] {
            std::fs::write(&path, content).expect("written");
            tokio::time::sleep(2 * INTERVAL).await;
            seen.push(**reloaded.now());
        }
        std::fs::remove_file(&path).expect("removed");
        tokio::time::sleep(2 * INTERVAL).await;
        seen.push(**reloaded.now());
        assert_eq!(seen, [1, 2, 2, 3, 3]);
    }
}
