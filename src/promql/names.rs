//! Sets of metric names, by name or prefix, as matchers on `__name__`.

use super::{MatchOperator, pattern};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    Exactly(&'a str),
    /// All names with this prefix.
    Starting(&'a str),
}

/// Some names without some others, as regular expressions of Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricNames {
    these: String,
    but: Option<String>,
}

impl MetricNames {
    /// All of `these` except `but`. `None` where `these` is empty: an empty pattern selects series without a name.
    pub fn new<'a>(
        these: impl IntoIterator<Item = Name<'a>>,
        but: impl IntoIterator<Item = Name<'a>>,
    ) -> Option<Self> {
        Some(Self {
            these: alternation(these)?,
            but: alternation(but),
        })
    }

    pub(super) fn matchers(&self) -> impl Iterator<Item = (MatchOperator, &str)> {
        let but = self.but.as_deref();
        let but = but.map(|but| (MatchOperator::NotRegex, but));
        [(MatchOperator::Regex, self.these.as_str())]
            .into_iter()
            .chain(but)
    }
}

fn alternation<'a>(names: impl IntoIterator<Item = Name<'a>>) -> Option<String> {
    let names = names.into_iter().map(|name| match name {
        Name::Exactly(name) => pattern::exactly(name),
        // Before Prometheus 3 a bare dot leaves out the end of a line, which a quoted name can have.
        Name::Starting(start) => pattern::exactly(start) + "(?s:.*)",
    });
    names.reduce(|before, name| before + "|" + &name)
}
