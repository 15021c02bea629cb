//! The home of TLS settings: certificates and keys from PEM files to what a handshake needs, on both sides.

mod end_point;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

pub(crate) use end_point::end_point_hash;
use verify::Verifier;

/// The protocol's name in ALPN.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// What is wrong with TLS settings; each names the file.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file can't be read, or isn't PEM.
    #[error("can't read the {what} in {}: {source}", path.display())]
    Unreadable {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// The file has no certificate in it.
    #[error("{} has no certificate in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file's content can't be used: a key that isn't the certificate's, a broken certificate.
    #[error("can't use {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// verify-ca and verify-full need to know the authorities.
    #[error("a server's certificate can't be verified without a file of authorities (ca)")]
    NoAuthorities,
    /// The TLS library refuses its own settings.
    #[error("TLS can't be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Verified if shown.
    Optional,
    /// Every client must show one.
    Required,
}

/// What is verified of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Nothing (libpq's `require`).
    Nothing,
    /// That a known authority signed it (`verify-ca`).
    Authority,
    /// That, and that it is for the host's name (`verify-full`).
    Full,
}

/// TLS towards clients. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
}

/// TLS towards servers. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    verify: Verify,
}

impl ServerTls {
    /// Reads the PEM chain `certificate` (leaf first), its `key`, and with `client_ca` the authorities whose client
    /// certificates are accepted. TLS 1.2 and 1.3.
    pub fn load(
        certificate: &Path,
        key: &Path,
        client_ca: Option<(&Path, ClientCertificate)>,
    ) -> Result<ServerTls, TlsError> {
        let chain = certificates(certificate)?;
        let end_point = chain.first().and_then(|leaf| end_point_hash(leaf)).map(Arc::from);
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Unreadable {
            what: "private key",
            path: key.to_owned(),
            source,
        })?;
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some((path, need)) => builder.with_client_cert_verifier(client_verifier(path, need)?),
        };
        let mut config = builder.with_single_cert(chain, secret).map_err(|error| TlsError::Unusable {
            path: key.to_owned(),
            reason: format!("with the certificate {}: {error}", certificate.display()),
        })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // No resumption, as with Postgres: its clients don't use it, and tickets would cost each login a write.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(ServerTls { config: Arc::new(config), end_point })
    }

    pub(crate) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    pub(crate) fn end_point(&self) -> Option<&Arc<[u8]>> {
        self.end_point.as_ref()
    }
}

impl ClientTls {
    /// Settings that verify as said; `ca` is a PEM file of authorities, needed unless nothing is verified. A server's
    /// own certificate in it is trusted as such, as OpenSSL does.
    pub fn new(verify: Verify, ca: Option<&Path>) -> Result<ClientTls, TlsError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous();
        let builder = match (verify, ca) {
            (Verify::Nothing, _) => {
                builder.with_custom_certificate_verifier(Arc::new(Verifier::of_any(provider)))
            }
            (Verify::Authority | Verify::Full, None) => return Err(TlsError::NoAuthorities),
            (Verify::Authority | Verify::Full, Some(path)) => {
                let known = certificates(path)?;
                let verifier = Verifier::of_known(known, verify == Verify::Full, provider)
                    .map_err(|reason| TlsError::Unusable { path: path.to_owned(), reason })?;
                builder.with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(ClientTls { config: Arc::new(config), verify })
    }

    /// What it verifies.
    pub fn verify(&self) -> Verify {
        self.verify
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    pub(crate) fn verifies_name(&self) -> bool {
        self.verify == Verify::Full
    }
}

/// The provider, by name: no process-wide default that another library could change.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn client_verifier(path: &Path, need: ClientCertificate) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let unusable = |reason| TlsError::Unusable { path: path.to_owned(), reason };
    let roots = roots(certificates(path)?).map_err(unusable)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let builder = match need {
        ClientCertificate::Optional => builder.allow_unauthenticated(),
        ClientCertificate::Required => builder,
    };
    builder.build().map_err(|error| unusable(error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { what: "certificates", path: path.to_owned(), source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect();
    let found = found.map_err(unreadable)?;
    if found.is_empty() { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

fn roots(known: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in known {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}
