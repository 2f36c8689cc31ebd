//! What the user typed, and what the program ends with. Nothing here looks at a file or at the environment.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

const LONG_ABOUT: &str = "A reverse proxy between Headlamp or Grafana and Prometheus. It asks Kubernetes who a \
caller is and what they may read, restricts the PromQL query to those namespaces, and streams the answer.";

/// Lets Headlamp's view users see Prometheus charts of the namespaces that they may read, and nothing else.
#[derive(Debug, Parser)]
#[command(
    name = "prom-rbac-proxy",
    version,
    about,
    long_about = LONG_ABOUT,
    subcommand_value_name = "COMMAND",
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve until SIGTERM.
    ///
    /// SIGTERM and SIGINT end it in order: readiness fails, the listeners close, open answers go on for
    /// limits.drainTimeout. A second signal ends it at once. Logs are JSON lines on standard output.
    Serve(ConfigFile),
    /// Read the configuration, say all that is wrong with it, and end with 0 when nothing is.
    ///
    /// Opens no file that the configuration names and looks up no address.
    Check(ConfigFile),
    /// Say what somebody may see, why, and which query would be sent.
    ///
    /// Asks Kubernetes with the rights of whoever runs it: creates SubjectAccessReviews, lists and watches
    /// namespaces. Sends nothing to Prometheus. system:authenticated, and the groups of a ServiceAccount's name, are
    /// added.
    Explain(Explain),
    /// Say whether Headlamp finds the proxy, which charts have data, and which rights can be taken away.
    ///
    /// Changes nothing: asks Prometheus for names and counts, reads roles, bindings, Services and pods of the whole
    /// cluster, with the rights of whoever runs it, and with --as creates SubjectAccessReviews. What it may not read,
    /// it names. Ends with 1 when something should change.
    Doctor(Doctor),
    /// Print the JSON Schema of the configuration.
    ///
    /// For editors; config/ has it next to the example.
    Schema,
    /// Print a script that completes commands and options in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a manual page, in roff.
    Man {
        /// Of this command; without it, the program's own.
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
    /// Print the version, the commit and the build.
    Version,
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub struct ConfigFile {
    /// The configuration file.
    #[arg(long = "config", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub path: PathBuf,
}

/// Who asks what.
#[derive(Args, Debug)]
pub struct Explain {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The user's name, as Kubernetes knows it.
    #[arg(long = "as", value_name = "USER", value_hint = ValueHint::Other)]
    pub user: String,
    /// A group of the user; may be given more than once.
    #[arg(long = "group", value_name = "GROUP", value_hint = ValueHint::Other)]
    pub groups: Vec<String>,
    /// The PromQL expression.
    #[arg(long, value_name = "PROMQL", value_hint = ValueHint::Other)]
    pub query: String,
}

/// With whose rights the cluster is examined, and how that is reported.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The kubeconfig to look with; without it, as the configuration says.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
    /// Say as well what this user gets at each door, and what to grant where that is nothing.
    #[arg(long = "as", value_name = "USER", value_hint = ValueHint::Other)]
    pub user: Option<String>,
    /// A group of that user; may be given more than once.
    #[arg(long = "group", value_name = "GROUP", value_hint = ValueHint::Other, requires = "user")]
    pub groups: Vec<String>,
    /// Look again for so many seconds while something is wrong with the install: pods may still be starting.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u16,
    /// From which severity on a finding makes it end with 1.
    #[arg(long, value_name = "SEVERITY", value_enum, default_value_t = FailOn::Warning)]
    pub fail_on: FailOn,
    /// How the report is written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Which findings count for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Warnings and errors.
    Warning,
    /// Errors.
    Error,
    /// None.
    Never,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs, with everything that text shortens.
    Json,
}

/// How the program ended, as its exit code tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what was asked.
    Success,
    /// It could not start or do its work.
    Failed,
    /// The configuration has faults. clap ends with the same code for wrong arguments.
    Misused,
    /// What the caller asks about is denied.
    Denied,
    /// `doctor` found something that should change.
    Findings,
    /// `doctor` could not look.
    Blind,
}

impl Outcome {
    /// All there are, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Success,
        Self::Failed,
        Self::Findings,
        Self::Misused,
        Self::Blind,
        Self::Denied,
    ];

    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed | Self::Findings => 1,
            Self::Misused | Self::Blind => 2,
            Self::Denied => 3,
        }
    }

    /// What it means to whoever ran the program.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Success => {
                "all well: served and drained, no faults, nothing found, or the query would be sent"
            }
            Self::Failed => {
                "it could not start or do its work: a port is taken, a file that the configuration names cannot be read, Kubernetes does not answer"
            }
            Self::Misused => {
                "the configuration cannot be read or has faults, or the arguments are wrong"
            }
            Self::Findings => "doctor only: it found something that should change",
            Self::Blind => "doctor only: it could not look",
            Self::Denied => "explain only: the caller may not, or the query cannot be restricted",
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome.code())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn explain_takes_groups_and_a_query() {
        let typed = "prom-rbac-proxy explain --config f --as alice --group a --group b --query up";
        let arguments = Arguments::try_parse_from(typed.split(' ')).expect("arguments");
        let Command::Explain(explain) = arguments.command else {
            panic!("another command")
        };
        assert_eq!(
            (
                explain.user.as_str(),
                explain.groups.len(),
                explain.query.as_str()
            ),
            ("alice", 2, "up")
        );
    }
}
