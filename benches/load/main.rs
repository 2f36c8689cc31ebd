//! The load benchmark: prom-rbac-proxy, nginx that checks nothing, and the proxies of other projects, side by side
//! on loopback, in alternating rounds.
//!
//! ```text
//! stage       Kubernetes, the upstream, callers      contenders  what is compared, and how it is asked
//! nginx       its configurations                     launch      how each contender starts
//! cases       what is varied, and the forms          machine     what it ran on, and versions
//! wrk         load and latencies                     usage       processor time and memory, from /proc
//! footprint   memory at rest, and start time         report      table, summary.json, docs/performance.md
//! sharing     many viewers of few charts, for itself document    the parts of docs/performance.md that are written
//! hyper_h1    hyper's client to the upstream, built into a binary of its own (src/upstream/mod.rs)
//! ```
//!
//! `--long`, `--short`, `--clients` or `--smoke`; without any of them it is the smoke form, which measures nothing that counts.
//! `scripts/bench` runs it with all that it needs.

mod cases;
mod contenders;
mod document;
mod footprint;
mod launch;
mod machine;
mod nginx;
mod report;
mod sharing;
mod spread;
mod stage;
mod usage;
mod wrk;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use self::cases::{Case, Form};
use self::contenders::{Kind, Running};
use self::document::SHARED;
use self::machine::Machine;
use self::report::{Report, Row};
use self::spread::Spread;
use self::stage::Stage;
use self::wrk::Outcome;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
cargo bench --bench load -- [--long | --full | --short | --clients | --smoke | --sharing] [--rounds N] [--seconds N] [--only NAME,...] [--document FILE] [--peers FOLDER]

  --long     each thing varied alone, all contenders, at least 5 rounds; writes docs/performance.md
  --full     the same with every combination
  --short    the main cases, in less than two minutes
  --clients  who sees everything and who sees namespaces, with our client to the upstream and with hyper's
  --smoke    everything once, for seconds; nothing that it measures counts
  --sharing  1,000 viewers of 50 charts with shared answers and without; writes target/bench/sharing.json
             and its part of docs/performance.md
  --rounds   other than the form's
  --seconds  of each contender in each round
  --only     of the contenders those with these names; nginx is always there, and no document is written
  --document another file for what the long form writes, with the same lines around it
  --peers    where kube-rbac-proxy and prom-label-proxy are; default: $BENCH_PEERS
  --hold     measures nothing: starts the contenders, says where they are, and waits for the end of its input;
             for a profiler, and for load of another kind";

fn main() -> ExitCode {
    // The stand-ins take the process' provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = if std::env::args().any(|argument| argument == "--sharing") {
        run_sharing()
    } else {
        arguments().and_then(|(form, peers)| run(&form, peers))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(Form, PathBuf)> {
    let mut form = None;
    let (mut rounds, mut seconds, mut only, mut document) = (None, None, None, None);
    let mut hold = false;
    let mut peers = std::env::var_os("BENCH_PEERS").map(PathBuf::from);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or(format!("{argument}: a value is missing"))
        };
        match argument.as_str() {
            "--long" => form = Some(Form::long(false)),
            "--full" => form = Some(Form::long(true)),
            "--short" => form = Some(Form::short()),
            "--clients" => form = Some(Form::clients()),
            "--smoke" => form = Some(Form::smoke()),
            "--rounds" => rounds = Some(value()?.parse::<usize>()?.max(1)),
            "--seconds" => seconds = Some(value()?.parse::<u64>()?.max(1)),
            "--only" => only = Some(value()?),
            "--document" => document = Some(PathBuf::from(value()?)),
            "--peers" => peers = Some(value()?.into()),
            "--hold" => hold = true,
            // What cargo itself says.
            "--bench" => {}
            _ => return Err(format!("{argument} is unknown\n{USAGE}").into()),
        }
    }
    let mut form = form.unwrap_or_else(Form::smoke);
    form.rounds = rounds.unwrap_or(form.rounds);
    form.measured = seconds.map_or(form.measured, Duration::from_secs);
    if let Some(only) = only {
        let names: Vec<&str> = only.split(',').collect();
        form.keep(|kind| kind == Kind::Nginx || names.contains(&kind.name()));
        form.document = None;
    }
    form.document = document.or(form.document);
    form.hold = hold;
    Ok((form, peers.unwrap_or_default()))
}

