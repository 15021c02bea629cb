//! Certificates and connected pairs for the tests.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::PathBuf;

use pgweir_net::{ClientTls, ServerTls, Stream, Verify};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// An authority, and a folder for what it signs.
pub(crate) struct Authority {
    pub(crate) folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate on disk, with its DER.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each of its own name, so that the wrong one is not tried at all.
        let folder = TempDir::new().unwrap();
        params.distinguished_name.push(DnType::CommonName, folder.path().to_string_lossy().as_ref());
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.crt"), issuer.pem()).unwrap();
        Authority { folder, issuer }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    pub(crate) fn issue(&self, name: &str) -> Files {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.write(name, &certificate, &key)
    }

    /// A certificate signed by itself, from any parameters.
    pub(crate) fn self_signed(&self, name: &str, params: CertificateParams, key: &KeyPair) -> Files {
        self.write(name, &params.self_signed(key).unwrap(), key)
    }

    fn write(&self, name: &str, certificate: &rcgen::Certificate, key: &KeyPair) -> Files {
        let path = |ending| self.folder.path().join(format!("{name}.{ending}"));
        let files = Files { certificate: path("crt"), key: path("key"), der: certificate.der().to_vec() };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

impl Files {
    pub(crate) fn server(&self) -> ServerTls {
        ServerTls::load(&self.certificate, &self.key, None).unwrap()
    }
}

pub(crate) fn unverified() -> ClientTls {
    ClientTls::new(Verify::Nothing, None).unwrap()
}

pub(crate) async fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap().into(), server.unwrap().0.into())
}

pub(crate) fn unix_pair() -> (Stream, Stream) {
    let (client, server) = UnixStream::pair().unwrap();
    (client.into(), server.into())
}

/// Both ends of a TLS connection over `pair`, or the first error of either side.
pub(crate) async fn handshake(
    pair: (Stream, Stream),
    client: &ClientTls,
    host: &str,
    server: &ServerTls,
) -> (std::io::Result<Stream>, std::io::Result<Stream>) {
    let (client_end, server_end) = pair;
    tokio::join!(client_end.connect_tls(client, host), server_end.accept_tls(server))
}

pub(crate) async fn tls_pair(pair: (Stream, Stream)) -> (Stream, Stream) {
    let server = Authority::new().issue("localhost").server();
    let (client, server) = handshake(pair, &unverified(), "localhost", &server).await;
    (client.unwrap(), server.unwrap())
}

pub(crate) async fn send(stream: &mut Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}

pub(crate) async fn receive(stream: &mut Stream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}
