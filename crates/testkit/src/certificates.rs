//! An authority of our own, and what it certifies.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::stream::provider;
use crate::{Error, Result};

/// An authority, a server's certificate for localhost, 127.0.0.1 and ::1, and a client's, as PEM files in a
/// folder that goes when this does.
///
/// Keys are ours alone (mode 0600). `Builder::tls` copies them for Postgres, which runs under another account.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
    authority: CertificateDer<'static>,
    client: CertificateDer<'static>,
    client_key: PrivateKeyDer<'static>,
}

impl Certificates {
    /// Makes them, the client's for the common name `app`.
    ///
    /// # Errors
    /// [`Error::Certificate`], [`Error::Io`].
    pub fn generate() -> Result<Certificates> {
        Certificates::for_client("app")
    }

    /// Makes them, the client's for that common name.
    ///
    /// # Errors
    /// [`Error::Certificate`], [`Error::Io`].
    pub fn for_client(name: &str) -> Result<Certificates> {
        let folder =
            tempfile::Builder::new().prefix("pgweir-tls-").tempdir().map_err(Error::io("make a folder"))?;
        let authority_key = KeyPair::generate()?;
        let mut authority = named("pgweir test authority", Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let (server_key, client_key) = (KeyPair::generate()?, KeyPair::generate()?);
        let server = named("localhost", names)?.signed_by(&server_key, &issuer)?;
        let client = named(name, Vec::new())?.signed_by(&client_key, &issuer)?;
        for (file, text) in [
            ("ca.crt", authority_certificate.pem()),
            ("server.crt", server.pem()),
            ("server.key", server_key.serialize_pem()),
            ("client.crt", client.pem()),
            ("client.key", client_key.serialize_pem()),
        ] {
            let path = folder.path().join(file);
            fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&path, mode).map_err(Error::io(format!("close {}", path.display())))?;
        }
        let client_key = PrivateKeyDer::from_pem_slice(client_key.serialize_pem().as_bytes());
        Ok(Certificates {
            folder,
            authority: authority_certificate.der().clone(),
            client: client.der().clone(),
            client_key: client_key.map_err(|error| Error::Protocol(error.to_string()))?,
        })
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> PathBuf {
        self.folder.path().join("server.crt")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    /// The client's certificate.
    pub fn client_certificate(&self) -> PathBuf {
        self.folder.path().join("client.crt")
    }

    /// The client's key.
    pub fn client_key(&self) -> PathBuf {
        self.folder.path().join("client.key")
    }

    /// A client's configuration that trusts the authority, with the client's certificate if asked.
    ///
    /// # Panics
    /// If rustls doesn't take what rcgen made.
    pub fn client_config(&self, with_certificate: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).expect("rcgen's authority is valid");
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder =
            builder.expect("the provider has the suites of TLS 1.2 and 1.3").with_root_certificates(roots);
        Arc::new(if with_certificate {
            let chain = vec![self.client.clone()];
            builder.with_client_auth_cert(chain, self.client_key.clone_key()).expect("the key fits")
        } else {
            builder.with_no_client_auth()
        })
    }
}

fn named(common_name: &str, subject_names: Vec<String>) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(subject_names)?;
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    Ok(parameters)
}
