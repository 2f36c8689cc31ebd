//! The rules of the test data: recorded series and alerts of two namespaces, of a victim, and of
//! no namespace.

use super::data::Data;

const TEAM: &str = r#"
  - name: NAMESPACE-rules
    interval: 1s
    rules:
      - record: namespace:container_cpu_usage:rate5m
        expr: sum by (namespace) (rate(container_cpu_usage_seconds_total{namespace="NAMESPACE"}[5m]))
        labels: { team: NAMESPACE }
      - alert: SecretIsSet
        expr: secret{namespace="NAMESPACE"} > 0
        labels: { severity: info, namespace: NAMESPACE }
        annotations: { summary: "value {{ $value }} of {{ $labels.pod }}" }
      - alert: NothingRuns
        expr: absent(up{namespace="NAMESPACE"})
        for: 5m
        labels: { severity: page, namespace: NAMESPACE }
"#;

/// The victim's alert has no static namespace label: a filter by a rule's labels misses it.
const VICTIM: &str = r#"
  - name: victim-rules
    interval: 1s
    rules:
      - alert: VictimAlert
        expr: secret{namespace="victim"} > 0
        labels: { severity: page }
        annotations: { summary: "value {{ $value }} of {{ $labels.pod }}", detail: VICTIMDATA }
"#;

const CLUSTER: &str = r#"
  - name: cluster-rules
    interval: 1s
    rules:
      - record: cluster:secret:sum
        expr: sum(secret)
      - alert: SecretsOfTheCluster
        expr: sum(secret) > 0
        labels: { severity: info }
        annotations: { summary: "all secrets: {{ $value }}" }
"#;

/// The rules file of a selection.
pub(crate) fn text(data: &Data) -> String {
    let mut text = String::from("groups:");
    let mut any = false;
    for namespace in ["team-a", "team-b"] {
        if data.includes(namespace) {
            text += &TEAM.replace("NAMESPACE", namespace);
            any = true;
        }
    }
    for (namespace, rules) in [("victim", VICTIM), ("", CLUSTER)] {
        if data.includes(namespace) {
            text += rules;
            any = true;
        }
    }
    if any { text } else { "groups: []\n".to_owned() }
}
