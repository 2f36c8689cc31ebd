//! What the measurements were made on, and with which versions.

use std::fmt;
use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine and the versions of what is on it. What cannot be found out is empty.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    pub(crate) system: String,
    /// Before the first measurement: above 0.5 something else was running.
    pub(crate) load_average: String,
    pub(crate) proxy: String,
    pub(crate) rustc: String,
    pub(crate) optimized: bool,
    pub(crate) nginx: String,
    pub(crate) wrk: String,
    /// As `scripts/bench-peers` says.
    pub(crate) peers: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gibibytes = self.memory_bytes as f64 / f64::from(1 << 30);
        let Self {
            processor,
            processors,
            system,
            kernel,
            load_average,
            ..
        } = self;
        write!(
            f,
            "{processors} processors ({processor}), {gibibytes:.1} GiB, {system}, Linux {kernel}; load average before: {load_average}"
        )
    }
}

impl Machine {
    /// Looks at this one.
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str, end: char| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.split_once(end));
            value.map_or_else(String::new, |(_, value)| {
                value.trim().trim_matches('"').to_owned()
            })
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal", ':');
        let kibibytes = memory
            .split(' ')
            .next()
            .and_then(|text| text.parse::<u64>().ok());
        let nginx = first_line("nginx", "-v");
        let commit = first_line_of(Command::new("git").args(["describe", "--always", "--dirty"]));
        Self {
            date: first_line("date", "+%F"),
            processor: field(&read("/proc/cpuinfo"), "model name", ':'),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kibibytes.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: field(&read("/etc/os-release"), "PRETTY_NAME", '='),
            load_average: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            proxy: format!("prom-rbac-proxy {} {commit}", env!("CARGO_PKG_VERSION"))
                .trim()
                .to_owned(),
            rustc: first_line("rustc", "--version"),
            optimized: !cfg!(debug_assertions),
            nginx: if nginx.is_empty() {
                first_line("/usr/sbin/nginx", "-v")
            } else {
                nginx
            },
            wrk: first_line("wrk", "--version"),
            peers: std::env::var("BENCH_PEERS_VERSIONS").unwrap_or_default(),
        }
    }
}

fn first_line(program: &str, argument: &str) -> String {
    first_line_of(Command::new(program).arg(argument))
}

fn first_line_of(command: &mut Command) -> String {
    let Ok(output) = command.output() else {
        return String::new();
    };
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // wrk and nginx tell their versions in one of the two, and wrk fails with it.
    let mut lines = out.lines().chain(error.lines());
    let line = lines.next().unwrap_or_default();
    line.split(" Copyright")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}
