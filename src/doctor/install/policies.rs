//! What NetworkPolicies let through, as Kubernetes defines it. Pure: whether something enforces them is not known here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{names, pods};
use crate::doctor::selector::matches;

/// Labels of namespaces, by their names.
pub(super) type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

/// All policies of the cluster.
pub(super) struct Policies<'a> {
    pub(super) policies: &'a [NetworkPolicy],
    pub(super) namespaces: &'a NamespaceLabels,
}

/// Who is at the other end.
#[derive(Clone, Copy)]
pub(super) enum Peer<'a> {
    Pod(&'a Pod),
    /// The API server: no selector matches it, and its addresses are not known.
    ApiServer,
    /// A pod of which nothing is known.
    Stranger,
}

/// Seen from the pod that the policies are about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

/// What policies say of a connection.
pub(super) enum Verdict<'a> {
    /// None is about that pod and direction.
    Unbound,
    /// These let it through.
    Admitted(Vec<&'a NetworkPolicy>),
    /// These are all, and none lets it through.
    Blocked(Vec<&'a NetworkPolicy>),
}

impl<'a> Policies<'a> {
    /// What holds for TCP connections of a pod on a port, which is the pod's own for those that come in.
    pub(super) fn verdict(
        &self,
        pod: &Pod,
        direction: Direction,
        peer: Peer<'_>,
        port: u16,
    ) -> Verdict<'a> {
        let about = self
            .policies
            .iter()
            .filter(|policy| selects(policy, pod, direction));
        let about: Vec<_> = about.collect();
        if about.is_empty() {
            return Verdict::Unbound;
        }
        let admits = |policy: &&&NetworkPolicy| self.admits(policy, pod, direction, peer, port);
        let admitting: Vec<_> = about.iter().filter(admits).copied().collect();
        if admitting.is_empty() {
            Verdict::Blocked(about)
        } else {
            Verdict::Admitted(admitting)
        }
    }

    fn admits(
        &self,
        policy: &NetworkPolicy,
        pod: &Pod,
        direction: Direction,
        peer: Peer<'_>,
        port: u16,
    ) -> bool {
        let Some(spec) = &policy.spec else {
            return false;
        };
        let home = names(&policy.metadata).0;
        // A port's name is the name of it in the pod that is connected to.
        let target = match (direction, peer) {
            (Direction::Ingress, _) => Some(pod),
            (Direction::Egress, Peer::Pod(peer)) => Some(peer),
            (Direction::Egress, _) => None,
        };
        let admits = |peers: Option<&[NetworkPolicyPeer]>, ports: Option<&[NetworkPolicyPort]>| {
            let peers = peers.unwrap_or_default();
            let ports = ports.unwrap_or_default();
            (peers.is_empty() || peers.iter().any(|one| self.is_met(one, home, peer)))
                && (ports.is_empty() || ports.iter().any(|one| covers(one, target, port)))
        };
        match direction {
            Direction::Ingress => {
                let mut rules = spec.ingress.iter().flatten();
                rules.any(|rule| admits(rule.from.as_deref(), rule.ports.as_deref()))
            }
            Direction::Egress => {
                let mut rules = spec.egress.iter().flatten();
                rules.any(|rule| admits(rule.to.as_deref(), rule.ports.as_deref()))
            }
        }
    }

    fn is_met(&self, rule: &NetworkPolicyPeer, home: &str, peer: Peer<'_>) -> bool {
        if let Some(block) = &rule.ip_block {
            // A block may hold the address of the API server or of a pod. Of a stranger only that of all addresses
            // does.
            return !matches!(peer, Peer::Stranger) || block.cidr.ends_with("/0");
        }
        let none = BTreeMap::new();
        let is_in = |selector: &Option<LabelSelector>, labels: &BTreeMap<String, String>| {
            selector
                .as_ref()
                .is_none_or(|selector| matches(selector, labels))
        };
        match peer {
            Peer::ApiServer => false,
            Peer::Stranger => {
                let everywhere = rule
                    .namespace_selector
                    .as_ref()
                    .is_some_and(|it| matches(it, &none));
                everywhere && is_in(&rule.pod_selector, &none)
            }
            Peer::Pod(pod) => {
                let namespace = names(&pod.metadata).0;
                let there = match &rule.namespace_selector {
                    Some(selector) => {
                        let labels = self.namespaces.get(namespace);
                        labels.is_some_and(|labels| matches(selector, labels))
                    }
                    None => namespace == home,
                };
                there
                    && is_in(
                        &rule.pod_selector,
                        pod.metadata.labels.as_ref().unwrap_or(&none),
                    )
            }
        }
    }
}

fn selects(policy: &NetworkPolicy, pod: &Pod, direction: Direction) -> bool {
    let Some(spec) = &policy.spec else {
        return false;
    };
    let none = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    names(&policy.metadata).0 == names(&pod.metadata).0
        && is_about(spec, direction)
        && spec
            .pod_selector
            .as_ref()
            .is_none_or(|selector| matches(selector, labels))
}

/// Where it does not say, a policy is about what comes in, and about what goes out if it has rules for that.
fn is_about(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let named = |name: &str| types.iter().any(|one| one == name);
    match direction {
        Direction::Ingress => types.is_empty() || named("Ingress"),
        Direction::Egress if types.is_empty() => spec.egress.iter().flatten().next().is_some(),
        Direction::Egress => named("Egress"),
    }
}

