//! The home of what libpq's modes verify of a server's certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::roots;

/// What is asked of a server's certificate. That the server has its key is always checked.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    /// `None`: any certificate will do (`require`).
    authority: Option<Authority>,
}

/// Who must have signed it: `verify-ca` and `verify-full`.
#[derive(Debug)]
struct Authority {
    chain: Arc<WebPkiServerVerifier>,
    /// The file's certificates: one that is the server's own is trusted though it signed nothing.
    known: Vec<CertificateDer<'static>>,
    check_name: bool,
}

impl Verifier {
    /// Takes any certificate.
    pub(super) fn of_any(provider: Arc<CryptoProvider>) -> Self {
        Verifier { provider, authority: None }
    }

    /// Takes a certificate that one of these authorities has signed.
    pub(super) fn of_known(
        known: Vec<CertificateDer<'static>>,
        check_name: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let roots = Arc::new(roots(known.clone())?);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Verifier { provider, authority: Some(Authority { chain, known, check_name }) })
    }
}

impl Authority {
    /// The library verifies the chain first and the name last, so a wrong name means a good chain.
    fn judge(&self, verdict: Error, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
        match &verdict {
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) if !self.check_name => Ok(()),
            Error::InvalidCertificate(CertificateError::Other(other))
                if is_authority_itself(&other.to_string()) && self.known.contains(leaf) =>
            {
                if self.check_name {
                    verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
                }
                Ok(())
            }
            _ => Err(verdict),
        }
    }
}

/// A self-signed certificate as `openssl req -x509` makes it says that it is an authority; the library refuses such a
/// one as a server's (its validity has been checked by then). Known by its text, for the library keeps the type to
/// itself; if that changed, such certificates would be refused, and a test would say so.
fn is_authority_itself(error: &str) -> bool {
    error == "CaUsedAsEndEntity"
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = &self.authority else { return Ok(ServerCertVerified::assertion()) };
        match authority.chain.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Ok(verified) => Ok(verified),
            Err(verdict) => authority.judge(verdict, leaf, name).map(|()| ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
