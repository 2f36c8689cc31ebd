//! What is compared: how each is started, and how it is asked.

use std::time::{Duration, Instant};

use support::client::Call;

use crate::Result;
use crate::cases::{Case, Size};
use crate::launch::{START_LIMIT, Started, launch, launch_ours};
use crate::nginx::{ECHO, PASSED_PATH, free_address};
use crate::stage::{QUERY, Scope, Stage, token};
use crate::usage::Processes;
use crate::wrk::{Load, Outcome};

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The upstream itself, without a proxy.
    Upstream,
    Nginx,
    /// With a buffered access log, since ours has its audit log on.
    NginxLogging,
    /// With HTTPS to the caller.
    NginxTls,
    /// With HTTPS to the upstream: what the gateway is compared to.
    NginxToHttps,
    Everything,
    Namespaced,
    /// Ours with hyper's client to the upstream, in its own form only.
    HyperEverything,
    HyperNamespaced,
    Cookie,
    Tls,
    Gateway,
    KubeRbacProxy,
    PromLabelProxy,
    /// kube-rbac-proxy in front of prom-label-proxy.
    Chained,
}

impl Kind {
    /// All but those with hyper's client, which take another build.
    pub(crate) const ALL: [Self; 13] = [
        Self::Upstream,
        Self::Nginx,
        Self::NginxLogging,
        Self::NginxTls,
        Self::NginxToHttps,
        Self::Everything,
        Self::Namespaced,
        Self::Cookie,
        Self::Tls,
        Self::Gateway,
        Self::KubeRbacProxy,
        Self::PromLabelProxy,
        Self::Chained,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream-alone",
            Self::Nginx => "nginx",
            Self::NginxLogging => "nginx-logging",
            Self::NginxTls => "nginx-tls",
            Self::NginxToHttps => "nginx-to-https",
            Self::Everything => "direct-everything",
            Self::Namespaced => "direct-namespaced",
            Self::HyperEverything => "hyper-h1-everything",
            Self::HyperNamespaced => "hyper-h1-namespaced",
            Self::Cookie => "cookie",
            Self::Tls => "tls",
            Self::Gateway => "gateway-pass",
            Self::KubeRbacProxy => "kube-rbac-proxy",
            Self::PromLabelProxy => "prom-label-proxy",
            Self::Chained => "kube-rbac-proxy+prom-label-proxy",
        }
    }

    /// Whether it has to be built from elsewhere first.
    pub(crate) fn is_peer(self) -> bool {
        matches!(
            self,
            Self::KubeRbacProxy | Self::PromLabelProxy | Self::Chained
        )
    }

    /// The nginx whose processor time it is divided by: one that does the same work but for the checks. All but
    /// the gateway's is the plainest, TLS included.
    pub(crate) fn reference(self) -> Self {
        match self {
            Self::Gateway | Self::NginxToHttps => Self::NginxToHttps,
            _ => Self::Nginx,
        }
    }

    fn scope(self) -> Scope {
        match self {
            Self::Namespaced | Self::HyperNamespaced => Scope::Namespaced,
            _ => Scope::Everything,
        }
    }

    /// Whether it asks Kubernetes about callers, and remembers them.
    fn remembers(self) -> bool {
        matches!(
            self,
            Self::Everything
                | Self::Namespaced
                | Self::HyperEverything
                | Self::HyperNamespaced
                | Self::Cookie
                | Self::Tls
                | Self::KubeRbacProxy
                | Self::Chained
        )
    }

    /// Whether the upstream is asked for team-a alone.
    fn restricts(self) -> bool {
        matches!(
            self,
            Self::Namespaced | Self::HyperNamespaced | Self::PromLabelProxy | Self::Chained
        )
    }

    fn path(self) -> &'static str {
        match self {
            Self::Gateway | Self::NginxToHttps => PASSED_PATH,
            _ => "/api/v1/query",
        }
    }
}

/// A contender that answers. Its processes end when this is dropped.
pub(crate) struct Running {
    pub(crate) kind: Kind,
    started: Vec<Started>,
    /// Of the upstream, which is not ours to end.
    borrowed: Option<u32>,
    /// Scheme and authority.
    base: String,
    /// Callers who came so far, where each comes once.
    seen: u64,
}

