//! Range queries that end about now, as a chart repeats them every few seconds.

use super::PrometheusRequest;
use crate::prometheus::Endpoint;

/// How far from now the end may be, in seconds: callers' clocks differ.
const ABOUT_NOW: u64 = 60;

/// A range query that ends about now, with only known parameters: times and step in whole seconds, and
/// nothing else that could change the answer. Only such a query is moved to a grid, and only its answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    start: u64,
    end: u64,
    step: u64,
}

impl Live {
    /// The last second that is asked for.
    pub fn end(self) -> u64 {
        self.end
    }

    /// The seconds between two times that the query may be moved to: its step, but no more than `longest`, and at least
    /// one.
    pub fn grid(self, longest: u64) -> u64 {
        self.step.min(longest).max(1)
    }

    /// The same, with both ends moved down together so that the end is on its grid. Range, step and number of points
    /// stay.
    fn aligned(self, longest: u64) -> Self {
        let late = (self.end % self.grid(longest)).min(self.start);
        Self {
            start: self.start - late,
            end: self.end - late,
            step: self.step,
        }
    }
}

#[cfg(test)]
impl Live {
    /// One over an hour that ends then.
    pub(crate) fn fake(end: u64) -> Self {
        Self {
            start: end - 3600,
            end,
            step: 30,
        }
    }
}

impl PrometheusRequest {
    /// The request as a query that ends about `now`, in seconds since 1970; `None` if it is anything else, or has an
    /// unknown parameter.
    pub fn live(&self, now: u64) -> Option<Live> {
        if self.endpoint != Endpoint::QueryRange {
            return None;
        }
        let (mut start, mut end, mut step) = (None, None, None);
        for (name, value) in self.others() {
            match name {
                "start" => start = Some(seconds(value)?),
                "end" => end = Some(seconds(value)?),
                "step" => step = Some(seconds(value)?),
                "timeout" => {}
                _ => return None,
            }
        }
        let live = Live {
            start: start?,
            end: end?,
            step: step.filter(|step| *step > 0)?,
        };
        (live.start <= live.end && live.end.abs_diff(now) <= ABOUT_NOW).then_some(live)
    }

    /// Moves the times of a query that is `live` down to its grid.
    pub fn align(&mut self, live: Live, longest: u64) -> Live {
        let aligned = live.aligned(longest);
        if aligned != live {
            for (name, value) in &mut self.others {
                match &**name {
                    "start" => *value = aligned.start.to_string(),
                    "end" => *value = aligned.end.to_string(),
                    _ => {}
                }
            }
        }
        aligned
    }
}

/// Whole seconds in plain digits, as the plugin writes them.
fn seconds(text: &str) -> Option<u64> {
    const LONGEST: usize = 12;
    let plain = !text.is_empty() && text.len() <= LONGEST;
    (plain && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::prometheus::{Accepted, RequestLimits, Target};

    const NOW: u64 = 1_700_000_003;

    fn read(path: &str, query: &str) -> PrometheusRequest {
        let limits = RequestLimits {
            max_query_bytes: 1000,
            max_selectors: 32,
            max_parameters: 1_100,
            max_parameter_bytes: 1_024,
            max_range: None,
            max_points: None,
            namespace_parameters: Vec::new(),
        };
        let target = Target::find(path, &Method::GET).expect("a target");
        let accepted = Accepted {
            parameters: &["dedup".to_owned()],
            metricsql: None,
        };
        let request = target.read(query, b"", accepted, &limits);
        request.expect("a request")
    }

    fn range(parameters: &str) -> PrometheusRequest {
        read("/api/v1/query_range", &format!("query=up&{parameters}"))
    }

    fn others(request: &PrometheusRequest) -> Vec<(&str, &str)> {
        request.others().collect()
    }

    #[test]
    fn what_the_plugin_asks_is_live_and_moves_to_the_grid() {
        let mut request = range("start=1699913603&end=1700000003&step=345");
        let live = request.live(NOW).expect("live");
        let aligned = request.align(live, 10);
        assert_eq!(aligned.end(), 1_700_000_000);
        let expected = [
            ("start", "1699913600"),
            ("end", "1700000000"),
            ("step", "345"),
        ];
        assert_eq!(others(&request), expected);
        assert_eq!(request.live(NOW), Some(aligned));
    }

    #[test]
    fn the_grid_is_no_coarser_than_the_step() {
        for (step, grid) in [(1, 1), (2, 2), (9, 9), (10, 10), (3600, 10)] {
            let request = range(&format!("start=1&end={NOW}&step={step}"));
            assert_eq!(request.live(NOW).expect("live").grid(10), grid, "{step}");
        }
        let request = range(&format!("start=1&end={NOW}&step=5"));
        assert_eq!(request.live(NOW).expect("live").grid(0), 1);
    }

    #[test]
    fn what_is_past_or_not_known_is_left_as_it_is() {
        for parameters in [
            "start=1&end=1700000003",
            "start=1&step=10",
            "end=1700000003&step=10",
            "start=1&end=1699999942&step=10",
            "start=1&end=1700000064&step=10",
            "start=1700000004&end=1700000003&step=10",
            "start=1&end=1700000003.5&step=10",
            "start=1.5&end=1700000003&step=10",
            "start=1&end=1700000003&step=10s",
            "start=1&end=1700000003&step=1e1",
            "start=%2B1&end=1700000003&step=10",
            "start=2023-11-14T22:13:20Z&end=1700000003&step=10",
            "start=1&end=1700000003&step=10&limit=5",
            "start=1&end=1700000003&step=10&stats=all",
            "start=1&end=1700000003&step=10&lookback_delta=5m",
            "start=1&end=1700000003&step=10&dedup=false",
        ] {
            assert_eq!(range(parameters).live(NOW), None, "{parameters}");
        }
        let instant = read("/api/v1/query", "query=up&time=1700000003");
        assert_eq!(instant.live(NOW), None);
        let series = read("/api/v1/series", "match[]=up&start=1&end=1700000003");
        assert_eq!(series.live(NOW), None);
    }

    proptest! {
        #[test]
        fn times_move_by_less_than_the_grid_together_and_once(
            end in NOW - ABOUT_NOW..=NOW + ABOUT_NOW,
            range_seconds in 0_u64..1_700_000_100,
            step in 1_u64..4000,
            longest in 0_u64..20,
        ) {
            let start = end.saturating_sub(range_seconds);
            let mut request = range(&format!("start={start}&end={end}&step={step}"));
            let live = request.live(NOW).expect("live");
            let aligned = request.align(live, longest);
            prop_assert_eq!(aligned.end - aligned.start, live.end - live.start);
            prop_assert_eq!(aligned.step, live.step);
            let late = live.end - aligned.end;
            prop_assert!(late < live.grid(longest));
            if start >= live.grid(longest) {
                prop_assert_eq!(aligned.end % live.grid(longest), 0);
                prop_assert_eq!(aligned.aligned(longest), aligned);
            }
            let expected = [("start", aligned.start), ("end", aligned.end), ("step", step)];
            let written: Vec<_> = expected.iter().map(|(name, value)| (*name, value.to_string())).collect();
            let written: Vec<_> = written.iter().map(|(name, value)| (*name, value.as_str())).collect();
            prop_assert_eq!(others(&request), written);
        }
    }
}
