//! A connection as bytes: TCP, Unix or TLS.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::Certificates;
use crate::{Address, Error, Result};

/// SSLRequest: a startup packet with this code in place of a version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Whether and how a client uses TLS.
#[derive(Debug, Clone, Default)]
pub enum Tls {
    /// Not at all.
    #[default]
    Disable,
    /// With any certificate of the server.
    AcceptAny,
    /// With rustls' own configuration; the name asked for is `localhost`.
    With(Arc<ClientConfig>),
    /// As the former, without SSLRequest: the handshake comes first, with ALPN `postgresql` (Postgres 17).
    Direct(Arc<ClientConfig>),
}

impl Tls {
    /// Checks the server by the authority of these certificates.
    pub fn verify(certificates: &Certificates) -> Tls {
        Tls::With(certificates.client_config(false))
    }

    /// The same, and shows the client's certificate.
    pub fn with_client_certificate(certificates: &Certificates) -> Tls {
        Tls::With(certificates.client_config(true))
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) async fn connect(address: &Address, tls: &Tls) -> Result<Stream> {
        let what = || format!("connect to {address:?}");
        let stream = match address {
            Address::Unix(path) => {
                return Ok(Stream::Unix(UnixStream::connect(path).await.map_err(Error::io(what()))?));
            }
            Address::Tcp(address) => TcpStream::connect(address).await.map_err(Error::io(what()))?,
        };
        stream.set_nodelay(true).map_err(Error::io(what()))?;
        match tls {
            Tls::Disable => Ok(Stream::Tcp(stream)),
            Tls::AcceptAny => handshake(ask_for_tls(stream).await?, accept_any()).await,
            Tls::With(config) => handshake(ask_for_tls(stream).await?, config.clone()).await,
            Tls::Direct(config) => {
                let mut config = ClientConfig::clone(config);
                config.alpn_protocols = vec![b"postgresql".to_vec()];
                handshake(stream, Arc::new(config)).await
            }
        }
    }

    /// Closes with RST instead of FIN, where there is TCP.
    pub(crate) fn reset(self) {
        let Some(tcp) = self.tcp() else { return };
        // It can't fail on a socket that is open.
        let _ = socket2::SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO));
    }

    /// The kernel drops what comes, before TCP sees it.
    pub(crate) fn drop_all_packets(&self) -> io::Result<()> {
        let Some(tcp) = self.tcp() else { return Err(io::ErrorKind::Unsupported.into()) };
        // BPF: return 0 bytes of it.
        let nothing = socket2::SockFilter::new(0x06, 0, 0, 0);
        socket2::SockRef::from(tcp).attach_filter(&[nothing])
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(tcp) => Some(tcp),
            Stream::Tls(tls) => Some(tls.get_ref().0),
            Stream::Unix(_) => None,
        }
    }
}

async fn ask_for_tls(mut stream: TcpStream) -> Result<TcpStream> {
    let what = || "ask for TLS";
    stream.write_all(&SSL_REQUEST).await.map_err(Error::io(what()))?;
    match stream.read_u8().await.map_err(Error::io(what()))? {
        b'S' => Ok(stream),
        other => Err(Error::Protocol(format!("SSLRequest was answered with {:?}", char::from(other)))),
    }
}

async fn handshake(stream: TcpStream, config: Arc<ClientConfig>) -> Result<Stream> {
    let name = ServerName::try_from("localhost").map_err(|error| Error::Protocol(error.to_string()))?;
    let stream =
        TlsConnector::from(config).connect(name, stream).await.map_err(Error::io("TLS handshake"))?;
    Ok(Stream::Tls(Box::new(stream)))
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn accept_any() -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has the suites of TLS 1.2 and 1.3");
    let verifier = Arc::new(AcceptAny(provider()));
    Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes any certificate, but checks that the server has its key.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
