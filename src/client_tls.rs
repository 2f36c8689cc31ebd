//! TLS for HTTPS to Prometheus and to a trace collector: which authorities are trusted, and which certificate is shown.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Handle;

use crate::config::ClientTls;
use crate::reload::{FileError, Reloaded};

/// Why TLS to a server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds no certificate, or something else.
    #[error("{} holds no certificate or key in PEM form that can be used", .path.display())]
    Pem { path: PathBuf },
    /// The system has no authorities.
    #[error(
        "the system has no certificate authorities: install ca-certificates, or name a file of authorities"
    )]
    NoAuthorities(#[source] io::Error),
    /// The configured name is not a valid name.
    #[error("tls.serverName is neither a DNS name nor an IP address")]
    ServerName,
    /// Certificate and key do not belong together.
    #[error("the client certificate cannot be used with its key")]
    Certificate(#[source] rustls::Error),
}

/// Sets TLS up, again whenever one of its files changes.
///
/// # Errors
/// When a file is missing or cannot be used.
pub fn client_config(
    tls: &ClientTls,
    runtime: &Handle,
) -> Result<Reloaded<Arc<ClientConfig>>, TlsError> {
    let mut paths: Vec<PathBuf> = tls.ca_file.iter().cloned().collect();
    if let Some(client) = &tls.client {
        paths.extend([client.cert_file.clone(), client.key_file.clone()]);
    }
    let (tls, names) = (tls.clone(), paths.clone());
    Reloaded::watch(paths, runtime, move |files| {
        let mut files = names.iter().zip(files);
        let roots = match (
            &tls.ca_file,
            &tls.ca_file.as_ref().and_then(|_| files.next()),
        ) {
            (Some(_), Some((path, pem))) => authorities(path, pem)?,
            _ => system_authorities()?,
        };
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match (files.next(), files.next()) {
            (Some((cert_path, cert)), Some((key_path, key))) => {
                let chain = certificates(cert_path, cert)?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Pem {
                    path: key_path.clone(),
                })?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(TlsError::Certificate)?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    })
}

fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(path, pem)?);
    if roots.is_empty() {
        Err(TlsError::Pem {
            path: path.to_owned(),
        })
    } else {
        Ok(roots)
    }
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let none = io::Error::new(io::ErrorKind::NotFound, "no certificate was found");
        return Err(TlsError::NoAuthorities(none));
    }
    Ok(roots)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = || TlsError::Pem {
        path: path.to_owned(),
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| bad())?;
    if chain.is_empty() {
        Err(bad())
    } else {
        Ok(chain)
    }
}
