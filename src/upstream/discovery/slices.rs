//! The endpoints in an EndpointSlice.
//!
//! A slice names the ports of the pods, not those of the Service, and the Service itself is not read: the proxy
//! has no right to. So a port of the Service that is given as a number is found where there is no choice, or
//! where the number is the same on the pods; else its name is needed.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::{Discovered, NotUsed, Offer, authority};
use crate::config::PortRef;

pub(super) fn read(slice: &EndpointSlice, port: &PortRef) -> Result<Vec<Discovered>, NotUsed> {
    let endpoints = slice.endpoints.iter().flatten();
    let mut endpoints = endpoints.peekable();
    if endpoints.peek().is_none() {
        // A slice without endpoints may lack ports as well.
        return Ok(Vec::new());
    }
    let ports = slice.ports.iter().flatten();
    let ports: Vec<_> = ports.filter(|port| is_tcp(port)).collect();
    let port = find(&ports, port)?;
    Ok(endpoints
        .filter_map(|endpoint| discovered(endpoint, port))
        .collect())
}

fn find(ports: &[&EndpointPort], wanted: &PortRef) -> Result<u16, NotUsed> {
    let number = |port: &EndpointPort| port.port.and_then(|port| u16::try_from(port).ok());
    let named = |wanted: &str| {
        let is_it = |port: &&&EndpointPort| port.name.as_deref().unwrap_or_default() == wanted;
        ports.iter().find(is_it).and_then(|port| number(port))
    };
    let offered = || {
        let port = |port: &&EndpointPort| match (port.name.as_deref(), port.port) {
            (None | Some(""), port) => format!("{}", port.unwrap_or_default()),
            (Some(name), port) => format!("{name} {}", port.unwrap_or_default()),
        };
        ports.iter().map(port).collect::<Vec<_>>().join(", ")
    };
    match wanted {
        PortRef::Name(name) => named(name).ok_or_else(|| NotUsed::Name {
            wanted: name.clone(),
            offered: offered(),
        }),
        PortRef::Number(wanted) => match ports {
            [only] => Ok(number(only).unwrap_or(*wanted)),
            _ if ports.iter().any(|port| number(port) == Some(*wanted)) => Ok(*wanted),
            _ => Err(NotUsed::Number {
                wanted: *wanted,
                offered: offered(),
            }),
        },
    }
}

/// The default is TCP.
fn is_tcp(port: &EndpointPort) -> bool {
    port.protocol.as_deref().is_none_or(|name| name == "TCP")
}

fn discovered(endpoint: &Endpoint, port: u16) -> Option<Discovered> {
    // "The consumer should use the first": all of them are the same endpoint.
    let address = authority(endpoint.addresses.first()?, port)?;
    let conditions = endpoint.conditions.as_ref();
    let told = |read: fn(&k8s_openapi::api::discovery::v1::EndpointConditions) -> Option<bool>| {
        conditions.and_then(read)
    };
    // Not `ready`: a Service may publish pods that are not ready as ready. Where `serving` is missing, `ready` is the
    // same; where both are missing, the endpoint counts as ready.
    let serving = told(|conditions| conditions.serving)
        .or(told(|conditions| conditions.ready))
        .unwrap_or(true);
    let ending = told(|conditions| conditions.terminating).unwrap_or(false);
    let pod = endpoint.target_ref.as_ref();
    let pod = pod.filter(|target| target.kind.as_deref() == Some("Pod"));
    Some(Discovered {
        name: pod
            .and_then(|pod| pod.name.clone())
            .unwrap_or_else(|| address.to_string()),
        addresses: vec![address],
        offer: if serving && !ending {
            Offer::Ready
        } else {
            Offer::Withdrawn
        },
    })
}
