//! From a pod to an endpoint.

use k8s_openapi::api::core::v1::{ContainerPort, Pod};

use super::{Discovered, NotUsed, Offer, authority};
use crate::config::PortRef;

/// At most one; none while the pod has no address, or when it has ended.
pub(super) fn read(pod: &Pod, port: &PortRef) -> Result<Vec<Discovered>, NotUsed> {
    let Some(status) = &pod.status else {
        return Ok(Vec::new());
    };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Ok(Vec::new());
    }
    let addresses: Vec<_> = match status.pod_ips.as_deref() {
        None | Some([]) => status.pod_ip.iter().map(String::as_str).collect(),
        Some(all) => all.iter().map(|one| one.ip.as_str()).collect(),
    };
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let port = find(pod, port)?;
    let addresses: Vec<_> = addresses
        .into_iter()
        .filter_map(|address| authority(address, port))
        .collect();
    let Some(first) = addresses.first() else {
        return Ok(Vec::new());
    };
    let conditions = status.conditions.iter().flatten();
    let mut ready = conditions.filter(|one| one.type_ == "Ready" && one.status == "True");
    let ending = pod.metadata.deletion_timestamp.is_some();
    let name = pod.metadata.name.clone();
    Ok(vec![Discovered {
        name: name.unwrap_or_else(|| first.to_string()),
        offer: if ready.next().is_some() && !ending {
            Offer::Ready
        } else {
            Offer::Withdrawn
        },
        addresses,
    }])
}

fn find(pod: &Pod, wanted: &PortRef) -> Result<u16, NotUsed> {
    let wanted = match wanted {
        // A container need not name the ports that it listens on.
        PortRef::Number(number) => return Ok(*number),
        PortRef::Name(name) => name,
    };
    let spec = pod.spec.as_ref();
    let containers = spec.iter().flat_map(|spec| {
        // A sidecar is an init container that keeps running.
        let first = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(first)
    });
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let named = |port: &&ContainerPort| port.name.as_ref() == Some(wanted);
    let found = ports.clone().find(named);
    found
        .and_then(|port| u16::try_from(port.container_port).ok())
        .ok_or_else(|| NotUsed::Name {
            wanted: wanted.clone(),
            offered: ports
                .filter_map(|port| port.name.as_deref())
                .collect::<Vec<_>>()
                .join(", "),
        })
}
