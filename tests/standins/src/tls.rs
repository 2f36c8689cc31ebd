//! A certificate authority for loopback servers. Keys live in memory; nothing is revoked.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A fresh certificate authority, valid for as long as rcgen's default period.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both in PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate alone, without its issuer.
    pub certificate_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: String,
}

impl CertificateAuthority {
    /// Makes an authority of that common name.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, name.to_owned());
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters
            .self_signed(&key)
            .expect("the parameters above are complete");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(parameters, key),
        }
    }

    /// The authority's own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these DNS names and IP addresses, for servers and clients alike.
    ///
    /// # Panics
    /// If a name is not one that a certificate can hold.
    pub fn issue(&self, names: &[&str]) -> Issued {
        // As far away as rcgen's own default.
        self.issue_until(names, 4096)
    }

    /// The same, which ends when that year begins.
    ///
    /// # Panics
    /// If a name is not one that a certificate can hold.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let key = KeyPair::generate().expect("ring makes P-256 keys");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names.clone()).expect("names are ASCII");
        if let Some(first) = names.first() {
            parameters
                .distinguished_name
                .push(DnType::CommonName, first.clone());
        }
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = parameters
            .signed_by(&key, &self.issuer)
            .expect("the issuer's key signs");
        Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

impl Issued {
    /// What a server that offers HTTP/2 and HTTP/1.1 needs.
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        let certificates = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .expect("rcgen writes PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("rcgen writes PEM");
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .expect("ring has TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .expect("the key fits its certificate");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}
