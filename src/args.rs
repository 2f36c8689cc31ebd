//! What the user typed. Nothing here looks at a file or at the environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Lets Headlamp's view users see Prometheus charts of the namespaces that they may read, and nothing else.
#[derive(Debug, Parser)]
#[command(
    name = "prom-rbac-proxy",
    version,
    about,
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
    Serve(ConfigFile),
    /// Read the configuration, say all that is wrong with it, and end with 0 when nothing is.
    Check(ConfigFile),
    /// Say what somebody may see, why, and which query would be sent.
    Explain(Explain),
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Print the version.
    Version,
}

/// Where the configuration is.
#[derive(Args, Debug)]
pub struct ConfigFile {
    /// The configuration file.
    #[arg(long = "config", value_name = "FILE")]
    pub path: PathBuf,
}

/// Who asks what.
#[derive(Args, Debug)]
pub struct Explain {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The user's name, as Kubernetes knows it.
    #[arg(long = "as", value_name = "USER")]
    pub user: String,
    /// A group of the user; may be given more than once.
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// The PromQL expression.
    #[arg(long, value_name = "PROMQL")]
    pub query: String,
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
