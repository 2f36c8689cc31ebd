//! Judges the answers of one upstream. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::answers::{Answers, OtherLabel};
use super::charts::{self, CHARTS, Chart, Charts, PODS, SERIES_OF_CPU};
use super::patterns::patterns;
use crate::config::{Authorization, Upstream};
use crate::doctor::finding::{Code, Finding, Section, Severity, listed};
use crate::doctor::lists::known;

/// The name that Prometheus gives a target's own label where the scrape has set one of that name.
const EXPORTED: &str = "exported_";

/// What kube-state-metrics tells, whose `namespace` is that of the object.
const KUBE_STATE: &str = "kube_";

/// One upstream, and what it is held against.
pub(super) struct Judgement<'a> {
    pub(super) answers: &'a Answers,
    /// The cluster's, where they could be read.
    pub(super) namespaces: Option<&'a BTreeSet<&'a str>>,
    pub(super) upstream: &'a Upstream,
    pub(super) authorization: &'a Authorization,
}

impl Judgement<'_> {
    pub(super) fn judge(&self, section: &mut Section) {
        self.judge_namespaces(section);
        // Without the label, all metrics lack it.
        if !self.answers.namespaces.is_empty() {
            self.judge_metrics(section);
        }
        self.judge_charts(section);
        self.judge_scrapes(section);
    }

    fn label(&self) -> &str {
        &self.authorization.namespace_label
    }

    fn finding(&self, code: Code, severity: Severity, what: String, remedy: &str) -> Finding {
        let about = format!("upstream {}", self.upstream.name);
        Finding::new(code, severity, about, what, remedy.to_owned())
    }

    fn judge_namespaces(&self, section: &mut Section) {
        let (label, values) = (self.label(), &self.answers.namespaces);
        let upstream = &self.upstream.name;
        if values.is_empty() {
            let others = self.answers.others.as_deref().unwrap_or_default();
            let details = others
                .iter()
                .map(|other| format!("the label {} has {}", other.name, listed(&other.values)));
            section.findings.push(Finding {
                details: details.collect(),
                ..self.finding(
                    Code::DataLabelWithoutValues,
                    Severity::Error,
                    format!("no series has the label {label}, so that whoever may not see everything sees no chart"),
                    "authorization.namespaceLabel, if another label names the namespace; else relabel, so that each target has it",
                )
            });
            return;
        }
        let Some(namespaces) = self.namespaces else {
            section.notes.push(format!(
                "upstream {upstream}: the label {label} has {} values",
                values.len()
            ));
            return;
        };
        let (own, foreign): (Vec<_>, Vec<_>) = values
            .iter()
            .partition(|value| namespaces.contains(value.as_str()));
        let without: Vec<_> = namespaces
            .iter()
            .filter(|name| !values.iter().any(|value| value == *name))
            .collect();
        let mut told = format!(
            "upstream {upstream}: {} of the cluster's {} namespaces have series",
            own.len(),
            namespaces.len()
        );
        if !without.is_empty() {
            told += &format!("; without: {}", listed(&without));
        }
        section.notes.push(told);
        if !foreign.is_empty() {
            // One that was deleted stays for a while. Many are of another cluster.
            let severity = if foreign.len() > own.len() {
                Severity::Warning
            } else {
                Severity::Advice
            };
            section.findings.push(self.finding(
                Code::DataNamespacesForeign,
                severity,
                format!("the label {label} has values that are not namespaces of this cluster: {}", listed(&foreign)),
                "nothing, where they were deleted; upstreams.matchers, where Prometheus holds several clusters: whoever may read a \
                 namespace here sees that of the same name there",
            ));
        }
    }

    fn judge_metrics(&self, section: &mut Section) {
        let upstream = &self.upstream.name;
        let mut read = |part: &str, unread| {
            let told = format!("{part} of upstream {upstream} are not judged");
            known::<()>(Err(unread), &told, &mut section.unread);
        };
        let answers = self.answers;
        let others = answers.others.as_deref();
        let others = others
            .map_err(|why| read("other labels with namespaces", why))
            .unwrap_or_default();
        let names = answers.names.as_ref().map_err(|why| read("metrics", why));
        let labelled = answers
            .labelled
            .as_ref()
            .map_err(|why| read("metrics", why));
        let unlabelled = answers.unlabelled.as_ref();
        let unlabelled = unlabelled.map_err(|why| read("metrics without the label", why));
        let (Ok(names), Ok(labelled)) = (names, labelled) else {
            return;
        };
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut elsewhere = BTreeSet::new();
        for other in others.iter().filter(|other| self.names_namespaces(other)) {
            let own = other.name == format!("{EXPORTED}{}", self.label());
            let found = other.metrics.iter().filter(|(metric, _)| {
                let counts = own || !labelled.contains(*metric);
                counts && !self.is_ruled(metric) && !elsewhere.contains(metric.as_str())
            });
            let (kube, rest): (Vec<_>, Vec<_>) =
                found.partition(|(metric, _)| own && metric.starts_with(KUBE_STATE));
            if !kube.is_empty() {
                section.findings.push(self.dishonoured(&other.name, &kube));
            }
            if !rest.is_empty() {
                section
                    .findings
                    .push(self.elsewhere(&other.name, &rest, &names));
            }
            elsewhere.extend(kube.iter().chain(&rest).map(|(metric, _)| metric.as_str()));
        }
        let Ok(unlabelled) = unlabelled else {
            return;
        };
        let nowhere: Vec<_> = unlabelled
            .iter()
            .filter(|(metric, _)| {
                let whole = !labelled.contains(*metric) && !elsewhere.contains(metric.as_str());
                whole && !self.is_ruled(metric)
            })
            .collect();
        if !nowhere.is_empty() {
            section.findings.push(self.nowhere(&nowhere, &names));
        }
    }

    /// Whether a rule of the configuration says what counts for a metric.
    fn is_ruled(&self, metric: &str) -> bool {
        let mut patterns = self
            .authorization
            .metric_rules
            .iter()
            .flat_map(|rule| &rule.metrics);
        patterns.any(|pattern| pattern.fits(metric))
    }

    /// Whether at least half of a label's values are namespaces.
    fn names_namespaces(&self, other: &OtherLabel) -> bool {
        let is_one = |value: &&String| match self.namespaces {
            Some(namespaces) => namespaces.contains(value.as_str()),
            None => self.answers.namespaces.contains(value),
        };
        let known = other.values.iter().filter(is_one).count();
        known > 0 && known * 2 >= other.values.len()
    }

    fn dishonoured(&self, label: &str, metrics: &[(&String, &u64)]) -> Finding {
        Finding {
            details: details(metrics),
            ..self.finding(
                Code::DataHonorLabels,
                Severity::Warning,
                format!(
                    "metrics of kube-state-metrics have the object's namespace in {label}, and in {} that of their exporter: only who \
                     reads that one sees them",
                    self.label()
                ),
                "honorLabels: true in the ServiceMonitor of kube-state-metrics, or honor_labels: true in its scrape_config",
            )
        }
    }

    fn elsewhere(&self, label: &str, metrics: &[(&String, &u64)], all: &[&str]) -> Finding {
        Finding {
            details: details(metrics),
            manifest: rule(metrics, all, |rule| rule["label"] = json!(label)),
            ..self.finding(
                Code::DataNamespaceElsewhere,
                Severity::Warning,
                format!("the label {label} names the namespace of metrics that no rule is about: their owners do not see them"),
                "look whether the label tells whose they are, and add to authorization.metricRules",
            )
        }
    }

    fn nowhere(&self, metrics: &[(&String, &u64)], all: &[&str]) -> Finding {
        let asked = charts::metrics();
        let missed = metrics
            .iter()
            .any(|(metric, _)| asked.contains(metric.as_str()));
        // That nodes and the like belong to nobody is as it should be; a chart that says 0 or nothing is not.
        let severity = if missed {
            Severity::Warning
        } else {
            Severity::Advice
        };
        let cluster = json!({ "verb": "get", "group": "metrics.k8s.io", "resource": "nodes" });
        Finding {
            details: details(metrics),
            manifest: rule(metrics, all, |rule| rule["cluster"] = cluster.clone()),
            ..self.finding(
                Code::DataMetricsUnlabelled,
                severity,
                format!(
                    "metrics that no rule is about have no label {} in any series: only who sees everything sees them",
                    self.label()
                ),
                "nothing, if that is meant; to open those that you choose to whoever is bound to prom-rbac-proxy-cluster-metrics, add \
                 to authorization.metricRules",
            )
        }
    }

    fn judge_charts(&self, section: &mut Section) {
        let upstream = &self.upstream.name;
        let without = format!("the charts of upstream {upstream} are not judged");
        let Some(found) = known(self.answers.charts.as_ref(), &without, &mut section.unread) else {
            return;
        };
        let has = |product: &str, chart: &Chart| found.contains_key(&charts::key(product, chart));
        for Charts { product, charts } in CHARTS {
            let (full, empty): (Vec<_>, Vec<_>) =
                charts.iter().partition(|chart| has(product, chart));
            let names = |charts: &[&Chart]| {
                let names: Vec<_> = charts.iter().map(|chart| chart.name).collect();
                names.join("; ")
            };
            let told = match (full.as_slice(), empty.as_slice()) {
                (full, []) => format!("all with data: {}", names(full)),
                ([], empty) => format!("none with data: {}", names(empty)),
                (full, empty) => format!("with data: {}; without: {}", names(full), names(empty)),
            };
            section
                .notes
                .push(format!("upstream {upstream}: charts of {product}, {told}"));
        }
        let missing = PODS.charts.iter().filter(|chart| !has(PODS.product, chart));
        let mut missing: Vec<_> = missing.collect();
        let no_rate = missing
            .iter()
            .any(|chart| chart.name == PODS.charts[0].name);
        if no_rate && has(PODS.product, &SERIES_OF_CPU) {
            section.findings.push(self.finding(
                Code::DataScrapedSeldom,
                Severity::Warning,
                "the series of CPU are there, and none has two samples within a minute, of which the chart asks the rate".to_owned(),
                "scrape the kubelets' cAdvisor every 30 s or more often",
            ));
            // What else is a rate has none for the same reason.
            missing.retain(|chart| !chart.query.starts_with("rate("));
        }
        if !missing.is_empty() {
            let details = missing
                .iter()
                .map(|chart| format!("{}: {}", chart.name, chart.query));
            section.findings.push(Finding {
                details: details.collect(),
                ..self.finding(
                    Code::DataChartEmpty,
                    Severity::Warning,
                    "charts of every pod have no data, for whoever looks".to_owned(),
                    "let Prometheus scrape the kubelets' /metrics/cadvisor with the labels namespace, pod and container, as \
                     kube-prometheus-stack does",
                )
            });
        }
    }

    fn judge_scrapes(&self, section: &mut Section) {
        let upstream = &self.upstream.name;
        let without = format!("the scrapes of upstream {upstream} are not judged");
        let Some(jobs) = known(
            self.answers.intervals.as_ref(),
            &without,
            &mut section.unread,
        ) else {
            return;
        };
        let sharing = &self.upstream.sharing;
        let grid = sharing.grid.as_secs();
        let mut by_interval: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for (job, seconds) in jobs {
            by_interval.entry(*seconds).or_default().push(job);
        }
        let told = by_interval
            .iter()
            .map(|(seconds, jobs)| format!("{seconds} s: {}", listed(jobs)));
        let told: Vec<_> = told.collect();
        if told.is_empty() {
            return;
        }
        section.notes.push(format!(
            "upstream {upstream}: scraped about every {}",
            told.join("; ")
        ));
        let shared = !sharing.keep.is_empty() || !sharing.align.is_empty();
        let fresher = by_interval.range(..grid).flat_map(|(_, jobs)| jobs);
        let fresher: Vec<_> = fresher.collect();
        if shared && !fresher.is_empty() {
            section.findings.push(self.finding(
                Code::DataScrapedOftener,
                Severity::Advice,
                format!("answers may be {grid} s old, and these jobs are scraped more often: {}", listed(&fresher)),
                "nothing, if charts that lag by that are fine; else a smaller upstreams.sharing.grid",
            ));
        }
    }
}

/// A rule to add, with what `opens` writes into it.
fn rule(metrics: &[(&String, &u64)], all: &[&str], opens: impl Fn(&mut Value)) -> Option<String> {
    // What the configuration takes as a name without quoting of any kind.
    let plain = |name: &&str| {
        name.bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || b"_:".contains(&letter))
    };
    let names: Vec<_> = metrics
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(plain)
        .collect();
    let patterns = patterns(&names, all);
    if patterns.is_empty() {
        return None;
    }
    let mut rule = json!({ "metrics": patterns });
    opens(&mut rule);
    // Whatever is JSON can be written as YAML.
    serde_saphyr::to_string(&json!({ "authorization": { "metricRules": [rule] } })).ok()
}

/// A line for each metric, those with the most series first.
fn details(metrics: &[(&String, &u64)]) -> Vec<String> {
    let mut sorted = metrics.to_vec();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
    let told = sorted
        .iter()
        .map(|(name, count)| format!("{name}: {count} series"));
    told.collect()
}
