//! Time series of the test data: names, labels and shapes. Every value is a function of the
//! series and the time alone, so that two data sets agree wherever both have a sample.

mod catalogue;

use std::f64::consts::TAU;

pub(crate) use catalogue::all;

/// How a series runs over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// Rises by this much per second on average, and never falls.
    Counter(f64),
    /// Swings around a middle, by this much each way, over some hours.
    Gauge(f64, f64),
    /// Always this.
    Constant(f64),
}

/// One series.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) shape: Shape,
    /// Seconds between samples.
    pub(crate) step: u64,
    /// Moves the swings of alike series apart.
    phase: f64,
}

/// Counters start here, so that their values stay short: 2026-01-01.
const COUNTED_SINCE: f64 = 1_767_225_600.0;

/// Seconds of one swing.
const PERIOD: f64 = 3.0 * 3600.0;

/// Series that charts read through `rate(..[1m])` need two samples in every minute.
const DENSE: u64 = 30;

/// For the others two samples in five minutes do.
const SPARSE: u64 = 120;

impl Series {
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(label, _)| label == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value at a time in seconds since 1970.
    pub(crate) fn value(&self, time: u64) -> f64 {
        let time = time as f64 - COUNTED_SINCE;
        let angle = TAU * time / PERIOD + self.phase;
        match self.shape {
            Shape::Constant(value) => value,
            Shape::Gauge(middle, swing) => middle + swing * angle.sin(),
            // The integral of a rate that swings by half around its mean.
            Shape::Counter(rate) => rate * (time + 0.5 * PERIOD / TAU * (1.0 - angle.cos())),
        }
    }
}

/// Collects series.
struct Collector {
    all: Vec<Series>,
}

impl Collector {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], shape: Shape, step: u64) {
        let labels: Vec<(String, String)> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        // The phase comes from the labels, not from the place in the list: a new series must not
        // move the others.
        let seed: u64 = labels
            .iter()
            .flat_map(|(_, value)| value.bytes())
            .fold(7, |seed, byte| (seed * 31 + u64::from(byte)) % 1009);
        self.all.push(Series {
            name: name.to_owned(),
            labels,
            shape,
            step,
            phase: seed as f64 / 1009.0 * TAU,
        });
    }

    fn dense(&mut self, name: &str, labels: &[(&str, &str)], shape: Shape) {
        self.add(name, labels, shape, DENSE);
    }

    fn sparse(&mut self, name: &str, labels: &[(&str, &str)], shape: Shape) {
        self.add(name, labels, shape, SPARSE);
    }

    /// A classic histogram: buckets, sum and count of a stream of `rate` events per second.
    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], rate: f64, step: u64) {
        const BUCKETS: [(&str, f64); 6] = [
            ("0.01", 0.2),
            ("0.05", 0.5),
            ("0.1", 0.8),
            ("0.5", 0.95),
            ("1.0", 0.99),
            ("+Inf", 1.0),
        ];
        let first = self.all.len();
        for (bound, share) in BUCKETS {
            let mut labels = labels.to_vec();
            labels.push(("le", bound));
            let name = format!("{name}_bucket");
            self.add(&name, &labels, Shape::Counter(rate * share), step);
        }
        self.add(
            &format!("{name}_sum"),
            labels,
            Shape::Counter(rate * 0.08),
            step,
        );
        self.add(&format!("{name}_count"), labels, Shape::Counter(rate), step);
        // All parts swing together, or a bucket would overtake the next.
        let phase = self.all[first].phase;
        for series in &mut self.all[first..] {
            series.phase = phase;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Shape, all};

    #[test]
    fn no_series_is_there_twice() {
        let mut seen = HashSet::new();
        for series in all() {
            let mut labels = series.labels.clone();
            labels.sort();
            assert!(seen.insert((series.name.clone(), labels)), "{series:?}");
        }
    }

    #[test]
    fn counters_rise_and_buckets_stay_in_order() {
        let series = all();
        for counter in series
            .iter()
            .filter(|one| matches!(one.shape, Shape::Counter(_)))
        {
            let values: Vec<f64> = (0..400)
                .map(|index| counter.value(1_790_000_000 + index * counter.step))
                .collect();
            assert!(values.is_sorted(), "{}", counter.name);
        }
        let buckets: Vec<_> = series
            .iter()
            .filter(|one| one.name == "revision_request_latencies_bucket")
            .take(6)
            .map(|one| one.value(1_790_000_000))
            .collect();
        assert!(buckets.is_sorted());
    }
}
