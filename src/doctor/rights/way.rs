//! What a rule of a role opens through the API server.

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::doctor::rule::allows;

/// What the API server proxies to, as the resource is named.
pub(super) const PROXIES: [&str; 3] = ["pods/proxy", "services/proxy", "nodes/proxy"];

/// All subresources of that name.
pub(super) const EVERY_PROXY: &str = "*/proxy";

/// GET and POST: what a query needs.
const VERBS: [&str; 2] = ["get", "create"];

/// One resource that a rule opens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    /// One of [`PROXIES`].
    pub(super) resource: &'static str,
    /// Of `get` and `create`, those that are granted.
    pub(super) verbs: Vec<&'static str>,
    /// The only names for which it holds; empty: for all.
    pub(super) names: Vec<String>,
}

impl Way {
    /// Nodes have no namespace, so that only a ClusterRoleBinding can grant them.
    pub(super) fn needs_cluster_binding(&self) -> bool {
        self.resource == "nodes/proxy"
    }

    /// As `get, create on pods/proxy`.
    pub(super) fn description(&self) -> String {
        let verbs = self.verbs.join(", ");
        let names = match self.names.as_slice() {
            [] => String::new(),
            names => format!(" of {}", names.join(", ")),
        };
        format!("{verbs} on {}{names}", self.resource)
    }
}

/// What a rule opens. Empty for most.
pub(super) fn ways(rule: &PolicyRule) -> Vec<Way> {
    let way = |resource| {
        // Pods, services and nodes are in the core group.
        let granted = VERBS
            .into_iter()
            .filter(|verb| allows(rule, verb, "", resource));
        Way {
            resource,
            verbs: granted.collect(),
            names: rule.resource_names.clone().unwrap_or_default(),
        }
    };
    let ways = PROXIES.into_iter().map(way);
    ways.filter(|way| !way.verbs.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        PolicyRule {
            api_groups: Some(texts(groups)),
            resources: Some(texts(resources)),
            verbs: texts(verbs),
            ..PolicyRule::default()
        }
    }

    #[test]
    fn a_star_means_what_kubernetes_takes_it_for() {
        let opened = |groups: &[&str], resources: &[&str], verbs: &[&str]| -> Vec<String> {
            let ways = ways(&rule(groups, resources, verbs));
            ways.iter().map(Way::description).collect()
        };
        assert_eq!(
            opened(&[""], &["pods/proxy"], &["get"]),
            ["get on pods/proxy"]
        );
        let all = [
            "get, create on pods/proxy",
            "get, create on services/proxy",
            "get, create on nodes/proxy",
        ];
        for (group, resource, verb) in [("*", "*", "*"), ("", "*/proxy", "*"), ("", "*", "*")] {
            assert_eq!(
                opened(&[group], &[resource], &[verb]),
                all,
                "{group} {resource} {verb}"
            );
        }
        for (group, resource, verb) in [
            ("", "pods/*", "*"),
            ("", "pods", "*"),
            ("", "proxy", "*"),
            ("", "*/log", "*"),
            ("", "Pods/proxy", "*"),
            ("apps", "*", "*"),
            ("metrics.k8s.io", "pods/proxy", "get"),
            ("", "pods/proxy", "list"),
            ("", "pods/proxy", "delete"),
        ] {
            assert_eq!(
                opened(&[group], &[resource], &[verb]),
                [""; 0],
                "{group} {resource} {verb}"
            );
        }
    }

    #[test]
    fn names_limit_what_is_opened() {
        let mut named = rule(&[""], &["services/proxy"], &["get"]);
        named.resource_names = Some(vec!["prometheus:9090".to_owned()]);
        assert_eq!(
            ways(&named)[0].description(),
            "get on services/proxy of prometheus:9090"
        );
    }
}
