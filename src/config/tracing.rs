//! Where spans go, and of which requests: the keys of `tracing`, and the variables that OpenTelemetry has for every
//! program. A key that is given wins. Headers, compression and resource attributes have no key: the exporter reads
//! `OTEL_EXPORTER_OTLP_HEADERS`, `..._COMPRESSION` and `OTEL_RESOURCE_ATTRIBUTES` itself, and they are checked here.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::fault::{Wrong, wrong};
use super::format::COLLECTOR;
use super::section::Section;
use super::{ClientTls, HOUR, MILLISECOND, TlsFiles};

/// The path that OTLP has for spans.
const TRACES: &str = "/v1/traces";

/// Spans that may wait to be sent, where nothing else is said.
const WAITING: usize = 2_048;

/// A span takes about a KiB.
const WAITING_BOUNDS: RangeInclusive<usize> = 1..=65_536;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Where spans are sent, `http` or `https`, with the whole path. Default `None`: there are no spans.
    pub endpoint: Option<Uri>,
    /// The share of the requests without a trace of their caller's that begin one. Default 0.
    pub sample_ratio: Ratio,
    /// Longest time of one delivery, second attempts included. Default 10 s.
    pub timeout: Duration,
    /// HTTPS to the collector.
    pub tls: ClientTls,
    /// How many spans may wait to be sent, at least 1. Default 2,048.
    pub waiting: usize,
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

/// It is always a number.
impl Eq for Ratio {}

impl Ratio {
    /// `None` for what is not from 0 to 1.
    pub fn new(ratio: f64) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then_some(Self(ratio))
    }

    pub fn as_f64(self) -> f64 {
        self.0
    }
}

impl Tracing {
    pub(super) fn read(section: &mut Section) -> Self {
        let endpoint = endpoint(section);
        let sample_ratio = section.ratio(
            "sampleRatio",
            Ratio(0.0),
            "Share of the requests without a trace of their caller's that begin one",
        );
        let timeout = section.duration(
            "timeout",
            "10s",
            MILLISECOND..=HOUR,
            "Longest time of one delivery to the collector",
        );
        let mut tracing = Self {
            endpoint,
            sample_ratio,
            timeout,
            tls: ClientTls::default(),
            waiting: WAITING,
        };
        // Where there are no spans, what somebody has set for all programs of the cluster is no fault.
        if tracing.endpoint.is_some() {
            tracing.read_environment(section);
        }
        tracing
    }

    fn read_environment(&mut self, section: &Section) {
        check_what_the_exporter_reads(section);
        if !section.given("sampleRatio")
            && let Some(ratio) = sampler(section)
        {
            self.sample_ratio = ratio;
        }
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ];
        let milliseconds = section.opentelemetry(&names, |text| {
            number(text, &(1..=3_600_000), "milliseconds")
        });
        if let Some(milliseconds) = milliseconds.filter(|_| !section.given("timeout")) {
            self.timeout = Duration::from_millis(milliseconds);
        }
        let waiting = section.opentelemetry(&["OTEL_BSP_MAX_QUEUE_SIZE"], |text| {
            number(text, &WAITING_BOUNDS, "spans")
        });
        self.waiting = waiting.unwrap_or(WAITING);
        self.tls = tls(section);
    }
}