fn run(form: &Form, peers: PathBuf) -> Result<()> {
    if cfg!(debug_assertions) && form.document.is_some() {
        return Err("this build is not optimized: use cargo bench".into());
    }
    let target = target()?;
    let folder = target.join(format!("bench/run-{}", std::process::id()));
    let begun = Instant::now();
    let stage = Stage::start(folder, peers)?;
    if form.hold {
        return hold(form, stage);
    }
    let mut report = Report::new(form.name, Machine::look());
    for (case, kinds) in &form.cases {
        let rows = measure(case, kinds, form, &stage, &mut report)?;
        report.print(&rows);
        report.rows.extend(rows);
    }
    if let Some(footprint) = &form.footprint {
        for kind in &footprint.contenders {
            match footprint::measure(*kind, footprint, &stage) {
                Ok(measured) => report.footprints.push(measured),
                Err(error) if form.strict => return Err(error),
                Err(error) => report.missing(*kind, &*error),
            }
        }
        report.print_footprints();
    }
    report.print_missing();
    if form.strict {
        println!("the {} form ran in {:.1?}", form.name, begun.elapsed());
    } else {
        let path = target.join("bench/summary.json");
        report.write_summary(&path)?;
        println!("{} in {:.0?}", path.display(), begun.elapsed());
    }
    if let Some(document) = &form.document {
        report.write_document(form, document)?;
    }
    stage.end()
}

/// The load that sharing is for. An unoptimized build measures nothing that counts: there it is as short as can be.
fn run_sharing() -> Result<()> {
    // Before anything runs, for the load average.
    let machine = Machine::look();
    let target = target()?;
    let folder = target.join(format!("bench/run-{}", std::process::id()));
    let stage = Stage::start(folder, PathBuf::new())?;
    let length = if cfg!(debug_assertions) {
        sharing::Length {
            viewers: 100,
            charts: 10,
            refreshes: 1,
            rounds: 1,
            run: Duration::from_secs(1),
        }
    } else {
        sharing::Length {
            viewers: 1000,
            charts: 50,
            refreshes: 6,
            rounds: 5,
            run: Duration::from_secs(5),
        }
    };
    let figures = sharing::measure(&stage, length, &target.join("bench"))?;
    if cfg!(debug_assertions) {
        println!("not optimized, and so not kept: {}", figures.json());
    } else {
        figures.write(&target.join("bench/sharing.json"))?;
        SHARED.write(&figures.section(&machine), Path::new(document::PATH))?;
    }
    stage.end()
}

