//! Generated from the command line's description: the manual pages and the shells' completions.
//!
//! Commands, options and exit codes come from `args`; only what no option can say is written here.

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::args::{Arguments, Outcome};

const NAME: &str = "prom-rbac-proxy";

/// Environment variables, besides those of [`crate::config`], and what they do.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "PROM_RBAC_PROXY_KEY",
        "Overrides a key of the configuration: the key in capitals, __ between levels, _ before what is a capital letter \
         in the key, the index for an element of a list. The value is read as YAML; an empty one gives back the \
         default. PROM_RBAC_PROXY_LIMITS__MAX_RANGE=14d, PROM_RBAC_PROXY_UPSTREAMS__0__URL=http://prometheus:9090. A \
         variable that overrides nothing is a fault.",
    ),
    (
        "KUBECONFIG",
        "How to reach Kubernetes, when kubernetes.kubeconfig is not set and there is no ServiceAccount of a pod.",
    ),
];

/// Files that are read without being named in the configuration.
const FILES: &[(&str, &str)] = &[
    (
        "/etc/prom-rbac-proxy/config.yaml",
        "The configuration where the image, the chart and the kustomize base have it. There is no default: --config \
         names it.",
    ),
    (
        "/var/run/secrets/kubernetes.io/serviceaccount/",
        "The pod's own token and the authority of the API server.",
    ),
    (
        "~/.kube/config",
        "The same, outside of a cluster and without KUBECONFIG.",
    ),
];

const EXAMPLES: &[(&str, &str)] = &[
    (
        "Judge a configuration before it is rolled out:",
        "prom-rbac-proxy check --config config.yaml",
    ),
    (
        "See what somebody would get, and why:",
        "prom-rbac-proxy explain --config config.yaml --as alice --group team-a-devs --query 'sum(up)'",
    ),
    (
        "See which rights can be taken away, with your own:",
        "prom-rbac-proxy doctor --config config.yaml --kubeconfig ~/.kube/config",
    ),
    (
        "Serve on this machine, with another address than the file's:",
        "PROM_RBAC_PROXY_LISTENERS__SERVICE__ADDRESS=127.0.0.1:9090 prom-rbac-proxy serve --config config.yaml",
    ),
    (
        "Complete commands in bash, and install this page and one of the others:",
        "prom-rbac-proxy completions bash > /etc/bash_completion.d/prom-rbac-proxy\n\
         prom-rbac-proxy man > /usr/local/share/man/man1/prom-rbac-proxy.1\n\
         prom-rbac-proxy man explain > /usr/local/share/man/man1/prom-rbac-proxy-explain.1",
    ),
];

/// The script that completes commands and options in that shell.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // For a program with a hyphen in its name it sets a state under one name and reads it under another, so that
        // nothing after a command would be completed: clap-rs/clap#6421. Delete this once that is fixed.
        Shell::Bash => script.replace(&NAME.replace('-', "__subcmd__"), &NAME.replace('-', "__")),
        _ => script,
    }
}

/// A command that the program does not have.
#[derive(Debug, thiserror::Error)]
#[error("there is no command {0}; prom-rbac-proxy --help lists them")]
pub struct UnknownCommand(String);

/// The manual page of the program or of one of its commands, in roff with the `man` macros, as clap_mangen writes it.
/// The program's has what clap does not know besides: exit codes, variables, files and examples.
///
/// # Errors
/// If there is no such command.
pub fn page(command: Option<&str>) -> Result<String, UnknownCommand> {
    let mut program = Arguments::command();
    program.build();
    let shown = match command {
        None => &program,
        Some(name) => program
            .get_subcommands()
            .find(|command| command.get_name() == name && !command.is_hide_set())
            .ok_or_else(|| UnknownCommand(name.to_owned()))?,
    };
    let source = format!("{NAME} {}", env!("CARGO_PKG_VERSION"));
    let page = Man::new(shown.clone()).source(source);
    let mut text = Vec::new();
    let written = page.render(&mut text).and_then(|()| match command {
        None => sections().to_writer(&mut text),
        Some(_) => Ok(()),
    });
    // Writing to memory does not fail.
    debug_assert!(written.is_ok());
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn sections() -> Roff {
    let mut roff = Roff::new();
    let mut listed = |title, entries: &[(&str, &str)]| {
        roff.control("SH", [title]);
        for (term, description) in entries {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*description)]);
        }
    };
    let codes = Outcome::ALL.map(|outcome| (outcome.code().to_string(), outcome.meaning()));
    listed(
        "EXIT STATUS",
        &codes
            .each_ref()
            .map(|(code, meaning)| (code.as_str(), *meaning)),
    );
    listed("ENVIRONMENT", ENVIRONMENT);
    listed("FILES", FILES);
    roff.control("SH", ["EXAMPLES"]);
    for (what, lines) in EXAMPLES {
        roff.text([roman(*what)]);
        roff.control("PP", []);
        roff.control("nf", []);
        roff.control("RS", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("RE", []);
        roff.control("fi", []);
        roff.control("PP", []);
    }
    roff
}
