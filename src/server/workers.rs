//! The threads that connections live on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a worker runs before the kernel is made to look whether others should: well below a turn, which is of
/// 0.7 to 2.8 ms, by the number of cores.
const LOOKED_AT_EVERY: Duration = Duration::from_micros(250);

/// How soon a worker's timers end at the latest: some timer always does. A timer that ends sooner than all others has
/// tokio wake the worker, even the one that sets it: a write to an eventfd, an event, and another `epoll_wait`. Without
/// this one every sixth request under full load, and each one at rest, had that for its timeouts, which are longer.
const SOONEST: Duration = Duration::from_secs(1);

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
            let runtime = Builder::new_current_thread()
                .enable_all()
                .on_thread_park(look_at_turn())
                .build()?;
            let handle = runtime.handle().clone();
            let mut ended = ended.clone();
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    runtime.block_on(async {
                        // Ends with an error, when the sender is dropped.
                        while timeout(SOONEST, ended.changed()).await.is_err() {}
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

/// To be called whenever a worker has done what there was to do. Now and then it has the kernel see whether the
/// thread's turn on its core is over.
///
/// By itself the kernel sees to that at its ticks, 4 ms apart as a rule. Under full load, with both workers of a
/// machine with two cores on one of them, all connections of one waited for that, and the slowest percent of requests
/// took 2.2 to 3.6 ms instead of 1.7 to 2. Reading the time that a thread has used brings its account up to
/// date as a tick does (`update_curr` in the kernel's `fair.c`; since Linux 6.6 a turn can end there, before it does
/// nothing).
///
/// Rejected: `sched_yield` gives away the rest of the turn, also to other programs; a core for each worker has it wait
/// for whoever else is there, 60 ms next to a busy neighbour with more weight, though another core is idle.
fn look_at_turn() -> impl Fn() + Send + Sync + 'static {
    let begun = Instant::now();
    let looked_at = AtomicU64::new(0);
    move || {
        let now = begun.elapsed().as_nanos() as u64;
        let since = now.saturating_sub(looked_at.load(Ordering::Relaxed));
        if since >= LOOKED_AT_EVERY.as_nanos() as u64 {
            looked_at.store(now, Ordering::Relaxed);
            let _ = clock_gettime(ClockId::ThreadCPUTime);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
