//! The home of a stream under TLS: handshakes of both sides, and what is known of the session.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::socket::Socket;
use super::{Peer, Stream};
use crate::tls::{ALPN, ClientTls, ServerTls, end_point_hash};

/// A TLS session over TCP or a Unix socket, as server or as client.
#[derive(Debug)]
pub struct TlsStream {
    session: tokio_rustls::TlsStream<Socket>,
    end_point: Option<Arc<[u8]>>,
}

/// What the console shows of a TLS session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's IANA name, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
}

impl Stream {
    /// Shakes hands as the server, after `S` was answered to an SSLRequest. Not bounded in time: the caller's login
    /// timeout does that. What the client sent in plain behind its SSLRequest makes it fail.
    pub async fn accept_tls(self, tls: &ServerTls) -> io::Result<Stream> {
        let session = TlsAcceptor::from(Arc::clone(tls.config())).accept(self.into_socket()?).await?;
        Ok(Stream::Tls(Box::new(TlsStream {
            session: tokio_rustls::TlsStream::Server(session),
            end_point: tls.end_point().cloned(),
        })))
    }

    /// Shakes hands as the server with a client that began with TLS at once; it must have agreed on the protocol
    /// `postgresql` by ALPN, so that no other protocol's client can be led here.
    pub async fn accept_direct_tls(self, tls: &ServerTls) -> io::Result<Stream> {
        let stream = self.accept_tls(tls).await?;
        if stream.tls().and_then(TlsStream::alpn) == Some(ALPN) {
            return Ok(stream);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "direct TLS without the ALPN protocol \"postgresql\""))
    }

    /// Shakes hands as the client. `host` is the server's name or address: sent as SNI if it is a name, and compared
    /// with the certificate under [`crate::Verify::Full`].
    pub async fn connect_tls(self, tls: &ClientTls, host: &str) -> io::Result<Stream> {
        let name = server_name(tls, host)?;
        let session = TlsConnector::from(Arc::clone(tls.config())).connect(name, self.into_socket()?).await?;
        let certificate = session.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let end_point = certificate.and_then(|leaf| end_point_hash(leaf)).map(Arc::from);
        Ok(Stream::Tls(Box::new(TlsStream { session: tokio_rustls::TlsStream::Client(session), end_point })))
    }

    fn into_socket(self) -> io::Result<Socket> {
        match self {
            Stream::Tcp(tcp) => Ok(Socket::Tcp(tcp)),
            Stream::Unix(unix) => Ok(Socket::Unix(unix)),
            Stream::Tls(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS inside TLS")),
        }
    }
}

/// A name that is no valid DNS name (underscores apart) can be verified by nobody; where nothing is verified it must
/// not keep a connection from being made.
fn server_name(tls: &ClientTls, host: &str) -> io::Result<ServerName<'static>> {
    match ServerName::try_from(host.to_owned()) {
        Ok(name) => Ok(name),
        Err(_) if !tls.verifies_name() => {
            Ok(ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into()))
        }
        Err(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("\"{host}\" is not a host name that a certificate can be for"),
        )),
    }
}

impl TlsStream {
    /// Version and cipher.
    pub fn info(&self) -> TlsInfo {
        let session = self.session.get_ref().1;
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let cipher = session
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .map_or_else(String::new, |name| name.replace("TLS13_", "TLS_"));
        TlsInfo { version, cipher }
    }

    /// The protocol agreed on by ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.session.get_ref().1.alpn_protocol()
    }

    /// The other side's certificate in DER; `None` if it sent none.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let leaf = self.session.get_ref().1.peer_certificates()?.first()?;
        Some(leaf)
    }

    /// See [`Stream::end_point_binding`].
    pub fn end_point_binding(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.session).poll_read(cx, buf)) {
            Err(cut) if cut.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.session).poll_write(cx, bytes)
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.session).poll_write_vectored(cx, slices)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.session).poll_shutdown(cx)
    }

    /// Decrypts up to the first byte and leaves it there: a record may be no data at all (a key update, an alert), so
    /// readiness of the socket would say too much, and of a session with bytes in hand too little.
    pub(super) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.session).poll_fill_buf(cx)) {
            Err(cut) if cut.kind() != io::ErrorKind::UnexpectedEof => Poll::Ready(Err(cut)),
            Ok(_) | Err(_) => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn park(&mut self) -> io::Result<()> {
        self.session.get_mut().0.park()
    }

    pub(super) fn unpark(&mut self) -> io::Result<()> {
        self.session.get_mut().0.unpark()
    }

    pub(super) fn peer(&self) -> io::Result<Peer> {
        self.session.get_ref().0.peer()
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.session.get_ref().0.local()
    }

    pub(super) fn is_unix(&self) -> bool {
        self.session.get_ref().0.is_unix()
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.session.get_ref().0.fd()
    }
}