/// The key's address, to which the path is added; else the one for spans, which is whole; else the one for all
/// signals, to which it is added.
fn endpoint(section: &mut Section) -> Option<Uri> {
    let given = section.optional_text(
        "endpoint",
        "The OTLP/HTTP collector, without /v1/traces; empty: OTEL_EXPORTER_OTLP_ENDPOINT, else no spans",
        &COLLECTOR,
    );
    if given
        .as_ref()
        .is_some_and(|uri| uri.path().ends_with(TRACES))
    {
        let problem = format!("ends with {TRACES}");
        section.fault("endpoint", wrong(problem, "leave it out: it is added"));
    }
    if section.given("endpoint") {
        return given.map(|uri| with_path(&uri));
    }
    let word = |text: &str| Ok(text.to_ascii_lowercase());
    let is = |name, said: &str| section.opentelemetry(&[name], word).as_deref() == Some(said);
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    let read = |text: &str| {
        (COLLECTOR.read)(text).map_err(|Wrong { problem, hint }| {
            // It may hold a password.
            wrong(format!("the value {problem}"), hint)
        })
    };
    let whole = section.opentelemetry(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"], read);
    let base = || section.opentelemetry(&["OTEL_EXPORTER_OTLP_ENDPOINT"], read);
    whole.or_else(|| base().map(|uri| with_path(&uri)))
}

fn with_path(collector: &Uri) -> Uri {
    let base = collector.to_string();
    format!("{}{TRACES}", base.trim_end_matches('/'))
        .parse()
        .expect("a checked URL with a path of ours")
}

/// The samplers that follow the caller's decision about a trace, as the proxy always does.
fn sampler(section: &Section) -> Option<Ratio> {
    let argument = || section.opentelemetry(&["OTEL_TRACES_SAMPLER_ARG"], ratio);
    let sampler = section.opentelemetry(&["OTEL_TRACES_SAMPLER"], |text| match text {
        "parentbased_always_on" => Ok(Some(Ratio(1.0))),
        "parentbased_always_off" => Ok(Some(Ratio(0.0))),
        "parentbased_traceidratio" => Ok(None),
        _ => Err(wrong(
            "is not a sampler that the proxy has",
            "write parentbased_traceidratio, parentbased_always_on or parentbased_always_off, or set tracing.sampleRatio",
        )),
    })?;
    // All, where no share is said: the specification's own default.
    sampler.or_else(|| argument().or(Some(Ratio(1.0))))
}

fn ratio(text: &str) -> Result<Ratio, Wrong> {
    let ratio = text.parse().ok().and_then(Ratio::new);
    ratio.ok_or_else(|| wrong("is not a number from 0 to 1", "write it like 0.05"))
}

fn tls(section: &Section) -> ClientTls {
    let file =
        |names: [&'static str; 2]| section.opentelemetry(&names, |text| Ok(PathBuf::from(text)));
    let own = [
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    ];
    let keys = [
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    ];
    let (certificate, key) = (file(own), file(keys));
    if certificate.is_some() != key.is_some() {
        let alone = |_: &str| {
            let hint = "set certificate and key, or none of them";
            Err::<(), _>(wrong("is set alone", hint))
        };
        section.opentelemetry(if key.is_none() { &own } else { &keys }, alone);
    }
    ClientTls {
        ca_file: file([
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
        ]),
        client: certificate.zip(key).map(|(cert_file, key_file)| TlsFiles {
            cert_file,
            key_file,
        }),
        server_name: None,
    }
}

/// The exporter ignores what it does not understand, so that spans would not go out as somebody wrote.
fn check_what_the_exporter_reads(section: &Section) {
    let one_of = |names: &[&'static str], words: &'static [&'static str]| {
        section.opentelemetry(names, |text| {
            let known = words.iter().any(|word| text.eq_ignore_ascii_case(word));
            let hint = format!("write one of {}", words.join(", "));
            if known {
                Ok(())
            } else {
                Err(wrong("is not what the proxy can do", hint))
            }
        });
    };
    one_of(
        &[
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ],
        &["http/protobuf"],
    );
    one_of(
        &[
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ],
        &["gzip", "none"],
    );
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ];
    section.opentelemetry(&names, |text| {
        let is_header = |entry: &str| {
            let name = entry.split_once('=').map(|(name, _)| name.trim());
            name.is_some_and(|name| http::HeaderName::try_from(name).is_ok())
        };
        let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
        let mut wrong_ones = entries.filter(|entry| !is_header(entry));
        match wrong_ones.next() {
            None => Ok(()),
            Some(_) => Err(wrong(
                "has an entry that is not a header",
                "write name=value, with commas between them, and %2C for a comma in a value",
            )),
        }
    });
}

fn number<T>(text: &str, bounds: &RangeInclusive<T>, unit: &str) -> Result<T, Wrong>
where
    T: std::str::FromStr + PartialOrd + Display,
{
    let number = text.trim().parse().ok();
    number
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| {
            let (start, end) = (bounds.start(), bounds.end());
            wrong(
                format!("is not a number of {unit} that can be used"),
                format!("write {start} to {end}"),
            )
        })
}
