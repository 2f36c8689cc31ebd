//! Runs `wrk` for one contender and reads what it has counted.
//!
//! One thread: it shares the machine with what it measures. wrk corrects its latencies for the requests that it
//! could not send while it waited.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::Result;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) url: &'a str,
    /// A header that carries the token.
    pub(crate) header: &'static str,
    /// Its value, with `%08d` where the caller's number stands.
    pub(crate) value: String,
    /// What it accepts beside answers that are not compressed.
    pub(crate) encoding: Option<&'static str>,
    pub(crate) connections: u32,
    /// The number of the first caller.
    pub(crate) first: u64,
    /// How many there are, in turn. `None`: one for each request.
    pub(crate) callers: Option<u32>,
    /// Which of them comes first: each run of wrk begins anew.
    pub(crate) skipped: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Answers that came whole.
    pub(crate) requests: u64,
    /// Bytes that came, those of answers that did not come whole included.
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    /// Answers other than 2xx and 3xx, broken connections, and those that took longer than wrk waits.
    pub(crate) errors: u64,
}

const SCRIPT: &str = r#"
local function headers(number)
  return { ["Accept"] = "application/json", ["Accept-Encoding"] = ENCODING, ["User-Agent"] = "load", [HEADER] = string.format(VALUE, number) }
end

if CALLERS == 1 then
  wrk.headers = headers(FIRST)
else
  local made, number = {}, SKIPPED
  init = function()
    -- A request that is made once costs wrk less while it measures.
    for index = 0, CALLERS - 1 do
      made[index] = wrk.format("GET", nil, headers(FIRST + index))
    end
  end
  request = function()
    local index = number
    number = number + 1
    if CALLERS == 0 then
      return wrk.format("GET", nil, headers(FIRST + index))
    end
    return made[index % CALLERS]
  end
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"bytes":%.0f,"duration_us":%d,"p50_us":%.0f,"p90_us":%.0f,"p99_us":%.0f,"errors":%d}\n',
    summary.requests, summary.bytes, summary.duration,
    latency:percentile(50), latency:percentile(90), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;

/// Runs it for that long. Its script is written to `folder`.
///
/// # Errors
/// If wrk is not installed or does not end as it should.
pub(crate) fn run(load: &Load<'_>, duration: Duration, folder: &Path) -> Result<Outcome> {
    // wrk knows whole seconds.
    let seconds = duration.as_secs().max(1);
    let script = folder.join("load.lua");
    let variables = format!(
        "local HEADER, VALUE, ENCODING, FIRST, CALLERS, SKIPPED = {:?}, {:?}, {}, {}, {}, {}\n",
        load.header,
        load.value,
        load.encoding
            .map_or("nil".to_owned(), |encoding| format!("{encoding:?}")),
        load.first,
        load.callers.unwrap_or(0),
        load.skipped
    );
    fs::write(&script, variables + SCRIPT)?;
    let output = Command::new("wrk")
        .args(["--threads", "1", "--latency", "--timeout", "30s"])
        .args(["--connections", &load.connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg("--script")
        .args([script.as_os_str(), load.url.as_ref()])
        .output()
        .map_err(|error| format!("wrk cannot be run, is it installed? {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let Some(result) = result else {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(format!("wrk failed: {text}{error}").into());
    };
    let result: Value = serde_json::from_str(result)?;
    let number = |key: &str| result[key].as_f64().unwrap_or(0.0);
    Ok(Outcome {
        requests: number("requests") as u64,
        bytes: number("bytes") as u64,
        seconds: number("duration_us") / 1e6,
        p50_us: number("p50_us"),
        p90_us: number("p90_us"),
        p99_us: number("p99_us"),
        errors: number("errors") as u64,
    })
}
