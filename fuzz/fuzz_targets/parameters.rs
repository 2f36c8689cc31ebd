//! Any query string and form: they are refused, or what was read of them is within the limits.

#![no_main]

use std::time::SystemTime;

use http::Method;
use libfuzzer_sys::fuzz_target;
use prom_rbac_proxy::prometheus::{Accepted, RequestLimits, Target};

const PATHS: [&str; 4] = [
    "/api/v1/query_range",
    "/api/v1/series",
    "/api/v1/rules",
    "/federate",
];

// A byte for the path, a line with the query, and the form.
fuzz_target!(|input: &[u8]| {
    let Some((&path, rest)) = input.split_first() else {
        return;
    };
    let end = rest.iter().position(|&byte| byte == b'\n');
    let (query, body) = rest.split_at(end.unwrap_or(rest.len()));
    let body = body.get(1..).unwrap_or_default();
    let Ok(query) = std::str::from_utf8(query) else {
        return;
    };
    let limits = RequestLimits {
        max_query_bytes: 512,
        max_range: Some(std::time::Duration::from_secs(3600)),
        max_points: Some(100),
        max_selectors: 32,
        max_parameters: 1_100,
        max_parameter_bytes: 1_024,
        namespace_parameters: Vec::new(),
    };
    let path = PATHS[usize::from(path) % PATHS.len()];
    let target = Target::find(path, &Method::GET).expect("an endpoint");
    let accepted = Accepted {
        parameters: &["dedup".to_owned()],
        // Whoever takes relative times takes all others, too.
        metricsql: Some(SystemTime::UNIX_EPOCH),
    };
    let Ok(request) = target.read(query, body, accepted, &limits) else {
        return;
    };
    let texts = request
        .expression()
        .into_iter()
        .chain(request.selectors().iter().map(String::as_str));
    for text in texts {
        assert!(text.len() <= limits.max_query_bytes && !text.contains('\0'));
    }
    assert!(request.selectors().len() <= 32);
    for (name, value) in request.others() {
        assert!(
            value.len() <= 1024
                && (name == "dedup" || request.endpoint().parameter(name).is_some())
        );
    }
});