impl Running {
    /// Starts it and waits until it answers correctly.
    ///
    /// # Errors
    /// If it does not.
    pub(crate) fn start(kind: Kind, stage: &Stage) -> Result<Self> {
        let contender = Self::launch(kind, stage)?;
        let deadline = Instant::now() + START_LIMIT;
        while let Err(error) = contender.check(stage) {
            if Instant::now() > deadline {
                return Err(format!("{} does not answer: {error}", kind.name()).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(contender)
    }

    /// Starts it and does not wait.
    fn launch(kind: Kind, stage: &Stage) -> Result<Self> {
        let (started, address) = launch(kind, stage)?;
        let scheme = match kind {
            Kind::Tls | Kind::NginxTls => "https",
            _ => "http",
        };
        Ok(Self {
            kind,
            started,
            borrowed: (kind == Kind::Upstream).then(|| stage.upstream.id()),
            base: format!("{scheme}://{address}"),
            seen: 0,
        })
    }

    /// Asks once for an answer, and once what the upstream was asked.
    fn check(&self, stage: &Stage) -> Result<()> {
        let (header, value) = self.credential();
        let value = numbered(&value, 0);
        let ask = |time| {
            let url = self.url(time);
            let answer = stage.runtime.block_on(async {
                let answer = Call::get(&url).header(header, &value).try_send();
                tokio::time::timeout(START_LIMIT, answer).await
            });
            let answer = answer?.map_err(|error| error.to_string())?;
            match answer.status.as_u16() {
                200 => Ok(answer.text().to_owned()),
                status => {
                    let text = answer.text();
                    Err(Box::<dyn std::error::Error>::from(format!(
                        "{status} {text}"
                    )))
                }
            }
        };
        let length = ask(Size::Medium.time())?.len();
        if length != Size::Medium.bytes() {
            return Err(format!("the answer has {length} bytes").into());
        }
        let asked = ask(ECHO)?;
        if asked.contains("team-a") != self.kind.restricts() {
            return Err(format!("the upstream was asked {asked}").into());
        }
        Ok(())
    }

    fn url(&self, time: u32) -> String {
        format!(
            "{}{}?query={QUERY}&time={time}",
            self.base,
            self.kind.path()
        )
    }

    /// The header that carries a token, and its value with `%08d` for the caller's number.
    fn credential(&self) -> (&'static str, String) {
        let token = token(self.kind.scope());
        match self.kind {
            Kind::Cookie => ("Cookie", standins::headlamp::cookie_header("main", &token)),
            _ => ("Authorization", format!("Bearer {token}")),
        }
    }

    /// Sends load for that long.
    ///
    /// # Errors
    /// If wrk fails.
    pub(crate) fn load(
        &mut self,
        case: &Case,
        duration: Duration,
        stage: &Stage,
    ) -> Result<Outcome> {
        let outcome = self.send(case, 0, duration, stage)?;
        if case.cold {
            // Those that were sent and not answered are known by now, too.
            self.seen += outcome.requests + u64::from(case.connections);
        }
        Ok(outcome)
    }

    /// Has every caller of a warm case answered once, and tells whether that came to an end within `limit`. What is
    /// remembered of callers ends while the other contenders are measured.
    ///
    /// # Errors
    /// If wrk fails.
    pub(crate) fn warm(&mut self, case: &Case, limit: Duration, stage: &Stage) -> Result<bool> {
        if case.cold || case.callers == 1 || !self.kind.remembers() {
            return Ok(true);
        }
        // Answers as small as possible: this is about the callers alone.
        let small = Case {
            size: Size::Small,
            connections: 32,
            ..*case
        };
        let begun = Instant::now();
        let mut answered = 0;
        while answered < u64::from(case.callers) {
            if begun.elapsed() >= limit {
                return Ok(false);
            }
            answered += self
                .send(&small, answered, Duration::from_secs(1), stage)?
                .requests;
        }
        Ok(true)
    }

    fn send(
        &self,
        case: &Case,
        skipped: u64,
        duration: Duration,
        stage: &Stage,
    ) -> Result<Outcome> {
        let (header, value) = self.credential();
        let load = Load {
            url: &self.url(case.size.time()),
            header,
            value,
            encoding: None,
            connections: case.connections,
            first: self.seen,
            callers: (!case.cold).then_some(case.callers),
            skipped,
        };
        let outcome = crate::wrk::run(&load, duration, &stage.folder)?;
        stage.api.forget_requests();
        Ok(outcome)
    }

    /// What it consists of.
    ///
    /// # Errors
    /// If there is no `/proc`.
    pub(crate) fn processes(&self) -> Result<Processes> {
        let started = self.started.iter().map(Started::id);
        let roots: Vec<u32> = started.chain(self.borrowed).collect();
        Ok(Processes::of(&roots)?)
    }

    /// Its name, its processes, where an answer of that size is asked for, and the header that carries a token.
    pub(crate) fn asked(&self, size: Size) -> String {
        let (header, value) = self.credential();
        let processes: Vec<String> = (self.started.iter())
            .map(|started| started.id().to_string())
            .collect();
        format!(
            "{} {} {} {header}: {}",
            self.kind.name(),
            processes.join("+"),
            self.url(size.time()),
            numbered(&value, 0),
        )
    }

    /// A request for an answer of that size, as bytes, and where to send it. Plain HTTP only.
    pub(crate) fn request(&self, size: Size) -> (&str, String) {
        let (header, value) = self.credential();
        let address = self.base.trim_start_matches("http://");
        let path = self.kind.path();
        let time = size.time();
        let value = numbered(&value, 0);
        let request = format!(
            "GET {path}?query={QUERY}&time={time} HTTP/1.1\r\nHost: {address}\r\n{header}: {value}\r\n\r\n"
        );
        (address, request)
    }
}

fn numbered(value: &str, number: u64) -> String {
    value.replace("%08d", &format!("{number:08}"))
}

/// Starts one and tells how long it took until it says that it is ready; those that cannot say so, until their
/// first good answer.
///
/// # Errors
/// If it does not start.
pub(crate) fn start_time(kind: Kind, stage: &Stage) -> Result<Duration> {
    let begun = Instant::now();
    if kind.is_peer() || kind == Kind::Nginx {
        let contender = Running::launch(kind, stage)?;
        let (address, request) = contender.request(Size::Small);
        until_ok(address, &request, begun)
    } else {
        let admin = free_address()?;
        let _proxy = launch_ours(stage, admin, kind)?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        until_ok(&admin.to_string(), &request, begun)
    }
}

fn until_ok(address: &str, request: &str, begun: Instant) -> Result<Duration> {
    while begun.elapsed() < START_LIMIT {
        if crate::footprint::first_bytes(address, request)
            .is_ok_and(|(_, head)| head.starts_with(b"HTTP/1.1 200"))
        {
            return Ok(begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("it is not ready in time".into())
}
