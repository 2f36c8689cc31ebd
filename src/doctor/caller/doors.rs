//! The doors to the proxy, and what somebody needs to come through each.

use k8s_openapi::api::authorization::v1::ResourceAttributes;

use crate::authn::Caller;
use crate::authz::Authorizer;
use crate::cluster::Unavailable;
use crate::doctor::own_service::OwnService;

/// The way through the API server to one Service of the proxy.
#[derive(Debug)]
pub(super) struct ServiceDoor {
    pub(super) namespace: String,
    /// `NAME:PORT`, as it stands in the path and in a role.
    pub(super) segment: String,
    pub(super) open: bool,
}

impl ServiceDoor {
    /// What Headlamp's charts show where it is closed: the API server's own words.
    pub(super) fn refusal(&self, caller: &Caller) -> String {
        let (user, segment, namespace) = (caller.username(), &self.segment, &self.namespace);
        format!(
            "services \"{segment}\" is forbidden: User \"{user}\" cannot get resource \"services/proxy\" in API group \"\" \
             in the namespace \"{namespace}\""
        )
    }

    /// The review and its answer, as the report has them.
    pub(super) fn description(&self) -> String {
        let answer = if self.open { "allowed" } else { "denied" };
        let (segment, namespace) = (&self.segment, &self.namespace);
        format!("review: get services/proxy of {segment} in namespace {namespace}: {answer}")
    }
}

/// Asks for each Service of the proxy, under the port that Headlamp's address names.
pub(super) async fn service_doors(
    authorizer: &Authorizer,
    caller: &Caller,
    services: &[OwnService],
) -> Result<Vec<ServiceDoor>, Unavailable> {
    let mut doors = Vec::new();
    for service in services {
        let numbered = |segment: &&String| {
            let port = segment.rsplit_once(':').map(|(_, port)| port);
            port.is_some_and(|port| port.parse::<u16>().is_ok())
        };
        for segment in service.segments.iter().filter(numbered) {
            let asked = ResourceAttributes {
                verb: Some("get".to_owned()),
                resource: Some("services".to_owned()),
                subresource: Some("proxy".to_owned()),
                name: Some(segment.clone()),
                namespace: Some(service.namespace.clone()),
                ..ResourceAttributes::default()
            };
            doors.push(ServiceDoor {
                namespace: service.namespace.clone(),
                segment: segment.clone(),
                open: authorizer.may(caller, asked).await?,
            });
        }
    }
    Ok(doors)
}

/// What Headlamp's autodetection lists in the whole cluster, as far as the caller may not.
pub(super) async fn lists_refused(
    authorizer: &Authorizer,
    caller: &Caller,
) -> Result<Vec<&'static str>, Unavailable> {
    let mut refused = Vec::new();
    for resource in ["pods", "services"] {
        let asked = ResourceAttributes {
            verb: Some("list".to_owned()),
            resource: Some(resource.to_owned()),
            ..ResourceAttributes::default()
        };
        if !authorizer.may(caller, asked).await? {
            refused.push(resource);
        }
    }
    Ok(refused)
}
