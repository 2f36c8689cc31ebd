//! The proxy's own rights: what its configuration needs and RBAC does not grant, and what is granted besides.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role, RoleRef, Subject};

use super::names;
use super::needs::{Need, needs};
use super::surroundings::Surroundings;
use crate::authn::{ACCOUNT, groups_of};
use crate::config::Config;
use crate::doctor::binding::{self, Binding};
use crate::doctor::finding::{Code, Finding, Severity};
use crate::doctor::lists::Unread;
use crate::doctor::rule::{allows, describe};
use crate::doctor::snapshot::Snapshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Account<'a> {
    namespace: &'a str,
    name: &'a str,
}

/// The rules of a role that is bound to it.
struct Grant<'a> {
    rules: &'a [PolicyRule],
    /// `None`: in the whole cluster.
    namespace: Option<&'a str>,
    /// Whether it is bound to this account itself, and not to a group that others are in.
    own: bool,
    description: String,
}

/// Judges the account that the proxy's pods run with.
pub(super) fn examine(
    snapshot: &Snapshot,
    surroundings: &Surroundings,
    config: &Config,
) -> Result<Vec<Finding>, Unread> {
    let accounts = accounts(surroundings)?;
    let mut accounts = accounts.into_iter();
    let (Some(account), None) = (accounts.next(), accounts.next()) else {
        // Without one the pods are missing, which is reported elsewhere. Among several, nothing says which one this
        // configuration is for.
        return Ok(Vec::new());
    };
    let grants = grants(snapshot, account)?;
    let needs = needs(config);
    Ok(missing(account, &grants, &needs)
        .into_iter()
        .chain(excess(account, &grants, &needs))
        .collect())
}

fn accounts(surroundings: &Surroundings) -> Result<BTreeSet<Account<'_>>, Unread> {
    let entrances = surroundings.entrances.as_ref().map_err(Clone::clone)?;
    let mut accounts = BTreeSet::new();
    for pods in entrances
        .iter()
        .filter_map(|entrance| entrance.pods.as_ref())
    {
        for pod in pods.as_ref().map_err(Clone::clone)? {
            let name = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.service_account_name.as_deref());
            accounts.insert(Account {
                namespace: names(&pod.metadata).0,
                name: name.unwrap_or("default"),
            });
        }
    }
    Ok(accounts)
}

fn grants<'a>(snapshot: &'a Snapshot, account: Account<'_>) -> Result<Vec<Grant<'a>>, Unread> {
    let cluster_roles = snapshot.cluster_roles.as_ref().map_err(Clone::clone)?;
    let roles = snapshot.roles.as_ref().map_err(Clone::clone)?;
    let cluster_bindings = snapshot.cluster_bindings.as_ref().map_err(Clone::clone)?;
    let bindings = snapshot.bindings.as_ref().map_err(Clone::clone)?;
    let grants = binding::all(cluster_bindings, bindings).filter_map(|binding| {
        let Binding {
            namespace, role, ..
        } = binding;
        Some(Grant {
            own: account.is_among(binding.subjects, namespace.unwrap_or_default())?,
            rules: rules(role, namespace, cluster_roles, roles),
            namespace,
            description: format!("{} of {}", role.name, binding.named()),
        })
    });
    Ok(grants.collect())
}

/// The rules of the role that a binding in `namespace` names.
fn rules<'a>(
    of: &RoleRef,
    namespace: Option<&str>,
    cluster_roles: &'a [ClusterRole],
    roles: &'a [Role],
) -> &'a [PolicyRule] {
    let rules = if of.kind == "Role" {
        let wanted = (namespace.unwrap_or_default(), of.name.as_str());
        let role = roles.iter().find(|role| names(&role.metadata) == wanted);
        role.and_then(|role| role.rules.as_deref())
    } else {
        let role = cluster_roles
            .iter()
            .find(|role| names(&role.metadata).1 == of.name);
        role.and_then(|role| role.rules.as_deref())
    };
    rules.unwrap_or_default()
}

