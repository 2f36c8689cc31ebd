//! The closed table of what is served of Prometheus' HTTP API: path, methods, parameters, and what the
//! answer tells. What is not in it does not exist here.

use http::Method;

/// What an endpoint's answer tells, and so what has to be restricted for a caller of some namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Series that the PromQL expression in `query` selects.
    Expression,
    /// Series that the selectors in `match[]` select; all where there are none.
    Selectors,
    /// Rules, with the alerts inside.
    Rules,
    Alerts,
    /// Types and help texts by metric name.
    Metadata,
    Targets,
    /// Alertmanagers, which belong to the cluster: callers of namespaces see none.
    Alertmanagers,
    /// Nothing of any series.
    NoSeries,
    /// Things of the whole cluster that name no namespace.
    Cluster,
}

impl Reads {
    /// Whether an answer can be narrowed to some namespaces. One that tells of no series needs no narrowing: clients
    /// that send a namespace with every request do so for health checks, too.
    pub fn can_be_narrowed(self) -> bool {
        match self {
            Self::Expression
            | Self::Selectors
            | Self::Rules
            | Self::Alerts
            | Self::Metadata
            | Self::Targets
            | Self::Alertmanagers
            | Self::NoSeries => true,
            Self::Cluster => false,
        }
    }
}

/// The methods of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    Get,
    GetHead,
    /// GET, and POST with a form.
    GetPost,
}

impl Methods {
    /// Whether `method` is one of them.
    pub fn allow(self, method: &Method) -> bool {
        match self {
            Self::Get => method == Method::GET,
            Self::GetHead => method == Method::GET || method == Method::HEAD,
            Self::GetPost => method == Method::GET || method == Method::POST,
        }
    }

    /// The value of the header `Allow`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::GetHead => "GET, HEAD",
            Self::GetPost => "GET, POST",
        }
    }
}

/// How a parameter is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Expression,
    /// A selector; may come more than once.
    Selector,
    /// A time: seconds since 1970, or RFC 3339.
    Time,
    /// A duration: seconds, or Prometheus' notation.
    Duration,
    Text,
    /// Short texts; may come more than once.
    Texts,
}

impl Kind {
    /// Whether it may come more than once.
    pub const fn repeats(self) -> bool {
        matches!(self, Self::Selector | Self::Texts)
    }
}

/// A parameter: its name and how it is read.
pub(super) type ParameterRow = (&'static str, Kind);

/// A row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    path: &'static str,
    methods: Methods,
    reads: Reads,
    parameters: &'static [ParameterRow],
}

use Kind::{Duration, Expression, Selector, Text, Texts, Time};

const QUERY: ParameterRow = ("query", Expression);
const MATCH: ParameterRow = ("match[]", Selector);
const START: ParameterRow = ("start", Time);
const END: ParameterRow = ("end", Time);
const LIMIT: ParameterRow = ("limit", Text);
const TIMEOUT: ParameterRow = ("timeout", Duration);
const LOOKBACK: ParameterRow = ("lookback_delta", Duration);
const STATS: ParameterRow = ("stats", Text);

macro_rules! endpoints {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $path:literal, $methods:ident, $reads:ident,
        [$($parameter:expr),* $(,)?];)+) => {
        /// What is served, each with the table's row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Endpoint { $($(#[$doc])* $variant),+ }

        impl Endpoint {
            /// All there are, in the order of their index.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            const ROWS: &[Row] = &[$(Row {
                name: $name,
                path: $path,
                methods: Methods::$methods,
                reads: Reads::$reads,
                parameters: &[$($parameter),*],
            }),+];
        }
    };
}

