//! What somebody gets at each door, review by review, and what to grant where that is nothing.
//!
//! Decides nothing: the reviews are those of a request, and the words those of its answer.

mod doors;
mod grant;
mod visibility;

use std::cmp::Reverse;

use self::doors::{ServiceDoor, lists_refused, service_doors};
use self::grant::{CHOSEN, GrantScope};
use self::visibility::{Closed, Series, Visibility};
use super::finding::{Code, Finding, Section, Severity};
use super::lists::known;
use super::own_service::entrances;
use super::snapshot::Snapshot;
use crate::app::Authorization;
use crate::authn::Caller;
use crate::cluster::Unavailable;
use crate::config::Config;

const TITLE: &str = "A caller";

/// Whom it is about, and how Kubernetes is asked.
pub(super) struct Examination<'a> {
    pub(super) config: &'a Config,
    pub(super) authorization: &'a Authorization,
    pub(super) caller: &'a Caller,
}

impl Examination<'_> {
    /// Goes through the doors; and whether Kubernetes said anything of the caller.
    pub(super) async fn examine(&self, snapshot: &Snapshot) -> (Section, bool) {
        let visibility = visibility::see(self.authorization, self.config, self.caller).await;
        let mut section = Section {
            title: TITLE,
            notes: vec![self.named(), sees(&visibility.series)],
            ..Section::default()
        };
        section.notes.extend(visibility.steps.iter().cloned());
        if let Series::Unknown(why) = &visibility.series {
            let unread = format!("reviews of this caller: {why}; what they see is not known");
            section.unread.push(unread);
        }
        if let Err(unavailable) = self.doors(&visibility, snapshot, &mut section).await {
            let unread = format!("reviews of this caller: {unavailable}; the doors are not judged");
            section.unread.push(unread);
        }
        self.judge(&visibility, snapshot, &mut section);
        section
            .findings
            .sort_by_key(|finding| Reverse(finding.severity));
        (section, !matches!(visibility.series, Series::Unknown(_)))
    }

    fn named(&self) -> String {
        let (user, groups) = (self.caller.username(), self.caller.groups().join(", "));
        format!("{user}, in the groups {groups}")
    }

    async fn doors(
        &self,
        visibility: &Visibility,
        snapshot: &Snapshot,
        section: &mut Section,
    ) -> Result<(), Unavailable> {
        let (config, caller) = (self.config, self.caller);
        let authorizer = &self.authorization.authorizer;
        let behind = behind(&visibility.series);
        let without = "the door through the API server is not judged";
        let services = known(snapshot.services.as_ref(), without, &mut section.unread);
        if let Some(services) = services.filter(|_| config.listeners.service.tls.is_none()) {
            let doors = service_doors(authorizer, caller, &entrances(services)).await?;
            let refused = lists_refused(authorizer, caller).await?;
            for door in &doors {
                let told = door.description();
                let gets = if door.open {
                    behind.clone()
                } else {
                    format!("charts say: Error: Forbidden - {}", door.refusal(caller))
                };
                section.notes.push(format!("service door: {told}; {gets}"));
            }
            let closed = doors.iter().filter(|door| !door.open);
            section
                .findings
                .extend(closed.map(|door| self.closed(door, snapshot)));
            let open = doors.iter().find(|door| door.open);
            if let Some(door) = open.filter(|_| !refused.is_empty()) {
                section.findings.push(self.undetected(door, &refused));
            }
        }
        if config.listeners.service.tls.is_some() {
            let closed = "service door: closed to Headlamp, whose address cannot ask for HTTPS, which listeners.service.tls sets";
            section.notes.push(closed.to_owned());
        }
        for door in ["ingress", "direct"] {
            let told = format!("{door} door, where there is one: no right is asked for; {behind}");
            section.notes.push(told);
        }
        section.notes.push(match &config.listeners.gateway {
            Some(_) => format!("gateway door: no right is asked for; {behind}"),
            None => "gateway door: listeners.gateway is not set".to_owned(),
        });
        Ok(())
    }

    fn judge(&self, visibility: &Visibility, snapshot: &Snapshot, section: &mut Section) {
        let roles = snapshot.cluster_roles.as_deref().unwrap_or_default();
        let (caller, user) = (self.caller, self.caller.username());
        let about = format!("user {user}");
        if let Series::None(refusal) = &visibility.series {
            let attributes = &self.config.authorization.attributes;
            section.findings.push(Finding {
                details: visibility.steps.clone(),
                manifest: Some(grant::series(
                    caller,
                    attributes,
                    GrantScope::Namespace,
                    roles,
                )),
                ..Finding::new(
                    Code::CallerSeesNothing,
                    Severity::Warning,
                    about.clone(),
                    format!("charts say, at every door: Error: Forbidden - {refusal}"),
                    format!("write a namespace for {CHOSEN}, and kubectl apply -f - of this"),
                )
            });
        }
        for closed in &visibility.closed {
            let Closed {
                metrics,
                attributes,
                refusal,
            } = closed;
            let metrics: Vec<_> = metrics.iter().map(ToString::to_string).collect();
            section.findings.push(Finding {
                manifest: Some(grant::series(
                    caller,
                    attributes,
                    GrantScope::Cluster,
                    roles,
                )),
                ..Finding::new(
                    Code::CallerClusterMetricsClosed,
                    Severity::Advice,
                    about.clone(),
                    format!(
                        "charts of {} say: Error: Forbidden - {refusal}",
                        metrics.join(", ")
                    ),
                    "nothing, unless they run the cluster; then kubectl apply -f - of this"
                        .to_owned(),
                )
            });
        }
    }

    fn closed(&self, door: &ServiceDoor, snapshot: &Snapshot) -> Finding {
        let roles = snapshot.roles.as_deref().unwrap_or_default();
        // Who comes through the gateway needs no other door.
        let severity = match &self.config.listeners.gateway {
            Some(_) => Severity::Advice,
            None => Severity::Warning,
        };
        Finding {
            details: vec![door.description()],
            manifest: Some(grant::door(self.caller, door, roles)),
            ..Finding::new(
                Code::CallerDoorClosed,
                severity,
                format!("user {}", self.caller.username()),
                format!(
                    "charts say, at the service door: Error: Forbidden - {}",
                    door.refusal(self.caller)
                ),
                "nothing, where they come by another door; else kubectl apply -f - of this"
                    .to_owned(),
            )
        }
    }

    fn undetected(&self, door: &ServiceDoor, refused: &[&str]) -> Finding {
        let (namespace, segment) = (&door.namespace, &door.segment);
        let reviews = refused
            .iter()
            .map(|resource| format!("review: list {resource} in the whole cluster: denied"));
        Finding {
            details: reviews.collect(),
            ..Finding::new(
                Code::CallerNotDetected,
                Severity::Advice,
                format!("user {}", self.caller.username()),
                "Headlamp's autodetection says: Error fetching prometheus Info".to_owned(),
                format!(
                    "enter {namespace}/{segment} as the address in Headlamp, or mount the preset plugin, or use the gateway; a right \
                     on all pods is too much for it"
                ),
            )
        }
    }
}

fn sees(series: &Series) -> String {
    match series {
        Series::All => "sees all series, also those of no namespace".to_owned(),
        Series::Of(names) => format!("sees the series of the namespaces {names}"),
        Series::None(_) => "sees no series".to_owned(),
        Series::Unknown(_) => "what they see could not be asked".to_owned(),
    }
}

/// What comes once a door is passed.
fn behind(series: &Series) -> String {
    match series {
        Series::All => "charts show all series".to_owned(),
        Series::Of(_) => "charts show the series of these namespaces".to_owned(),
        Series::None(_) => "charts are refused, in the words below".to_owned(),
        Series::Unknown(_) => "what charts show is not known".to_owned(),
    }
}
