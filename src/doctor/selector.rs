//! Which labels a selector matches.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// As Kubernetes matches labels. An operator that it does not know matches nothing, there too.
pub(super) fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let mut equal = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    equal.all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let value = labels.get(&expression.key);
            let mut values = expression.values.iter().flatten();
            match expression.operator.as_str() {
                "In" => value.is_some_and(|value| values.any(|one| one == value)),
                "NotIn" => value.is_none_or(|value| values.all(|one| one != value)),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
