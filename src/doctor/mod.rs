//! `doctor`: what is wrong around the proxy, and which rights can be taken away. It only reads.
//!
//! A file for each section. What they find is a [`Report`]; how that looks is `render`'s.

mod finding;
mod install;
mod lists;
mod own_service;
mod render;
mod rights;
mod rule;
mod snapshot;

pub use self::finding::{Code, Finding, Report, Section, Severity};
pub use self::render::{json, text};

use std::path::Path;

use crate::cluster::goaway::again_if_unprocessed;
use crate::cluster::{self, ConfigError};
use crate::config::Config;

use self::lists::Lists;
use self::snapshot::Snapshot;

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// No way to Kubernetes.
    #[error(transparent)]
    Kubernetes(#[from] ConfigError),
    /// The API server does not answer, or does not know us.
    #[error(
        "doctor cannot ask the Kubernetes API server; check the kubeconfig and its credentials"
    )]
    Unreachable(#[source] kube::Error),
    /// Every list was refused or failed.
    #[error("doctor could read nothing of what it looks at: {0}")]
    NothingRead(String),
}

/// Looks at the cluster with the rights of the kubeconfig; without one, as the configuration says. `progress` is told
/// what is being done.
///
/// # Errors
/// When it could not look at all. What it may not read beside other things is named in the report.
pub async fn examine(
    config: &Config,
    kubeconfig: Option<&Path>,
    progress: &dyn Fn(&str),
) -> Result<Report, DoctorError> {
    let kubeconfig = kubeconfig.or(config.kubernetes.kubeconfig.as_deref());
    let client = cluster::client_config(kubeconfig).await?;
    let client = cluster::watch_client(&client)?;
    let version = again_if_unprocessed(|| client.apiserver_version());
    version.await.map_err(DoctorError::Unreachable)?;
    let lists = Lists::new(client, progress);
    let snapshot = Snapshot::read(&lists).await;
    let install = install::examine(&snapshot, config);
    let report = Report {
        sections: vec![install, rights::examine(snapshot, config)],
    };
    if lists.has_read_nothing() {
        let unread = report.sections.iter().flat_map(|section| &section.unread);
        let unread: Vec<_> = unread.map(String::as_str).collect();
        return Err(DoctorError::NothingRead(unread.join("; ")));
    }
    Ok(report)
}
