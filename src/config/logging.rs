//! What is logged, and what an audit line says.

use ipnet::IpNet;

use super::format::NETWORK;
use super::level::LEVEL;
use super::section::Section;

/// The log, and the audit lines in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Level, or directives such as `info,prom_rbac_proxy::authz=debug`. Default `info`.
    pub level: String,
    /// Whether each request leaves an audit line. Default true.
    pub audit: bool,
    /// How an audit line tells the query. Default [`AuditQuery::Hash`].
    pub audit_query: AuditQuery,
    /// Whether an audit line names the caller's groups. Default false.
    pub audit_groups: bool,
    /// From where an audit line believes `X-Forwarded-For`. Default: from nowhere.
    pub trusted_proxies: Vec<IpNet>,
}

/// How an audit line tells the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditQuery {
    None,
    /// By a hash, so that equal queries can be recognised.
    Hash,
    /// In full.
    Full,
}

impl Logging {
    pub(super) fn read(section: &mut Section) -> Self {
        Self {
            level: section.text(
                "level",
                "info",
                "error, warn, info, debug, trace, or directives for single parts",
                &LEVEL,
            ),
            audit: section.flag("audit", true, "Whether each request leaves an audit line"),
            audit_query: section.choice(
                "auditQuery",
                [
                    ("hash", AuditQuery::Hash),
                    ("none", AuditQuery::None),
                    ("full", AuditQuery::Full),
                ],
                "How an audit line tells the query: none, hash or full",
            ),
            audit_groups: section.flag(
                "auditGroups",
                false,
                "Whether an audit line names the caller's groups",
            ),
            trusted_proxies: section.texts(
                "trustedProxies",
                &[],
                "Addresses or networks (10.0.0.0/8) of proxies whose X-Forwarded-For tells an audit line the client; empty: none",
                &NETWORK,
            ),
        }
    }
}
