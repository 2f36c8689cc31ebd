//! The role that remains when what leads through the API server is taken out of it.
//!
//! RBAC only grants, so that `*` without one resource has to be written out: of the core group all resources but those,
//! and all other groups by name.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::way::{EVERY_PROXY, PROXIES, ways};
use crate::doctor::rule::ALL;

/// What the API server serves, to write stars out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::doctor) struct Served {
    /// Resources of the core group, subresources with them.
    pub(in crate::doctor) core: Vec<String>,
    /// All groups but the core.
    pub(in crate::doctor) groups: Vec<String>,
}

impl Served {
    /// Adds groups that count as if they were served.
    pub(super) fn add_groups<'a>(&mut self, groups: impl Iterator<Item = &'a str>) {
        let named = groups.filter(|group| !group.is_empty());
        self.groups.extend(named.map(str::to_owned));
    }
}

/// The rules that remain, none where nothing else was granted. `None`: a star has to be written out, and it is not
/// known what is served.
pub(super) fn without_proxies(
    rules: &[PolicyRule],
    served: Option<&Served>,
) -> Option<Vec<PolicyRule>> {
    let mut remaining = Vec::new();
    for rule in rules {
        // Of a rule that opens a way, all verbs go: `delete` on a proxy is a DELETE to whatever is behind it.
        if ways(rule).is_empty() {
            remaining.push(rule.clone());
        } else {
            remaining.extend(reduced(rule, served)?);
        }
    }
    Some(remaining)
}

fn reduced(rule: &PolicyRule, served: Option<&Served>) -> Option<Vec<PolicyRule>> {
    let resources: Vec<_> = rule.resources.iter().flatten().collect();
    let groups: Vec<_> = rule.api_groups.iter().flatten().collect();
    let wide = |resource: &&String| *resource == ALL || *resource == EVERY_PROXY;
    let with = |groups: Vec<String>, resources: Vec<String>| {
        (!groups.is_empty() && !resources.is_empty()).then(|| PolicyRule {
            api_groups: Some(groups),
            resources: Some(resources),
            ..rule.clone()
        })
    };
    let named = || {
        resources
            .iter()
            .filter(|it| !PROXIES.contains(&it.as_str()))
    };
    if !resources.iter().any(wide) {
        let groups = groups.into_iter().cloned().collect();
        let rest = named().map(|&it| it.clone()).collect();
        return Some(with(groups, rest).into_iter().collect());
    }
    let mut core: Vec<String> = Vec::new();
    for resource in named() {
        match resource.as_str() {
            ALL => {
                let all = served?.core.iter();
                core.extend(all.filter(|it| !PROXIES.contains(&it.as_str())).cloned());
            }
            EVERY_PROXY => {}
            _ => core.push((*resource).clone()),
        }
    }
    core.sort();
    core.dedup();
    let mut others: Vec<String> = Vec::new();
    for group in groups {
        match group.as_str() {
            "" => {}
            ALL => others.extend(served?.groups.iter().cloned()),
            _ => others.push(group.clone()),
        }
    }
    others.sort();
    others.dedup();
    debug_assert!(!ways(rule).is_empty());
    let others = with(others, named().map(|&it| it.clone()).collect());
    Some(
        with(vec![String::new()], core)
            .into_iter()
            .chain(others)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn served() -> Served {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Served {
            core: texts(&[
                "nodes",
                "nodes/proxy",
                "pods",
                "pods/log",
                "pods/proxy",
                "services/proxy",
            ]),
            groups: texts(&["apps", "batch"]),
        }
    }

    fn remains(rules: Value) -> Option<Value> {
        let rules: Vec<PolicyRule> = serde_json::from_value(rules).expect("rules");
        let remaining = without_proxies(&rules, Some(&served()))?;
        // Whatever it was: no way is left, and nothing else was added.
        assert!(
            remaining.iter().all(|rule| ways(rule).is_empty()),
            "{remaining:?}"
        );
        Some(json!(remaining))
    }

    #[test]
    fn what_leads_through_the_api_server_goes_and_the_rest_stays() {
        let kept = json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]});
        let rules = json!([
            {"apiGroups": [""], "resources": ["pods", "pods/proxy", "services/proxy"], "verbs": ["get", "delete"]},
            kept,
            {"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["*"]},
        ]);
        let expected =
            json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "delete"]}, kept]);
        assert_eq!(remains(rules), Some(expected));
    }

    #[test]
    fn nothing_is_left_of_a_role_that_gives_nothing_else() {
        let rules =
            json!([{"apiGroups": [""], "resources": ["*/proxy", "pods/proxy"], "verbs": ["get"]}]);
        assert_eq!(remains(rules), Some(json!([])));
    }

    #[test]
    fn a_star_is_written_out_but_for_the_proxies() {
        let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]}]);
        let expected = json!([
            {"apiGroups": [""], "resources": ["nodes", "pods", "pods/log"], "verbs": ["get"]},
            {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["get"]},
        ]);
        assert_eq!(remains(rules), Some(expected));
        let rules = json!([{"apiGroups": ["", "apps"], "resources": ["*", "x"], "verbs": ["get"]}]);
        let expected = json!([
            {"apiGroups": [""], "resources": ["nodes", "pods", "pods/log", "x"], "verbs": ["get"]},
            {"apiGroups": ["apps"], "resources": ["*", "x"], "verbs": ["get"]},
        ]);
        assert_eq!(remains(rules), Some(expected));
    }

    #[test]
    fn without_knowing_what_is_served_no_star_is_guessed() {
        let star: Vec<PolicyRule> = serde_json::from_value(json!([
            {"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}
        ]))
        .expect("rules");
        assert_eq!(without_proxies(&star, None), None);
    }
}
