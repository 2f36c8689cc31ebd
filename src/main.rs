//! Reads the arguments, starts the log and the runtime, runs the command, and ends with its exit code.

mod version;

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use prom_rbac_proxy::app;
use prom_rbac_proxy::authn::Caller;
use prom_rbac_proxy::cli::args::{Arguments, Command, FailOn, Outcome, Output};
use prom_rbac_proxy::cli::progress::Progress;
use prom_rbac_proxy::cli::{explain, manual};
use prom_rbac_proxy::config::Config;
use prom_rbac_proxy::doctor::{self, Severity};
use prom_rbac_proxy::telemetry::{self, Telemetry};

/// A request takes some sixty small allocations, and its memory is freed by the thread that took it: what this one is
/// made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    execute(Arguments::parse().command).into()
}

fn execute(command: Command) -> Outcome {
    // kube and the upstream client take the process' provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command {
        Command::Serve(file) => with_config(&file.path, |config| {
            let telemetry = match Telemetry::start(&config.logging.level) {
                Ok(telemetry) => telemetry,
                Err(telemetry::StartError::Level(error)) => return misused(&error),
                Err(error) => return failed(&error),
            };
            for warning in config.warnings() {
                tracing::warn!("{warning}");
            }
            match run(app::serve(config, &file.path, &telemetry)) {
                Ok(()) => Outcome::Success,
                Err(error) => failed(&*error),
            }
        }),
        Command::Check(file) => with_config(&file.path, |config| {
            for warning in config.warnings() {
                eprintln!("warning: {warning}");
            }
            print(format_args!("{}: ok\n", file.path.display()))
        }),
        Command::Explain(arguments) => with_config(&arguments.config.path, |config| {
            match run(explain::explain(config, &arguments)) {
                Ok(explanation) => {
                    let printed = print(format_args!("{explanation}"));
                    if explanation.is_allowed() {
                        printed
                    } else {
                        Outcome::Denied
                    }
                }
                Err(error) => failed(&*error),
            }
        }),
        Command::Doctor(arguments) => with_config(&arguments.config.path, |config| {
            let progress = Progress::new();
            let kubeconfig = arguments.kubeconfig.as_deref();
            let caller = arguments.user.as_deref();
            let caller = caller.map(|user| Caller::assumed(user, &arguments.groups));
            let show = |step: &str| progress.show(step);
            let wait = Duration::from_secs(arguments.wait.into());
            let examination = doctor::examine(config, kubeconfig, caller.as_ref(), wait, &show);
            let examined = run(examination);
            progress.clear();
            let report = match examined {
                Ok(report) => report,
                Err(error) => {
                    report(&*error);
                    return Outcome::Blind;
                }
            };
            let printed = match arguments.output {
                Output::Text => print(format_args!("{}", doctor::text(&report))),
                Output::Json => print(format_args!("{}", doctor::json(&report))),
            };
            match printed {
                Outcome::Success if fails(arguments.fail_on, &report) => Outcome::Findings,
                printed => printed,
            }
        }),
        Command::Schema => print(format_args!("{:#}\n", Config::schema())),
        Command::Completions { shell } => print(format_args!("{}", manual::completions(shell))),
        Command::Man { command } => match manual::page(command.as_deref()) {
            Ok(page) => print(format_args!("{page}")),
            Err(error) => misused(&error),
        },
        Command::Version => print(format_args!("{}", version::text())),
    }
}

fn fails(from: FailOn, report: &doctor::Report) -> bool {
    match from {
        FailOn::Warning => report.has_findings(Severity::Warning),
        FailOn::Error => report.has_findings(Severity::Error),
        FailOn::Never => false,
    }
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no failure.
fn print(text: std::fmt::Arguments<'_>) -> Outcome {
    let mut output = io::stdout().lock();
    match output.write_fmt(text).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => failed(&error),
        _ => Outcome::Success,
    }
}

fn with_config(path: &std::path::Path, command: impl FnOnce(&Config) -> Outcome) -> Outcome {
    match app::load(path) {
        Ok(config) => command(&config),
        Err(error) => misused(&error),
    }
}

/// Runs on the control runtime: everything but the requests of callers, which have workers of their own.
fn run<T, E: Error + 'static>(
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result?)
}

fn misused(error: &dyn Error) -> Outcome {
    report(error);
    Outcome::Misused
}

fn failed(error: &dyn Error) -> Outcome {
    report(error);
    Outcome::Failed
}

/// An error with its causes, on one line each.
fn report(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}
