//! How a configuration differs from the one before, and which differences take a restart.

use crate::config::{AdminListener, Config, Gateway, Kubernetes, Listener, Listeners};

/// Keys that differ, and are built into what lasts: sockets, watches, the way to Kubernetes and to a collector. Empty
/// when there are none.
///
/// Every key of the sections concerned is named here, so that a new one has to be decided about.
pub(super) fn needing_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    let mut compare = |key, same: bool| {
        if !same {
            keys.push(key);
        }
    };
    let Listeners {
        service: Listener { address, tls },
        gateway,
        admin: AdminListener { address: admin },
    } = &before.listeners;
    let now = &after.listeners;
    compare("listeners.service.address", *address == now.service.address);
    compare("listeners.service.tls", *tls == now.service.tls);
    match (gateway, &now.gateway) {
        (None, None) => {}
        (Some(gateway), Some(now)) => {
            let Gateway {
                address,
                tls,
                reserved_service: _,
                prometheus_services: _,
                namespace_list,
            } = gateway;
            compare("listeners.gateway.address", *address == now.address);
            compare("listeners.gateway.tls", *tls == now.tls);
            let listed = *namespace_list == now.namespace_list;
            compare("listeners.gateway.namespaceList", listed);
        }
        (Some(_), None) | (None, Some(_)) => compare("listeners.gateway", false),
    }
    compare("listeners.admin.address", *admin == now.admin.address);
    let Kubernetes {
        kubeconfig,
        timeout: _,
        request_timeout: _,
        concurrent_reviews: _,
    } = &before.kubernetes;
    let same = *kubeconfig == after.kubernetes.kubeconfig;
    compare("kubernetes.kubeconfig", same);
    // They decide what is watched.
    let (authorization, now) = (&before.authorization, &after.authorization);
    let same = authorization.namespaces == now.namespaces;
    compare("authorization.namespaces", same);
    let same = authorization.changes == now.changes;
    compare("authorization.changes", same);
    // Spans that wait would be lost with their way to the collector.
    compare("tracing", before.tracing == after.tracing);
    keys
}

/// The sections that differ, as the log tells them. Empty when nothing does.
pub(super) fn sections(before: &Config, after: &Config) -> Vec<&'static str> {
    let Config {
        listeners,
        kubernetes,
        authentication,
        authorization,
        upstreams,
        limits,
        readiness,
        logging,
        tracing,
    } = before;
    let sections = [
        ("listeners", *listeners == after.listeners),
        ("kubernetes", *kubernetes == after.kubernetes),
        ("authentication", *authentication == after.authentication),
        ("authorization", *authorization == after.authorization),
        ("upstreams", *upstreams == after.upstreams),
        ("limits", *limits == after.limits),
        ("readiness", *readiness == after.readiness),
        ("logging", *logging == after.logging),
        ("tracing", *tracing == after.tracing),
    ];
    let changed = sections.into_iter().filter(|(_, same)| !same);
    changed.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "upstreams: [{url: 'http://prometheus'}]\n";

    fn config(text: &str) -> Config {
        Config::parse(&format!("{LEAST}{text}"), std::iter::empty()).expect(text)
    }

    #[test]
    fn what_takes_a_restart_is_named_by_its_key() {
        let tls = "{certFile: /a, keyFile: /b}";
        for (before, after, expected) in [
            (
                String::new(),
                "listeners: {service: {address: '127.0.0.1:1'}, admin: {address: '127.0.0.1:2'}}"
                    .to_owned(),
                &["listeners.service.address", "listeners.admin.address"][..],
            ),
            (
                String::new(),
                format!("listeners: {{service: {{tls: {tls}}}}}"),
                &["listeners.service.tls"],
            ),
            (
                String::new(),
                "listeners: {gateway: {}}".to_owned(),
                &["listeners.gateway"],
            ),
            (
                "listeners: {gateway: {}}".to_owned(),
                format!("listeners: {{gateway: {{tls: {tls}, address: '127.0.0.1:1'}}}}"),
                &["listeners.gateway.address", "listeners.gateway.tls"],
            ),
            (
                String::new(),
                "kubernetes: {kubeconfig: /k}".to_owned(),
                &["kubernetes.kubeconfig"],
            ),
            (
                String::new(),
                "tracing: {endpoint: 'http://collector:4318'}".to_owned(),
                &["tracing"],
            ),
        ] {
            assert_eq!(needing_restart(&config(&before), &config(&after)), expected);
            assert_eq!(needing_restart(&config(&after), &config(&before)), expected);
        }
    }

    #[test]
    fn all_else_is_taken_and_told_by_its_section() {
        let before = config("listeners: {gateway: {}}");
        for (after, expected) in [
            ("listeners: {gateway: {}}", &[][..]),
            (
                "listeners: {gateway: {answersFor: {name: other}}}",
                &["listeners"],
            ),
            (
                "listeners: {gateway: {}}\nkubernetes: {timeout: 1s, requestTimeout: 2s, concurrentReviews: 3}",
                &["kubernetes"],
            ),
            (
                "listeners: {gateway: {}}\nlimits: {maxConnections: 9}\nlogging: {level: debug}",
                &["limits", "logging"],
            ),
        ] {
            let after = config(after);
            assert_eq!(needing_restart(&before, &after), [""; 0]);
            assert_eq!(sections(&before, &after), expected);
        }
    }
}
