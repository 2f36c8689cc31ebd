//! The threads that connections live on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a worker runs before the kernel is made to check whether its time slice is over: well below a slice, which
/// lasts 0.7 to 2.8 ms depending on the number of cores.
const CHECK_INTERVAL: Duration = Duration::from_micros(250);

/// Each worker always has a timer that fires within this time. When a timer is set that fires before all others, tokio
/// wakes the worker, even if it is the worker itself that sets it: a write to an eventfd, an event and another
/// `epoll_wait`. Without this timer every sixth request under full load, and each request at rest, paid that for its own
/// timeouts, which are longer.
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
                .on_thread_park(check_time_slice())
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

/// Called whenever a worker runs out of work. Now and then it makes the kernel check whether the thread's time slice is
/// over.
///
/// Left alone, the kernel checks at its ticks, usually 4 ms apart. Under full load, when both workers of a two-core
/// machine were on the same core, all connections of one waited for the tick, and the slowest percent of requests took
/// 2.2 to 3.6 ms instead of 1.7 to 2. Reading the thread's CPU time brings the kernel's accounting up to date, as a tick
/// does (`update_curr` in `fair.c`; since Linux 6.6 a slice can end there, before that the call has no effect).
///
/// Rejected: `sched_yield` gives up the rest of the slice, also to other programs. Pinning each worker to a core makes
/// it wait for whatever else runs there, 60 ms next to a busy process of more weight, even though another core is idle.
fn check_time_slice() -> impl Fn() + Send + Sync + 'static {
    let begun = Instant::now();
    let checked = AtomicU64::new(0);
    move || {
        let now = begun.elapsed().as_nanos() as u64;
        let since = now.saturating_sub(checked.load(Ordering::Relaxed));
        if since >= CHECK_INTERVAL.as_nanos() as u64 {
            checked.store(now, Ordering::Relaxed);
            let _ = clock_gettime(ClockId::ThreadCPUTime);
        }
    }
}

impl Drop for ConnectionCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
