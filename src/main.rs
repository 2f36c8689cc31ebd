//! Reads the arguments, starts the log and the runtime, runs the command, and ends with its exit code.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use prom_rbac_proxy::args::{Arguments, Command};
use prom_rbac_proxy::config::Config;
use prom_rbac_proxy::telemetry::{self, Telemetry};
use prom_rbac_proxy::{app, explain};

/// The program could not start, or a command failed.
const FAILED: u8 = 1;

/// The configuration has faults. clap ends with the same code for wrong arguments.
const MISUSED: u8 = 2;

/// What the caller asks about is denied; `explain` only.
const DENIED: u8 = 3;

fn main() -> ExitCode {
    // kube and the upstream client take the process' provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Arguments::parse().command {
        Command::Serve(file) => with_config(&file.path, |config| {
            let telemetry = match Telemetry::start(&config.logging.level) {
                Ok(telemetry) => telemetry,
                Err(error) => return failed(&error),
            };
            for warning in config.warnings() {
                tracing::warn!("{warning}");
            }
            match run(app::serve(config, &telemetry)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&*error),
            }
        }),
        Command::Check(file) => with_config(&file.path, |config| {
            if let Err(error) = telemetry::filter(&config.logging.level) {
                return failed(&error);
            }
            for warning in config.warnings() {
                eprintln!("warning: {warning}");
            }
            println!("{}: ok", file.path.display());
            ExitCode::SUCCESS
        }),
        Command::Explain(arguments) => with_config(&arguments.config.path, |config| {
            match run(explain::explain(config, &arguments)) {
                Ok(explanation) => {
                    print!("{explanation}");
                    if explanation.is_allowed() {
                        ExitCode::SUCCESS
                    } else {
                        ExitCode::from(DENIED)
                    }
                }
                Err(error) => failed(&*error),
            }
        }),
        Command::Schema => {
            println!("{:#}", Config::schema());
            ExitCode::SUCCESS
        }
        Command::Version => {
            println!("prom-rbac-proxy {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn with_config(path: &std::path::Path, command: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    match app::load(path) {
        Ok(config) => command(&config),
        Err(error) => {
            report(&error);
            ExitCode::from(MISUSED)
        }
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

fn failed(error: &dyn Error) -> ExitCode {
    report(error);
    ExitCode::from(FAILED)
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
