//! Values of the proxy's `/metrics`.

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

const PREFIX: &str = "prom_rbac_proxy_";

/// The value of a series, by its name and labels as they are written in `metrics`; 0 where it is not there yet.
///
/// # Panics
/// If docs/metrics.md has no such metric: one that is misspelled would be 0 for ever.
pub fn value(metrics: &str, series: &str) -> f64 {
    let (name, _) = series.split_once('{').unwrap_or((series, ""));
    assert!(is_documented(name), "there is no metric {name}");
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

fn is_documented(name: &str) -> bool {
    let Some(name) = name.strip_prefix(PREFIX) else {
        return false;
    };
    DOCUMENT.lines().any(|line| {
        let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`'));
        let (documented, kind) = (cells.nth(1), cells.next());
        documented.is_some_and(|documented| match kind {
            Some("histogram") => ["_bucket", "_count", "_sum"]
                .into_iter()
                .any(|part| name.strip_suffix(part) == Some(documented)),
            Some("counter" | "gauge" | "info") => name == documented,
            _ => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_that_is_not_there_yet_is_none_and_one_that_cannot_be_is_a_failure() {
        let metrics = "prom_rbac_proxy_connections 3\n";
        assert_eq!(value(metrics, "prom_rbac_proxy_connections"), 3.0);
        for series in [
            "prom_rbac_proxy_requests_total{door=\"service\"}",
            "prom_rbac_proxy_request_duration_seconds_count",
        ] {
            assert_eq!(value(metrics, series), 0.0);
        }
        for series in [
            "prom_rbac_proxy_connections_open",
            "prom_rbac_proxy_requests",
            "prom_rbac_proxy_request_duration_seconds",
            "prom_rbac_proxy_door",
            "connections",
        ] {
            assert!(std::panic::catch_unwind(|| value(metrics, series)).is_err());
        }
    }
}
