//! A finding: a stable code, its severity, what was found, and what to do.

use serde::Serialize;

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order in which they are read.
    pub sections: Vec<Section>,
}

/// Findings about one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Section {
    pub title: &'static str,
    /// What could not be read, and what is not known for that reason.
    pub unread: Vec<String>,
    /// Observations that call for no change.
    pub notes: Vec<String>,
    /// The worst first.
    pub findings: Vec<Finding>,
}

/// Something that should change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub code: Code,
    pub severity: Severity,
    /// The object that it is about, such as `ClusterRole enhanced-view`.
    pub about: String,
    /// What was found: one sentence.
    pub what: String,
    /// More of the same, a line each.
    pub details: Vec<String>,
    /// What to do: one sentence.
    pub remedy: String,
    /// YAML to apply with kubectl or to paste into the configuration, where that is the remedy.
    pub manifest: Option<String>,
}

/// Names that a sentence has.
const NAMED: usize = 12;

/// The first of some names, and how many more there are.
pub(super) fn listed(names: &[impl AsRef<str>]) -> String {
    let shown = names.iter().take(NAMED).map(AsRef::as_ref);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Opens nothing to people today, or may well be meant so. Does not count for the exit code.
    Advice,
    Warning,
    Error,
}

/// Which finding it is. The texts are stable: scripts compare them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// No Service of the proxy is found.
    InstallServiceMissing,
    /// The proxy's Service lacks Headlamp's label.
    InstallLabelMissing,
    /// Another Service has it.
    InstallLabelElsewhere,
    /// A pod has it.
    InstallPodLabelled,
    /// The proxy's Service has not one TCP port.
    InstallServicePorts,
    /// `view` does not grant what the proxy asks about.
    InstallViewLacksRight,
    /// Nobody may come through the API server to the proxy.
    InstallDoorClosed,
    /// The proxy's account lacks a right that its configuration needs.
    InstallRightMissing,
    /// The proxy's account has a right that its configuration does not need.
    InstallRightExcess,
    /// A pod of the proxy is not ready, or there is none.
    InstallPodNotReady,
    /// There is no Prometheus where the configuration says.
    InstallUpstreamAway,
    /// A NetworkPolicy is between the proxy and what it needs, or who needs it.
    InstallPolicyBlocks,
    /// Any pod of the cluster can read Prometheus around the proxy.
    InstallPrometheusOpen,
    /// This clock and the API server's differ.
    InstallClockSkew,
    /// No series has the namespace label.
    DataLabelWithoutValues,
    /// The namespace label has values that are not namespaces of the cluster.
    DataNamespacesForeign,
    /// kube-state-metrics is scraped without `honorLabels`.
    DataHonorLabels,
    /// Another label names the namespace of some metrics, and no rule says so.
    DataNamespaceElsewhere,
    /// Some metrics have no namespace, and no rule is about them.
    DataMetricsUnlabelled,
    /// Charts that every cluster should have are empty.
    DataChartEmpty,
    /// Scrapes are too far apart for the rates of charts.
    DataScrapedSeldom,
    /// Scrapes are closer than shared answers are fresh.
    DataScrapedOftener,
    /// The caller may not come through the API server to the proxy.
    CallerDoorClosed,
    /// No series is open to the caller.
    CallerSeesNothing,
    /// Headlamp's autodetection ends early for the caller.
    CallerNotDetected,
    /// A rule of the configuration closes metrics of the cluster to the caller.
    CallerClusterMetricsClosed,
    /// Somebody holds a role with a right on `*/proxy` that does not come with Kubernetes.
    RightsProxyGranted,
    /// Everybody with a token, or without one, holds it.
    RightsProxyGrantedToAll,
    /// There is such a role, and nobody holds it.
    RightsProxyUnbound,
}

impl Finding {
    /// One without details and manifest.
    pub(super) fn new(
        code: Code,
        severity: Severity,
        about: String,
        what: String,
        remedy: String,
    ) -> Self {
        Self {
            code,
            severity,
            about,
            what,
            details: Vec::new(),
            remedy,
            manifest: None,
        }
    }
}