fn covers(rule: &NetworkPolicyPort, target: Option<&Pod>, port: u16) -> bool {
    let tcp = rule
        .protocol
        .as_deref()
        .is_none_or(|protocol| protocol == "TCP");
    let wanted = i32::from(port);
    tcp && match &rule.port {
        None => true,
        Some(IntOrString::Int(first)) => {
            (*first..=rule.end_port.unwrap_or(*first)).contains(&wanted)
        }
        Some(IntOrString::String(name)) => {
            target.is_some_and(|pod| pods::port(pod, name) == Some(port))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(namespace: &str, labels: Value) -> Pod {
        let ports = json!([{"name": "web", "containerPort": 9090}]);
        let pod = json!({
            "metadata": {"name": "p", "namespace": namespace, "labels": labels},
            "spec": {"containers": [{"name": "c", "ports": ports}]},
        });
        serde_json::from_value(pod).expect("a pod")
    }

    /// What a policy on `app=a` in namespace `n` says: unbound, admitted or blocked.
    fn said(spec: Value, direction: Direction, peer: Peer<'_>, port: u16) -> &'static str {
        let mut spec = spec;
        spec["podSelector"] = json!({"matchLabels": {"app": "a"}});
        let policy = json!({"metadata": {"name": "x", "namespace": "n"}, "spec": spec});
        let policies: Vec<NetworkPolicy> = vec![serde_json::from_value(policy).expect("a policy")];
        let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
        let namespaces =
            BTreeMap::from([("n".to_owned(), labels("n")), ("m".to_owned(), labels("m"))]);
        let policies = Policies {
            policies: &policies,
            namespaces: &namespaces,
        };
        match policies.verdict(&pod("n", json!({"app": "a"})), direction, peer, port) {
            Verdict::Unbound => "unbound",
            Verdict::Admitted(_) => "admitted",
            Verdict::Blocked(_) => "blocked",
        }
    }

    #[test]
    fn a_policy_is_about_what_it_says_or_has_rules_for() {
        let stranger = Peer::Stranger;
        assert_eq!(said(json!({}), Direction::Ingress, stranger, 1), "blocked");
        assert_eq!(said(json!({}), Direction::Egress, stranger, 1), "unbound");
        let out = json!({"egress": [{}]});
        assert_eq!(said(out, Direction::Egress, stranger, 1), "admitted");
        let only_out = json!({"policyTypes": ["Egress"]});
        assert_eq!(
            said(only_out.clone(), Direction::Egress, stranger, 1),
            "blocked"
        );
        assert_eq!(said(only_out, Direction::Ingress, stranger, 1), "unbound");
    }

    #[test]
    fn peers_are_met_by_namespace_and_labels_together() {
        let (near, far) = (pod("n", json!({"app": "b"})), pod("m", json!({"app": "b"})));
        let from = |peer: Value, of: Peer<'_>| {
            said(
                json!({"ingress": [{"from": [peer]}]}),
                Direction::Ingress,
                of,
                9090,
            )
        };
        let labels = json!({"matchLabels": {"app": "b"}});
        let own = json!({"podSelector": labels});
        assert_eq!(from(own.clone(), Peer::Pod(&near)), "admitted");
        assert_eq!(from(own.clone(), Peer::Pod(&far)), "blocked");
        assert_eq!(from(own, Peer::Stranger), "blocked");
        let of_m =
            json!({"namespaceSelector": {"matchLabels": {"team": "m"}}, "podSelector": labels});
        assert_eq!(from(of_m.clone(), Peer::Pod(&far)), "admitted");
        assert_eq!(from(of_m.clone(), Peer::Pod(&near)), "blocked");
        assert_eq!(from(of_m, Peer::ApiServer), "blocked");
        let everybody = json!({"namespaceSelector": {}});
        assert_eq!(from(everybody.clone(), Peer::Stranger), "admitted");
        assert_eq!(from(everybody, Peer::ApiServer), "blocked");
        let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
        assert_eq!(from(block("10.0.0.0/8"), Peer::ApiServer), "admitted");
        assert_eq!(from(block("10.0.0.0/8"), Peer::Stranger), "blocked");
        assert_eq!(from(block("0.0.0.0/0"), Peer::Stranger), "admitted");
    }

    #[test]
    fn ports_are_numbers_ranges_and_names_of_the_pod_that_is_connected_to() {
        let peer = pod("n", json!({}));
        let on = |port: Value, direction: Direction, number: u16| {
            let rules = json!([{"ports": [port]}]);
            said(
                json!({"ingress": rules, "egress": rules}),
                direction,
                Peer::Pod(&peer),
                number,
            )
        };
        for direction in [Direction::Ingress, Direction::Egress] {
            assert_eq!(on(json!({"port": 9090}), direction, 9090), "admitted");
            assert_eq!(on(json!({"port": 9090}), direction, 9091), "blocked");
            assert_eq!(
                on(json!({"port": 9000, "endPort": 9100}), direction, 9090),
                "admitted"
            );
            assert_eq!(on(json!({"port": "web"}), direction, 9090), "admitted");
            assert_eq!(on(json!({"port": "web"}), direction, 9091), "blocked");
            assert_eq!(
                on(json!({"port": 9090, "protocol": "UDP"}), direction, 9090),
                "blocked"
            );
            assert_eq!(on(json!({}), direction, 9090), "admitted");
        }
    }
}
