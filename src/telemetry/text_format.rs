//! Converts OpenMetrics to Prometheus' older text format, for curl and whatever else does not ask for OpenMetrics.
//!
//! They differ in this: there, the name of a family is that of its series (`..._total`, `..._info`); there are no
//! units, no exemplars and no end mark; and what is an info here is a gauge.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

/// Converts an OpenMetrics text. Labels and values stay as they are.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            // Until the next line says what it is, its name is not known.
            help = told.split_once(' ');
        } else if let Some(told) = line.strip_prefix("# TYPE ") {
            let (family, kind) = told.split_once(' ').unwrap_or((told, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                "gauge" | "histogram" | "summary" => ("", kind),
                _ => ("", "untyped"),
            };
            if let Some((name, help)) = help.take()
                && name == family
            {
                plain += &format!("# HELP {family}{suffix} {help}\n");
            }
            plain += &format!("# TYPE {family}{suffix} {kind}\n");
        } else if !line.starts_with('#') && !line.is_empty() {
            plain += without_exemplar(line);
            plain.push('\n');
        }
    }
    plain
}

/// An exemplar follows the value, after ` # `. A label's value may hold that too, between quotes.
fn without_exemplar(sample: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in sample.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return sample[..at].trim_end(),
            _ => {}
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_named_as_its_series_are() {
        let openmetrics = "\
            # HELP a_requests Requests that have ended.\n\
            # TYPE a_requests counter\n\
            a_requests_total{door=\"service\"} 3\n\
            # HELP a_wait_seconds Time.\n\
            # TYPE a_wait_seconds histogram\n\
            # UNIT a_wait_seconds seconds\n\
            a_wait_seconds_sum 1.5\n\
            a_wait_seconds_count 2\n\
            a_wait_seconds_bucket{le=\"1.0\"} 1 # {trace_id=\"x\"} 0.5\n\
            a_wait_seconds_bucket{le=\"+Inf\"} 2\n\
            # HELP a_build This program.\n\
            # TYPE a_build info\n\
            a_build_info{version=\"1\"} 1\n\
            # TYPE a_thing unknown\n\
            a_thing 7\n\
            # EOF\n";
        let plain = "\
            # HELP a_requests_total Requests that have ended.\n\
            # TYPE a_requests_total counter\n\
            a_requests_total{door=\"service\"} 3\n\
            # HELP a_wait_seconds Time.\n\
            # TYPE a_wait_seconds histogram\n\
            a_wait_seconds_sum 1.5\n\
            a_wait_seconds_count 2\n\
            a_wait_seconds_bucket{le=\"1.0\"} 1\n\
            a_wait_seconds_bucket{le=\"+Inf\"} 2\n\
            # HELP a_build_info This program.\n\
            # TYPE a_build_info gauge\n\
            a_build_info{version=\"1\"} 1\n\
            # TYPE a_thing untyped\n\
            a_thing 7\n";
        assert_eq!(from_openmetrics(openmetrics), plain);
    }

    #[test]
    fn what_looks_like_an_exemplar_in_a_label_stays() {
        let sample = r#"a_total{b="1 # {x=\"y\"} 2",c="\\"} 3"#;
        assert_eq!(without_exemplar(sample), sample);
        let with = format!(r#"{sample} # {{trace_id="z"}} 1"#);
        assert_eq!(without_exemplar(&with), sample);
    }
}