// Parameters as of Prometheus 3.x; older releases ignore what they do not know.
endpoints! {
    /// One point in time.
    Query = "query", "/api/v1/query", GetPost, Expression,
        [QUERY, ("time", Time), TIMEOUT, LIMIT, LOOKBACK, STATS];
    /// A range of time.
    QueryRange = "query_range", "/api/v1/query_range", GetPost, Expression,
        [QUERY, START, END, ("step", Duration), TIMEOUT, LIMIT, LOOKBACK, STATS];
    /// Exemplars of a range of time.
    QueryExemplars = "query_exemplars", "/api/v1/query_exemplars", GetPost, Expression, [QUERY, START, END];
    /// The label sets of series.
    Series = "series", "/api/v1/series", GetPost, Selectors, [MATCH, START, END, LIMIT];
    /// The names of labels.
    Labels = "labels", "/api/v1/labels", GetPost, Selectors, [MATCH, START, END, LIMIT];
    /// The values of a label; its name stands between the two parts of the path.
    LabelValues = "label_values", "/api/v1/label/*/values", Get, Selectors, [MATCH, START, END, LIMIT];
    /// The newest samples, for another Prometheus.
    Federate = "federate", "/federate", Get, Selectors, [MATCH];
    Rules = "rules", "/api/v1/rules", Get, Rules, [
        ("type", Text), ("rule_name[]", Texts), ("rule_group[]", Texts), ("file[]", Texts),
        ("exclude_alerts", Text), MATCH, ("group_limit", Text), ("group_next_token", Text),
    ];
    Alerts = "alerts", "/api/v1/alerts", Get, Alerts, [];
    /// Metric types and help texts.
    Metadata = "metadata", "/api/v1/metadata", Get, Metadata,
        [("metric", Text), LIMIT, ("limit_per_metric", Text)];
    Targets = "targets", "/api/v1/targets", Get, Targets, [("state", Text), ("scrapePool", Text)];
    Alertmanagers = "alertmanagers", "/api/v1/alertmanagers", Get, Alertmanagers, [];
    /// Metadata of scrape targets.
    TargetsMetadata = "targets_metadata", "/api/v1/targets/metadata", Get, Cluster,
        [("match_target", Text), ("metric", Text), LIMIT];
    BuildInfo = "status_buildinfo", "/api/v1/status/buildinfo", Get, NoSeries, [];
    /// The state of the process.
    RuntimeInfo = "status_runtimeinfo", "/api/v1/status/runtimeinfo", Get, Cluster, [];
    /// The configuration, without its secrets.
    ConfigStatus = "status_config", "/api/v1/status/config", Get, Cluster, [];
    /// The flags that it was started with.
    FlagsStatus = "status_flags", "/api/v1/status/flags", Get, Cluster, [];
    /// Statistics of the storage.
    TsdbStatus = "status_tsdb", "/api/v1/status/tsdb", Get, Cluster, [LIMIT];
    FormatQuery = "format_query", "/api/v1/format_query", GetPost, NoSeries, [QUERY];
    /// A query, as a tree.
    ParseQuery = "parse_query", "/api/v1/parse_query", GetPost, NoSeries, [QUERY];
    Healthy = "healthy", "/-/healthy", GetHead, NoSeries, [];
    /// Whether Prometheus is ready.
    Ready = "ready", "/-/ready", GetHead, NoSeries, [];
}

const LABEL_PREFIX: &str = "/api/v1/label/";
const LABEL_SUFFIX: &str = "/values";

impl Endpoint {
    /// Finds the endpoint of a path, compared byte by byte, and the part of it that names a label, as it
    /// stands there.
    pub fn find(path: &str) -> Option<(Self, Option<&str>)> {
        if let Some(rest) = path.strip_prefix(LABEL_PREFIX) {
            let label = rest.strip_suffix(LABEL_SUFFIX)?;
            return (!label.is_empty() && !label.contains('/'))
                .then_some((Self::LabelValues, Some(label)));
        }
        let index = Self::ROWS.iter().position(|row| row.path == path)?;
        Some((Self::ALL[index], None))
    }

    /// Its name, in metrics and in the audit log.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn methods(self) -> Methods {
        self.row().methods
    }

    /// What its answer tells.
    pub fn reads(self) -> Reads {
        self.row().reads
    }

    /// Whether it answers plain text and not JSON.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Federate | Self::Healthy | Self::Ready)
    }

    /// How its parameter `name` is read. `None` for a parameter that it does not have.
    pub fn parameter(self, name: &str) -> Option<ParameterRow> {
        self.row()
            .parameters
            .iter()
            .find(|(other, _)| *other == name)
            .copied()
    }

    /// Its path in Prometheus; `label` is the encoded name for [`Endpoint::LabelValues`].
    pub fn path(self, label: Option<&str>) -> String {
        match label {
            Some(label) => format!("{LABEL_PREFIX}{label}{LABEL_SUFFIX}"),
            None => self.row().path.to_owned(),
        }
    }

    fn row(self) -> &'static Row {
        &Self::ROWS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_found_by_its_own_path_and_no_other() {
        for &endpoint in Endpoint::ALL {
            let label = (endpoint == Endpoint::LabelValues).then_some("pod");
            assert_eq!(
                Endpoint::find(&endpoint.path(label)),
                Some((endpoint, label))
            );
        }
    }

    #[test]
    fn e01_e09_what_is_not_in_the_table_does_not_exist() {
        for path in [
            "/",
            "",
            "/metrics",
            "/api/v1/read",
            "/api/v1/write",
            "/api/v1/admin/tsdb/delete_series",
            "/-/quit",
            "/-/reload",
            "/debug/pprof/heap",
            "/api/v1/status/walreplay",
            "/api/v1/notifications",
            "/api/v1/query/",
            "/api/v1/QUERY",
            "/api/v1/%71uery",
            "/api/v1/label//values",
            "/api/v1/label/values",
            "/api/v1/label/a/b/values",
            "/graph",
            "/api/v1/query_range_",
            "/api/v1/label/*/values/",
        ] {
            assert_eq!(Endpoint::find(path), None, "{path}");
        }
    }

    #[test]
    fn e12_methods_are_those_of_prometheus() {
        for &endpoint in Endpoint::ALL {
            for method in [
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
                Method::TRACE,
                Method::OPTIONS,
            ] {
                assert!(!endpoint.methods().allow(&method), "{endpoint:?} {method}");
            }
            assert!(endpoint.methods().allow(&Method::GET));
        }
        assert!(Endpoint::Query.methods().allow(&Method::POST));
        assert!(!Endpoint::Query.methods().allow(&Method::HEAD));
        assert!(!Endpoint::LabelValues.methods().allow(&Method::POST));
        assert!(Endpoint::Healthy.methods().allow(&Method::HEAD));
    }
}
