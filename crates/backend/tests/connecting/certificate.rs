//! A certificate for `localhost`, signed by itself, on disk.

use std::path::PathBuf;

use net::{ClientTls, ServerTls, Verify};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

pub(crate) struct Certificate {
    _folder: TempDir,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn for_localhost() -> Self {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
        let pair = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&pair).unwrap();
        std::fs::write(&certificate, signed.pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        Certificate { _folder: folder, certificate, key }
    }

    pub(crate) fn server(&self) -> ServerTls {
        ServerTls::load(&self.certificate, &self.key, None).unwrap()
    }

    pub(crate) fn trusted(&self, verify: Verify) -> ClientTls {
        ClientTls::new(verify, Some(&self.certificate)).unwrap()
    }
}
