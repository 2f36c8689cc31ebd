//! A worker whose time slice is over gives its core to the other worker at once, not only at the kernel's next tick.
//!
//! Left alone, the kernel checks at its ticks, usually 4 ms apart. Under full load, when both workers of a two-core
//! machine were on the same core, all connections of one waited for the tick, and the slowest percent of requests took
//! 2.2 to 3.6 ms instead of 1.7 to 2. Reading the thread's CPU time brings the kernel's accounting up to date, as a
//! tick does (`update_curr` in `fair.c`; since Linux 6.6 a slice can end there, before that the call has no effect).
//!
//! Rejected: `sched_yield` gives up the rest of the slice, also to other programs. Pinning each worker to a core makes
//! it wait for whatever else runs there, 60 ms next to a busy process of more weight, even though another core is idle.
//!
//! **When to delete this file**: as soon as it makes no difference. Try that when the kernels that nodes commonly run
//! end a slice by a timer of their own (the scheduler's feature HRTICK, off where this was measured), and when the
//! workers are no longer threads that compete for cores. The measure is `scripts/bench short --only direct-everything`
//! on two cores, five rounds with the call and five without: if the slowest percent's medians differ by less than a
//! tenth, delete it, with `rustix`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long a worker runs before the kernel is made to check: well below a slice, which lasts 0.7 to 2.8 ms depending
/// on the number of cores.
const CHECK_INTERVAL: Duration = Duration::from_micros(250);

/// To be called whenever a worker runs out of work. Now and then it makes the kernel check.
pub(super) fn checking() -> impl Fn() + Send + Sync + 'static {
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