impl Code {
    /// All there are.
    pub const ALL: [Self; 29] = [
        Self::InstallServiceMissing,
        Self::InstallLabelMissing,
        Self::InstallLabelElsewhere,
        Self::InstallPodLabelled,
        Self::InstallServicePorts,
        Self::InstallViewLacksRight,
        Self::InstallDoorClosed,
        Self::InstallRightMissing,
        Self::InstallRightExcess,
        Self::InstallPodNotReady,
        Self::InstallUpstreamAway,
        Self::InstallPolicyBlocks,
        Self::InstallPrometheusOpen,
        Self::InstallClockSkew,
        Self::DataLabelWithoutValues,
        Self::DataNamespacesForeign,
        Self::DataHonorLabels,
        Self::DataNamespaceElsewhere,
        Self::DataMetricsUnlabelled,
        Self::DataChartEmpty,
        Self::DataScrapedSeldom,
        Self::DataScrapedOftener,
        Self::CallerDoorClosed,
        Self::CallerSeesNothing,
        Self::CallerNotDetected,
        Self::CallerClusterMetricsClosed,
        Self::RightsProxyGranted,
        Self::RightsProxyGrantedToAll,
        Self::RightsProxyUnbound,
    ];

    /// As it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstallServiceMissing => "install-service-missing",
            Self::InstallLabelMissing => "install-label-missing",
            Self::InstallLabelElsewhere => "install-label-elsewhere",
            Self::InstallPodLabelled => "install-pod-labelled",
            Self::InstallServicePorts => "install-service-ports",
            Self::InstallViewLacksRight => "install-view-lacks-right",
            Self::InstallDoorClosed => "install-door-closed",
            Self::InstallRightMissing => "install-right-missing",
            Self::InstallRightExcess => "install-right-excess",
            Self::InstallPodNotReady => "install-pod-not-ready",
            Self::InstallUpstreamAway => "install-upstream-away",
            Self::InstallPolicyBlocks => "install-policy-blocks",
            Self::InstallPrometheusOpen => "install-prometheus-open",
            Self::InstallClockSkew => "install-clock-skew",
            Self::DataLabelWithoutValues => "data-label-without-values",
            Self::DataNamespacesForeign => "data-namespaces-foreign",
            Self::DataHonorLabels => "data-honor-labels",
            Self::DataNamespaceElsewhere => "data-namespace-elsewhere",
            Self::DataMetricsUnlabelled => "data-metrics-unlabelled",
            Self::DataChartEmpty => "data-chart-empty",
            Self::DataScrapedSeldom => "data-scraped-seldom",
            Self::DataScrapedOftener => "data-scraped-oftener",
            Self::CallerDoorClosed => "caller-door-closed",
            Self::CallerSeesNothing => "caller-sees-nothing",
            Self::CallerNotDetected => "caller-not-detected",
            Self::CallerClusterMetricsClosed => "caller-cluster-metrics-closed",
            Self::RightsProxyGranted => "rights-proxy-granted",
            Self::RightsProxyGrantedToAll => "rights-proxy-granted-to-all",
            Self::RightsProxyUnbound => "rights-proxy-unbound",
        }
    }
}

impl Severity {
    /// As it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Report {
    /// Whether there is a finding of that severity or a worse one.
    pub fn has_findings(&self, from: Severity) -> bool {
        let mut sections = self.sections.iter();
        sections.any(|section| section.has_findings(from))
    }
}

impl Section {
    /// Whether there is a finding of that severity or a worse one.
    pub(super) fn has_findings(&self, from: Severity) -> bool {
        self.findings.iter().any(|finding| finding.severity >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_the_same_in_text_and_json() {
        for code in Code::ALL {
            let json = serde_json::to_value(code).expect("JSON");
            assert_eq!(json, code.as_str());
        }
    }
}
