//! Times and durations as Prometheus' HTTP API takes them.

use std::time::{Duration, SystemTime};

const MILLISECOND: u64 = 1;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const YEAR: u64 = 365 * DAY;

/// The boundaries of time as Prometheus writes them (`minTimeFormatted` and `maxTimeFormatted` in web/api/v1), which
/// are not RFC 3339. Clients send them for all of time.
const BOUNDARIES: [(&str, f64); 2] = [
    ("-292273086-05-16T16:47:06Z", -9_223_309_901_257_974.0),
    (
        "292277025-08-18T07:12:54.999999999Z",
        9_223_309_901_257_975.0,
    ),
];

/// Reads a time, as seconds since 1970: a number, or RFC 3339. `None` for anything else, not-a-number and
/// infinity included.
pub(super) fn time(text: &str) -> Option<f64> {
    if let Some(seconds) = number(text) {
        return Some(seconds);
    }
    if let Some((_, seconds)) = BOUNDARIES.iter().find(|(boundary, _)| *boundary == text) {
        return Some(*seconds);
    }
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    Some(timestamp.as_nanosecond() as f64 / 1e9)
}

/// Reads a time in the forms that MetricsQL adds to Prometheus' own: `now`, or a duration before that, as `now-1h30m`,
/// `-5m` and `5m`, of which the last two are the same. Returns the time that is meant, in seconds since 1970. `None`
/// for anything else.
pub(super) fn relative_to(now: SystemTime, text: &str) -> Option<String> {
    let before = match text.strip_prefix("now") {
        Some("") => Duration::ZERO,
        Some(rest) => units(rest.strip_prefix('-')?)?,
        None => units(text.strip_prefix('-').unwrap_or(text))?,
    };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    // In whole seconds, like the times of charts, so that the same request within one second stays the same.
    Some(now.saturating_sub(before).as_secs().to_string())
}

/// Reads a duration: a number of seconds, or Prometheus' notation, such as `5m` or `1h30m`. `None` for
/// anything else, and for what is negative.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if let Some(seconds) = number(text) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    units(text)
}

/// Whole numbers, each with its unit.
fn units(text: &str) -> Option<Duration> {
    let mut milliseconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let unit = &unit[..unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len())];
        let each = match unit {
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            "w" => WEEK,
            "y" => YEAR,
            _ => return None,
        };
        milliseconds = milliseconds.checked_add(count.checked_mul(each)?)?;
        rest = &rest[digits + unit.len()..];
    }
    (!text.is_empty()).then_some(Duration::from_millis(milliseconds))
}

fn number(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_numbers_or_rfc_3339() {
        for (text, seconds) in [
            ("0", 0.0),
            ("1700000000", 1.7e9),
            ("1700000000.5", 1_700_000_000.5),
            ("-1", -1.0),
            ("1.7e9", 1.7e9),
            ("1970-01-01T00:00:01Z", 1.0),
            ("1970-01-01T01:00:00.5+01:00", 0.5),
            ("-292273086-05-16T16:47:06Z", -9_223_309_901_257_974.0),
            (
                "292277025-08-18T07:12:54.999999999Z",
                9_223_309_901_257_975.0,
            ),
        ] {
            assert_eq!(time(text), Some(seconds), "{text}");
        }
    }

    #[test]
    fn e18_what_is_no_time_is_none() {
        for text in [
            "",
            "NaN",
            "Inf",
            "-Infinity",
            "1e400",
            "now",
            "yesterday",
            "1970-01-01",
            "5m",
            " 1",
        ] {
            assert_eq!(time(text), None, "{text:?}");
        }
    }

    #[test]
    fn times_relative_to_now_are_those_of_victoriametrics() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
        for (text, seconds) in [
            ("now", 1_700_000_000),
            ("now-5m", 1_699_999_700),
            ("-1h", 1_699_996_400),
            ("-1h30m", 1_699_994_600),
            ("now-1d", 1_699_913_600),
            ("5m", 1_699_999_700),
            ("now-300y", 0),
        ] {
            let read = relative_to(now, text);
            assert_eq!(read, Some(seconds.to_string()), "{text}");
        }
        for text in [
            "",
            "-",
            "now-",
            "now+5m",
            "+5m",
            "now 5m",
            "now--5m",
            "--5m",
            "-5",
            "5",
            "-1.5h",
            "Now",
            "now-5M",
            "1700000000",
            "2020-01-01T00:00:00Z",
        ] {
            assert_eq!(relative_to(now, text), None, "{text:?}");
        }
    }

    #[test]
    fn durations_are_seconds_or_with_units() {
        for (text, milliseconds) in [
            ("15", 15_000),
            ("0.5", 500),
            ("345", 345_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("10ms", 10),
        ] {
            assert_eq!(
                duration(text),
                Some(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "-1",
            "m",
            "5x",
            "5mm",
            "1.5h",
            "NaN",
            "99999999999999999999y",
            "18446744073709551615y",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[0-9a-zA-Z.:+-]{0,30}") {
            let _ = (time(&text), duration(&text), relative_to(SystemTime::UNIX_EPOCH, &text));
        }
    }
}
