//! Overrides from environment variables: which are set, and which of them something has asked for.
//!
//! Knows names and texts only; the meaning of a text is the reader's business.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// What every override's name starts with.
pub(super) const PREFIX: &str = "PROM_RBAC_PROXY";

/// Between two levels of a name. A single `_` stands for a capital letter of the key.
pub(super) const SEPARATOR: &str = "__";

/// What the names of OpenTelemetry's own variables start with:
/// <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
const OPENTELEMETRY: &str = "OTEL_";

/// The environment variables that start with [`PREFIX`], and OpenTelemetry's.
#[derive(Default)]
pub(super) struct Environment {
    ours: BTreeMap<String, Variable>,
    opentelemetry: BTreeMap<String, String>,
}

struct Variable {
    text: String,
    used: Cell<bool>,
}

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |name: &str| {
            name.strip_prefix(PREFIX)
                .is_some_and(|rest| rest.starts_with('_'))
        };
        let variable = |text| Variable {
            text,
            used: Cell::new(false),
        };
        let mut environment = Self::default();
        for (name, text) in variables {
            if ours(&name) {
                environment.ours.insert(name, variable(text));
            } else if name.starts_with(OPENTELEMETRY) && !text.is_empty() {
                environment.opentelemetry.insert(name, text);
            }
        }
        environment
    }

    /// The text of a variable of OpenTelemetry's. One that is empty is as good as none, as its specification has it.
    pub(super) fn opentelemetry(&self, name: &str) -> Option<&str> {
        self.opentelemetry.get(name).map(String::as_str)
    }

    /// The text of the variable of exactly this name, which then counts as used.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let variable = self.ours.get(name)?;
        variable.used.set(true);
        Some(&variable.text)
    }

    /// Whether a variable for `name` or for something below it is set.
    pub(super) fn reaches(&self, name: &str) -> bool {
        self.ours.contains_key(name) || self.below(name).next().is_some()
    }

    /// The names of the next level below `name`.
    pub(super) fn children(&self, name: &str) -> BTreeSet<&str> {
        self.below(name)
            .filter_map(|rest| rest.split(SEPARATOR).next())
            .collect()
    }

    /// The variables that nothing asked for.
    pub(super) fn unused(&self) -> impl Iterator<Item = &str> {
        self.ours
            .iter()
            .filter(|(name, variable)| !variable.used.get() && !is_service_link(name))
            .map(|(name, _)| name.as_str())
    }

    fn below<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let start = format!("{name}{SEPARATOR}");
        self.ours
            .range(start.clone()..)
            .map_while(move |(name, _)| name.strip_prefix(&start))
    }
}

/// A variable's name without [`PREFIX`] and the `_` after it.
pub(super) fn bare(name: &str) -> &str {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest.strip_prefix('_').unwrap_or(rest)
}

/// Whether Kubernetes may have set this variable. It gives every pod variables for each Service of the
/// namespace (`enableServiceLinks`), and a Service named `prom-rbac-proxy` or `prom-rbac-proxy-metrics`
/// gets names that start like ours.
fn is_service_link(name: &str) -> bool {
    if name.contains(SEPARATOR) {
        return false;
    }
    let name = ["_PROTO", "_ADDR", "_PORT"]
        .iter()
        .find_map(|end| name.strip_suffix(end).filter(|rest| is_port(rest)))
        .unwrap_or(name);
    is_port(name)
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_PORT")
        || name.contains("_SERVICE_PORT_")
}

/// Whether the name ends like `_PORT_9090_TCP`.
fn is_port(name: &str) -> bool {
    let Some((rest, protocol)) = name.rsplit_once('_') else {
        return false;
    };
    let Some((rest, number)) = rest.rsplit_once('_') else {
        return false;
    };
    matches!(protocol, "TCP" | "UDP" | "SCTP")
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && rest.ends_with("_PORT")
}

/// A key as a level of a variable's name: `rejectedTtl` is `REJECTED_TTL`.
pub(super) fn level(key: &str) -> String {
    let mut level = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            level.push('_');
        }
        level.push(c.to_ascii_uppercase());
    }
    level
}
