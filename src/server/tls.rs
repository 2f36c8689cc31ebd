//! TLS of a listener: version 1.2 and later, no early data, HTTP/2 and HTTP/1.1 by ALPN, the certificate read
//! again when its files change.

use std::path::PathBuf;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Handle;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::config::TlsFiles;
use crate::reload::{FileError, Reloaded};

/// Why a listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds something else.
    #[error("{} holds no {expected} in PEM form", .path.display())]
    Pem {
        path: PathBuf,
        expected: &'static str,
    },
    #[error("the certificate cannot be used with its key")]
    Certificate(#[source] rustls::Error),
}

/// Reads certificate and key, and watches them on `runtime`. `expires` shows until when what is used is valid, in
/// seconds since 1970.
///
/// # Errors
/// When they cannot be used now.
pub fn acceptor(
    files: &TlsFiles,
    runtime: &Handle,
    expires: Gauge,
) -> Result<Reloaded<Arc<ServerConfig>>, TlsError> {
    let paths = vec![files.cert_file.clone(), files.key_file.clone()];
    let files = files.clone();
    Reloaded::watch(paths, runtime, move |content| {
        let pem = |path: &PathBuf, expected| TlsError::Pem {
            path: path.clone(),
            expected,
        };
        let chain = CertificateDer::pem_slice_iter(&content[0]).collect::<Result<Vec<_>, _>>();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| pem(&files.cert_file, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(&content[1])
            .map_err(|_| pem(&files.key_file, "private key"))?;
        let valid_until = chain.iter().filter_map(valid_until).min();
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(TlsError::Certificate)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        expires.set(valid_until.unwrap_or_default());
        Ok(Arc::new(config))
    })
}

/// In seconds since 1970. `None` for what can be used, and is still not what RFC 5280 says.
fn valid_until(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let until = certificate.tbs_certificate().validity().not_after;
    i64::try_from(until.to_unix_duration().as_secs()).ok()
}
