//! What is made of the command line's own description: the manual page and the shells' completions.
//!
//! Commands, options and exit codes come from `args`; only what no option can say is written here.

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::cli::args::{Arguments, Outcome};

const NAME: &str = "prom-rbac-proxy";

/// Variables of the environment, beside those of [`crate::config`], and what they do.
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
        "Serve on this machine, with another address than the file's:",
        "PROM_RBAC_PROXY_LISTENERS__SERVICE__ADDRESS=127.0.0.1:9090 prom-rbac-proxy serve --config config.yaml",
    ),
    (
        "Complete commands in bash, and install this page:",
        "prom-rbac-proxy completions bash > /etc/bash_completion.d/prom-rbac-proxy\n\
         prom-rbac-proxy man > /usr/local/share/man/man1/prom-rbac-proxy.1",
    ),
];

/// The script that completes commands and options in that shell.
pub fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        // It names a state of a program with a hyphen in one way where it is set and in another where it is asked
        // for, so nothing behind a command would be completed: clap-rs/clap#6421. Nothing to replace, once mended.
        Shell::Bash => script.replace(&NAME.replace('-', "__subcmd__"), &NAME.replace('-', "__")),
        _ => script,
    }
}

/// The manual page, in roff with the `man` macros.
pub fn page() -> String {
    let mut command = Arguments::command();
    command.build();
    let page = Man::new(command.clone());
    let mut text = Vec::new();
    let written = page
        .render_title(&mut text)
        .and_then(|()| page.render_name_section(&mut text))
        .and_then(|()| page.render_synopsis_section(&mut text))
        .and_then(|()| page.render_description_section(&mut text))
        .and_then(|()| commands(&command).to_writer(&mut text))
        .and_then(|()| page.render_options_section(&mut text))
        .and_then(|()| sections().to_writer(&mut text));
    // Writing to memory does not fail.
    debug_assert!(written.is_ok());
    String::from_utf8_lossy(&text).into_owned()
}

fn commands(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        roff.control("SS", [command.get_name()]);
        roff.text(usage(command));
        roff.control("PP", []);
        let about = command.get_long_about().or_else(|| command.get_about());
        for paragraph in sentence(about).split("\n\n") {
            roff.text([roman(paragraph)]);
            roff.control("PP", []);
        }
        for argument in arguments(command) {
            roff.control("TP", []);
            roff.text(written(argument));
            roff.text([roman(sentence(argument.get_help()))]);
            let values: Vec<_> = argument
                .get_possible_values()
                .iter()
                .map(|value| value.get_name().to_owned())
                .collect();
            if !values.is_empty() {
                roff.text([roman(format!("One of {}.", values.join(", ")))]);
            }
        }
    }
    roff
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

fn usage(command: &Command) -> Vec<Inline> {
    let mut line = vec![bold(format!("{NAME} {}", command.get_name()))];
    for argument in arguments(command) {
        let many = matches!(argument.get_action(), clap::ArgAction::Append);
        let (open, close) = match (argument.is_required_set(), many) {
            (true, _) => ("", ""),
            (false, false) => ("[", "]"),
            (false, true) => ("[", "]..."),
        };
        line.push(roman(format!(" {open}")));
        line.extend(written(argument));
        line.push(roman(close));
    }
    line
}

/// An argument as it is typed.
fn written(argument: &Arg) -> Vec<Inline> {
    let value = argument.get_value_names().unwrap_or_default().join(" ");
    match argument.get_long() {
        Some(long) => vec![bold(format!("--{long}")), roman(" "), italic(value)],
        None => vec![italic(value)],
    }
}

/// All arguments but `--help`, which each command has.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let shown = |argument: &&Arg| argument.get_id() != "help" && !argument.is_hide_set();
    command.get_arguments().filter(shown)
}

/// clap takes the last full stop away.
fn sentence(styled: Option<&clap::builder::StyledStr>) -> String {
    let mut text = styled.map(ToString::to_string).unwrap_or_default();
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}