impl Account<'_> {
    /// Whether a binding in `namespace` is about it, and if so, whether about it alone.
    fn is_among(&self, subjects: &[Subject], namespace: &str) -> Option<bool> {
        let user = format!("{ACCOUNT}{}:{}", self.namespace, self.name);
        let groups = groups_of(&user, &[]);
        let named = subjects
            .iter()
            .filter_map(|subject| match subject.kind.as_str() {
                "ServiceAccount" => {
                    let own = subject.namespace.as_deref().unwrap_or(namespace);
                    (own == self.namespace && subject.name == self.name).then_some(true)
                }
                "User" => (subject.name == user).then_some(true),
                "Group" => groups.contains(&subject.name).then_some(false),
                _ => None,
            });
        named.max()
    }

    fn description(&self) -> String {
        format!("service account {}/{}", self.namespace, self.name)
    }
}

fn missing(account: Account<'_>, grants: &[Grant<'_>], needs: &[Need]) -> Option<Finding> {
    let granted = |need: &Need, verb: &str, resource: &str| {
        let mut there = grants.iter().filter(|grant| {
            grant.namespace.is_none() || grant.namespace == need.namespace.as_deref()
        });
        there.any(|grant| {
            grant.rules.iter().any(|rule| {
                let named = rule.resource_names.iter().flatten().next().is_some();
                !named && allows(rule, verb, need.group, resource)
            })
        })
    };
    let mut details = Vec::new();
    for need in needs {
        let lacking = need
            .accesses()
            .filter(|(verb, resource)| !granted(need, verb, resource));
        let place = match &need.namespace {
            Some(namespace) => format!("in namespace {namespace}"),
            None => "in the whole cluster".to_owned(),
        };
        let group = if need.group.is_empty() {
            String::new()
        } else {
            format!(".{}", need.group)
        };
        details.extend(lacking.map(|(verb, resource)| format!("{verb} {resource}{group} {place}")));
    }
    (!details.is_empty()).then(|| Finding {
        details,
        ..Finding::new(
            Code::InstallRightMissing,
            Severity::Error,
            account.description(),
            "RBAC does not grant it what the configuration needs".to_owned(),
            "rbac.create=true in the chart, or the roles of the kustomize base and its components; docs/permissions.md says what each \
             right is for"
                .to_owned(),
        )
    })
}

fn excess(account: Account<'_>, grants: &[Grant<'_>], needs: &[Need]) -> Option<Finding> {
    let mut details = Vec::new();
    for grant in grants.iter().filter(|grant| grant.own) {
        let beside = grant
            .rules
            .iter()
            .filter(|rule| !is_needed(rule, grant.namespace, needs));
        details.extend(beside.map(|rule| format!("{}, by {}", describe(rule), grant.description)));
    }
    (!details.is_empty()).then(|| Finding {
        details,
        ..Finding::new(
            Code::InstallRightExcess,
            Severity::Warning,
            account.description(),
            "it has rights that the proxy's configuration does not need".to_owned(),
            "remove them from these roles, or delete these bindings".to_owned(),
        )
    })
}

/// Whether all that a rule grants in a namespace is needed there.
fn is_needed(rule: &PolicyRule, namespace: Option<&str>, needs: &[Need]) -> bool {
    let there = |need: &&Need| need.namespace.is_none() || need.namespace.as_deref() == namespace;
    let needed = |verb: &str, group: &str, resource: &str| {
        let mut needs = needs.iter().filter(there);
        needs.any(|need| {
            need.group == group && need.accesses().any(|access| access == (verb, resource))
        })
    };
    let groups = || rule.api_groups.iter().flatten();
    let resources = || rule.resources.iter().flatten();
    rule.non_resource_urls.iter().flatten().next().is_none()
        && rule.verbs.iter().all(|verb| {
            groups().all(|group| resources().all(|resource| needed(verb, group, resource)))
        })
}
