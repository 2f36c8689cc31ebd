//! What a document means, and what is said about one that means nothing.

mod arbitrary;
mod documents;
mod faults;
mod files;
mod opentelemetry;
mod overrides;
mod silent;
mod upstream_faults;

use super::{Config, LoadError};

/// The least that is valid.
const MINIMAL: &str = "upstreams: [{url: 'http://prometheus.monitoring:9090'}]\n";

fn parse_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, LoadError> {
    let variables = variables
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Config::parse(text, variables)
}

fn parse(text: &str) -> Config {
    parse_with(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// [`MINIMAL`] with more below it.
fn parse_more(text: &str) -> Config {
    parse(&format!("{MINIMAL}{text}"))
}

/// The lines that a refused document leaves.
fn faults_with(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match parse_with(text, variables) {
        Err(LoadError::Faults(faults)) => faults.to_string().lines().map(str::to_owned).collect(),
        Err(other) => panic!("{other}\n{text}"),
        Ok(_) => panic!("accepted: {text}"),
    }
}

/// The lines that [`MINIMAL`] with more below it leaves.
fn faults_of(text: &str) -> Vec<String> {
    faults_with(&format!("{MINIMAL}{text}"), &[])
}
