//! The threads that connections live on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// Threads with a runtime each.
pub struct Workers {
    workers: Vec<Worker>,
    /// Dropped to end them.
    _end: watch::Sender<()>,
}

struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// A connection's place on a worker.
pub(super) struct Place(Arc<AtomicUsize>);

/// Threads that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("the worker threads cannot be started")]
pub struct WorkersError(#[from] io::Error);

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(count: usize) -> Result<Self, WorkersError> {
        let (end, ended) = watch::channel(());
        let workers = (0..count.max(1)).map(|index| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let mut ended = ended.clone();
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    // Ends with an error, when the sender is dropped.
                    let _ = runtime.block_on(ended.changed());
                })?;
            Ok::<_, io::Error>(Worker {
                runtime: handle,
                connections: Arc::default(),
            })
        });
        Ok(Self {
            workers: workers.collect::<Result<_, _>>()?,
            _end: end,
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// The worker with the fewest connections, and a place there.
    pub(super) fn least_busy(&self) -> (usize, Place) {
        let load = |worker: &Worker| worker.connections.load(Ordering::Relaxed);
        let (index, worker) = self
            .workers
            .iter()
            .enumerate()
            .min_by_key(|(_, worker)| load(worker))
            .expect("there is at least one worker");
        worker.connections.fetch_add(1, Ordering::Relaxed);
        (index, Place(worker.connections.clone()))
    }

    pub(super) fn spawn(&self, worker: usize, task: impl Future<Output = ()> + Send + 'static) {
        self.workers[worker].runtime.spawn(task);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
