//! `doctor`: what is wrong around the proxy, what a caller gets from it, and which rights can be taken away. It changes
//! nothing.
//!
//! There is a file or folder for each section. What they find is a [`Report`], which `render` writes.

mod binding;
mod caller;
mod data;
mod finding;
mod install;
mod lists;
mod own_service;
mod render;
mod rights;
mod rule;
mod selector;
mod snapshot;

pub use self::finding::{Code, Finding, Report, Section, Severity};
pub use self::render::{json, text};

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::app::{Authorization, StartError};
use crate::authn::Caller;
use crate::cluster::goaway::again_if_unprocessed;
use crate::cluster::metrics::ReviewsMetrics;
use crate::cluster::{self, ConfigError};
use crate::config::{Config, RightsChanges};
use crate::rbac::metrics::RbacMetrics;

use self::caller::Examination;
use self::data::Data;
use self::install::Surroundings;
use self::lists::Lists;
use self::snapshot::Snapshot;

/// Between one look at the install and the next.
const PAUSE: Duration = Duration::from_secs(5);

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// No way to Kubernetes.
    #[error(transparent)]
    Kubernetes(#[from] ConfigError),
    /// What asks reviews cannot be made.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The API server does not answer, or does not know us.
    #[error(
        "doctor cannot ask the Kubernetes API server; check the kubeconfig and its credentials"
    )]
    Unreachable(#[source] kube::Error),
    /// Every list was refused or failed.
    #[error("doctor could read nothing of what it looks at: {0}")]
    NothingRead(String),
}

/// Examines the cluster with the rights of the kubeconfig; without one, as the configuration says. With a `caller`,
/// reports what that caller gets. While something is wrong with the install, it looks again, for as long as `wait`.
/// `progress` is told what is being done.
///
/// # Errors
/// When it could not look at all. What else it may not read is named in the report.
pub async fn examine(
    config: &Config,
    kubeconfig: Option<&Path>,
    caller: Option<&Caller>,
    wait: Duration,
    progress: &dyn Fn(&str),
) -> Result<Report, DoctorError> {
    let config = &as_asked(config, kubeconfig);
    let client = cluster::client_config(config.kubernetes.kubeconfig.as_deref()).await?;
    let client = cluster::watch_client(&client)?;
    let version = again_if_unprocessed(|| client.apiserver_version());
    version.await.map_err(DoctorError::Unreachable)?;
    let lists = Lists::new(client, progress);
    // What it watches is listed while the lists are read.
    let authorization = match caller {
        Some(_) => Some(authorization(config).await?),
        None => None,
    };
    let caller = caller.zip(authorization.as_ref());
    let caller = caller.map(|(caller, authorization)| Examination {
        config,
        authorization,
        caller,
    });
    let until = Instant::now() + wait;
    let (data, snapshot, install) = loop {
        let data = Data::ask(config, lists.client(), progress);
        let (data, snapshot) = tokio::join!(data, Snapshot::read(&lists));
        let surroundings = Surroundings::read(&lists, &snapshot, config).await;
        let install = install::examine(&snapshot, &surroundings, config);
        if !install.has_findings(Severity::Warning) || Instant::now() + PAUSE > until {
            break (data, snapshot, install);
        }
        progress("waiting for the install");
        tokio::time::sleep(PAUSE).await;
    };
    let mut looked = !snapshot.is_blank() || data.is_known();
    let mut sections = vec![install, data::examine(data, &snapshot, config)];
    if let Some(caller) = caller {
        progress("reviews of the caller");
        let (section, known) = caller.examine(&snapshot).await;
        looked |= known;
        sections.push(section);
    }
    sections.push(rights::examine(snapshot, config));
    let report = Report { sections };
    if !looked {
        let unread = report.sections.iter().flat_map(|section| &section.unread);
        let unread: Vec<_> = unread.map(String::as_str).collect();
        return Err(DoctorError::NothingRead(unread.join("; ")));
    }
    Ok(report)
}

/// The configuration with the credentials that were asked for.
fn as_asked(config: &Config, kubeconfig: Option<&Path>) -> Config {
    let mut config = config.clone();
    if let Some(kubeconfig) = kubeconfig {
        config.kubernetes.kubeconfig = Some(kubeconfig.to_owned());
    }
    config
}

async fn authorization(config: &Config) -> Result<Authorization, StartError> {
    let mut config = config.clone();
    // Rights change too seldom to be watched for some seconds.
    config.authorization.changes = RightsChanges::Ttl;
    Authorization::new(&config, &ReviewsMetrics::default(), &RbacMetrics::default()).await
}