/// Starts the contenders of the first case, says how each is asked, and waits.
fn hold(form: &Form, stage: Stage) -> Result<()> {
    let (case, kinds) = form.cases.first().ok_or("there is no case")?;
    let mut contenders = Vec::new();
    for kind in kinds {
        let running = Running::start(*kind, &stage)?;
        println!("{}", running.asked(case.size));
        contenders.push(running);
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    drop(contenders);
    stage.end()
}

/// The folder that cargo builds into: what is measured, and where the results go.
fn target() -> Result<PathBuf> {
    let binary = std::env::current_exe()?;
    let is_profile = |folder: &&std::path::Path| folder.join("deps").is_dir();
    let profile = binary.ancestors().skip(1).find(is_profile);
    let target = profile.and_then(std::path::Path::parent);
    Ok(target.ok_or("this is not run by cargo")?.to_owned())
}

/// A contender in one case, and its measurements, one for each round.
struct Measuring {
    running: Running,
    rounds: Vec<(f64, Outcome)>,
    /// Whether all callers were known before each round.
    warm: bool,
}

/// Starts all contenders of a case and measures them in turn, beginning with another one in each round.
fn measure(
    case: &Case,
    kinds: &[Kind],
    form: &Form,
    stage: &Stage,
    report: &mut Report,
) -> Result<Vec<Row>> {
    let mut contenders = Vec::new();
    for kind in kinds {
        match Running::start(*kind, stage) {
            Ok(running) => contenders.push(Measuring {
                running,
                rounds: Vec::new(),
                warm: true,
            }),
            Err(error) if form.strict => return Err(error),
            Err(error) => report.missing(*kind, &*error),
        }
    }
    for contender in &mut contenders {
        if !form.warm_up.is_zero() {
            contender.running.load(case, form.warm_up, stage)?;
        }
    }
    let count = contenders.len();
    for round in 0..form.rounds(case) {
        for turn in 0..count {
            contenders[(round + turn) % count].measure(case, form, stage)?;
        }
    }
    let reference = |kind: Kind| {
        let mut all = contenders.iter();
        all.find(|contender| contender.running.kind == kind.reference())
    };
    let rows = contenders
        .iter()
        .map(|contender| contender.row(case, reference(contender.running.kind)));
    rows.collect()
}

impl Measuring {
    fn measure(&mut self, case: &Case, form: &Form, stage: &Stage) -> Result<()> {
        self.warm &= self.running.warm(case, form.warm_limit, stage)?;
        let processes = self.running.processes()?;
        let before = processes.cpu_us()?;
        let outcome = self.running.load(case, form.measured(case), stage)?;
        let used = processes.cpu_us()? - before;
        if form.strict && (outcome.errors > 0 || outcome.requests == 0) {
            let name = self.running.kind.name();
            return Err(format!("{name}, {}: {outcome:?}", case.name()).into());
        }
        let per_request = used as f64 / answers(case, &outcome);
        self.rounds.push((per_request, outcome));
        Ok(())
    }

    /// All requests, and those that failed.
    fn counts(&self) -> (u64, u64) {
        let outcomes = self.rounds.iter().map(|(_, outcome)| outcome);
        outcomes.fold((0, 0), |(requests, errors), outcome| {
            (requests + outcome.requests, errors + outcome.errors)
        })
    }

    fn row(&self, case: &Case, reference: Option<&Self>) -> Result<Row> {
        let median = |value: &dyn Fn(&(f64, Outcome)) -> f64| {
            let values: Vec<f64> = self.rounds.iter().map(value).collect();
            Spread::of(&values).median
        };
        // Failures are quick: a figure that is made of them would look good.
        let good = |contender: &Self| {
            let (requests, errors) = contender.counts();
            requests > 0 && errors * 100 <= requests
        };
        let reference = reference.filter(|reference| good(self) && good(reference));
        let ratio = reference.map(|reference| {
            let pairs = self.rounds.iter().zip(&reference.rounds);
            let ratios: Vec<f64> = pairs.map(|((own, _), (other, _))| own / other).collect();
            Spread::of(&ratios)
        });
        let rps = |(_, outcome): &(f64, Outcome)| answers(case, outcome) / outcome.seconds;
        Ok(Row {
            contender: self.running.kind,
            case: *case,
            rps: median(&rps),
            cpu_us_per_request: median(&|(cpu, _)| *cpu),
            p50_us: median(&|(_, outcome)| outcome.p50_us),
            p90_us: median(&|(_, outcome)| outcome.p90_us),
            p99_us: median(&|(_, outcome)| outcome.p99_us),
            peak_rss_bytes: self.running.processes()?.peak_resident_bytes()?,
            ratio_to_nginx: ratio,
            callers_known: (!case.cold).then_some(self.warm),
            errors: self.counts().1,
            rounds: self.rounds.len(),
        })
    }
}

/// Answers that came, in whole and, where each takes long, in parts: those on their way when the time ends have cost
/// processor time too.
fn answers(case: &Case, outcome: &Outcome) -> f64 {
    match case.size {
        cases::Size::Large => outcome.bytes as f64 / case.size.bytes() as f64,
        cases::Size::Small | cases::Size::Medium => outcome.requests as f64,
    }
}
