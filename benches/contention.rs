//! What it costs that all workers count in the same histograms and counters: two threads that do nothing else, side by
//! side, against the same with one for each.
//!
//! ```text
//! cargo bench --bench contention
//! ```
//!
//! The threads wait for each other before each short burst, and only bursts that ran side by side for four fifths of
//! their time count. So it can be measured on a machine that has more to do; it then takes longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prom_rbac_proxy::telemetry::metrics::DURATIONS;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

const THREADS: u64 = 2;
const OPERATIONS: u32 = 500;

/// Of so many, the first and the last are in no common line of a cache.
const APART: usize = 64;

/// So many bursts side by side are enough.
const ENOUGH: usize = 1_000;
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    let histograms = Arc::new([(); APART].map(|()| Histogram::new(DURATIONS)));
    let counters = Arc::new([(); APART].map(|()| Counter::<u64>::default()));
    let (one_histogram, one_counter) = (histograms[0].clone(), counters[0].clone());
    measure("one histogram", move |_| one_histogram.observe(0.003));
    measure("a histogram for each", move |it| {
        histograms[it * (APART - 1)].observe(0.003)
    });
    measure("one counter", move |_| {
        one_counter.inc();
    });
    measure("a counter for each", move |it| {
        counters[it * (APART - 1)].inc();
    });
}

fn measure(name: &str, operation: impl Fn(usize) + Clone + Send + 'static) {
    let (arrived, clock) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut nanoseconds = Vec::new();
    let mut bursts = 0;
    while nanoseconds.len() < ENOUGH && clock.elapsed() < LIMIT {
        // Some at a time, so that a thread need not be told to end in the middle.
        let threads = [0, 1].map(|thread| {
            let (arrived, operation) = (arrived.clone(), operation.clone());
            std::thread::spawn(move || {
                let burst = |number| burst(&arrived, number, clock, || operation(thread));
                (bursts + 1..=bursts + 1_000).map(burst).collect::<Vec<_>>()
            })
        });
        bursts += 1_000;
        let [first, second] = threads.map(|thread| thread.join().expect("no panic"));
        let pairs = first.into_iter().zip(second);
        nanoseconds.extend(pairs.filter_map(|(one, other)| side_by_side(one, other)));
    }
    nanoseconds.sort_by(f64::total_cmp);
    let part = |part: f64| nanoseconds.get((nanoseconds.len() as f64 * part) as usize);
    let shown = [0.1, 0.5, 0.9].map(|p| part(p).map_or("-".to_owned(), |ns| format!("{ns:.0}")));
    let count = nanoseconds.len();
    println!(
        "{name:22} ns each, p10 p50 p90: {} ({count} bursts)",
        shown.join(" ")
    );
}

/// When it began and ended, since the clock was started.
fn burst(
    arrived: &AtomicU64,
    number: u64,
    clock: Instant,
    operation: impl Fn(),
) -> (Duration, Duration) {
    arrived.fetch_add(1, Ordering::SeqCst);
    let mut looks = 0;
    while arrived.load(Ordering::SeqCst) < THREADS * number {
        looks += 1;
        match looks {
            ..3_000 => std::hint::spin_loop(),
            _ => std::thread::yield_now(),
        }
    }
    let begun = clock.elapsed();
    for _ in 0..OPERATIONS {
        operation();
    }
    (begun, clock.elapsed())
}

/// Nanoseconds of an operation, where two bursts were side by side.
fn side_by_side(one: (Duration, Duration), other: (Duration, Duration)) -> Option<f64> {
    let longest = (one.1 - one.0).max(other.1 - other.0);
    let common = one.1.min(other.1).saturating_sub(one.0.max(other.0));
    (common * 5 > longest * 4).then(|| longest.as_nanos() as f64 / f64::from(OPERATIONS))
}
