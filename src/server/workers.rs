//! The threads that connections live on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::timeout;

use super::time_slice;

/// Each worker always has a timer that fires within this time. When a timer is set that fires before all others, tokio
/// wakes the worker, even if it is the worker itself that sets it: a write to an eventfd, an event and another
/// `epoll_wait`. Without this timer every sixth request under full load, and each request at rest, paid that for its
/// own timeouts, which are longer.
const TIMER_INTERVAL: Duration = Duration::from_secs(1);

/// Threads, each with a single-threaded runtime.
pub struct Workers {
    workers: Vec<Worker>,
    /// Dropped to end them.
    _end: watch::Sender<()>,
}

struct Worker {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// Counts a connection among those of its worker until dropped.
pub(super) struct ConnectionCount(Arc<AtomicUsize>);

#[derive(Debug, thiserror::Error)]
#[error("the worker threads cannot be started")]
pub struct WorkersError(#[from] io::Error);

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system refuses a thread or its runtime.
    pub fn start(count: usize) -> Result<Self, WorkersError> {
        let (end, ended) = watch::channel(());
        let workers = (0..count.max(1)).map(|index| {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .on_thread_park(time_slice::checking())
                .build()?;
            let handle = runtime.handle().clone();
            let mut ended = ended.clone();
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    runtime.block_on(async {
                        // Ends with an error once the sender is dropped.
                        while timeout(TIMER_INTERVAL, ended.changed()).await.is_err() {}
                    });
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

    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// The worker with the fewest connections, where one more is counted from now on.
    pub(super) fn least_busy(&self) -> (usize, ConnectionCount) {
        let load = |worker: &Worker| worker.connections.load(Ordering::Relaxed);
        let (index, worker) = self
            .workers
            .iter()
            .enumerate()
            .min_by_key(|(_, worker)| load(worker))
            .expect("there is at least one worker");
        worker.connections.fetch_add(1, Ordering::Relaxed);
        (index, ConnectionCount(worker.connections.clone()))
    }

    pub(super) fn spawn(&self, worker: usize, task: impl Future<Output = ()> + Send + 'static) {
        self.workers[worker].runtime.spawn(task);
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
