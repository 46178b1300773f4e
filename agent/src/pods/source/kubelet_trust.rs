//! Whom to take for the kubelet: how its serving certificate is checked.
//!
//! Knows nothing of requests. By default a kubelet signs its own certificate, so that a CA is often of no use: then its very
//! certificate is pinned, or nothing is checked at all, which is allowed to this node's own addresses only.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, ServerName, UnixTime,
        pem::{self, PemObject as _},
    },
};

/// How the kubelet's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Against the CA certificates (PEM) in this file, for the URL's host.
    Ca(PathBuf),
    /// It must be the first certificate (PEM) in this file, whatever it says; such as /var/lib/kubelet/pki/kubelet.crt.
    Pinned(PathBuf),
    /// Not at all; for loopback and this node's own addresses.
    Unverified,
}

/// Why there is no way to check a certificate.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file is not there, or holds no certificate.
    #[error("{} holds no certificate (PEM)", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Certificates that no chain can end with.
    #[error("{} holds no usable CA certificate", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// What the file of certificates holds now: a kubelet that rotates its own needs no restart of ours.
    pub(super) fn certificates(&self) -> Result<Vec<u8>, TrustError> {
        match self {
            Self::Ca(path) | Self::Pinned(path) => fs::read(path)
                .map_err(|error| TrustError::Certificates { path: path.clone(), source: pem::Error::Io(error) }),
            Self::Unverified => Ok(Vec::new()),
        }
    }

    /// A TLS configuration that trusts these [`Trust::certificates`].
    pub(super) fn tls(&self, text: &[u8]) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self {
            Self::Ca(path) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(path, text)?);
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                    .build()
                    .map_err(|source| TrustError::Ca { path: path.clone(), source: source.into() })?
            }
            Self::Pinned(path) => Arc::new(OneOf {
                certificate: certificates(path, text)?.into_iter().next(),
                provider: Arc::clone(&provider),
            }),
            Self::Unverified => Arc::new(OneOf { certificate: None, provider: Arc::clone(&provider) }),
        };
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    /// Whether it may be used for a kubelet at `host`, on a node with these addresses.
    pub(super) fn suits(&self, host: &str, node: &[IpAddr]) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match self {
            Self::Ca(_) | Self::Pinned(_) => true,
            Self::Unverified => address.is_ok_and(|address| address.is_loopback() || node.contains(&address)),
        }
    }
}

/// The certificates in a file's text, at least one.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let fault = |source| TrustError::Certificates { path: path.to_owned(), source };
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(fault)?;
    if found.is_empty() { Err(fault(pem::Error::NoItemsFound)) } else { Ok(found) }
}

/// Accepts one certificate, or (`None`) any; either way the server must prove that it has the key.
#[derive(Debug)]
struct OneOf {
    certificate: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OneOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.certificate.as_ref().is_none_or(|pinned| pinned == end_entity) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("it does not present the pinned certificate".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
