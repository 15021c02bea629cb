//! The home of a connection's byte stream: TCP or Unix, plain or under TLS, movable from core to core.

mod detached;
mod socket;
mod tls;

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

pub use detached::Detached;
pub use tls::{TlsInfo, TlsStream};

/// A connection to a client or to a server. The poll functions are inherent, so that the relay calls them without
/// dynamic dispatch; `AsyncRead` and `AsyncWrite` are there for the cold path.
///
/// Bytes given to `poll_write` of a TLS stream may wait in it until `poll_flush`: flush after writing, always. On a
/// plain stream that costs nothing.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A plain Unix socket.
    Unix(UnixStream),
    /// TLS over either, as server or as client. Boxed: an idle plain connection must stay small.
    Tls(Box<TlsStream>),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Address and port; an IPv4 address mapped into IPv6 is given as IPv4.
    Tcp(SocketAddr),
    /// The Unix socket, with what the kernel says of the process.
    Unix {
        /// Its effective user id when it connected.
        uid: Option<u32>,
        /// Its process id.
        pid: Option<i32>,
    },
}

impl Stream {
    /// Reads what is there, up to what `buf` holds. Ready with nothing filled: the other side has closed. Under TLS a
    /// close without `close_notify` counts as one too: Postgres' messages carry their own lengths, so a cut is seen.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Stream::Tls(tls) => tls.poll_read(cx, buf),
        }
    }

    /// Writes some of `bytes`; flush afterwards (see [`Stream`]).
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Stream::Tls(tls) => tls.poll_write(cx, bytes),
        }
    }

    /// Writes some of `slices`, in order; flush afterwards (see [`Stream`]).
    #[inline]
    pub fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Stream::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
            Stream::Tls(tls) => tls.poll_write_vectored(cx, slices),
        }
    }

    /// Hands what TLS still holds to the kernel; ready at once on a plain stream.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => tls.poll_flush(cx),
        }
    }

    /// Closes the writing direction (after TLS' `close_notify`).
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Stream::Tls(tls) => tls.poll_shutdown(cx),
        }
    }

    /// Ready when a read would give something: bytes, the end, or an error. Takes no bytes and holds no buffer, so it
    /// is what an idle connection waits in. A plain stream may say so once without reason: a read that finds nothing
    /// puts it right. TLS says so when decrypted bytes are there, not for half a record.
    #[inline]
    pub fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(tcp) => tcp.poll_read_ready(cx),
            Stream::Unix(unix) => unix.poll_read_ready(cx),
            Stream::Tls(tls) => tls.poll_read_ready(cx),
        }
    }

    /// Waits for the first byte without taking it; true if it opens a TLS handshake (direct TLS, 0x16). False at the
    /// end of the stream, and on a Unix socket, where Postgres has no direct TLS.
    pub async fn opens_with_tls(&self) -> io::Result<bool> {
        const HANDSHAKE_RECORD: u8 = 0x16;
        let Stream::Tcp(tcp) = self else { return Ok(false) };
        let mut first = [0];
        Ok(tcp.peek(&mut first).await? == 1 && first[0] == HANDSHAKE_RECORD)
    }

    /// Whether the bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// The TLS behind it, if there is any: version, cipher, channel binding.
    pub fn tls(&self) -> Option<&TlsStream> {
        match self {
            Stream::Tls(tls) => Some(tls),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    /// The data of the channel binding `tls-server-end-point` (RFC 5929): the hash of the server's certificate, the
    /// same on both sides. `None` without TLS, or if the certificate's signature names no hash (Ed25519).
    pub fn end_point_binding(&self) -> Option<&[u8]> {
        self.tls()?.end_point_binding()
    }

    /// Who is at the other end; an error if the connection is gone already.
    pub fn peer(&self) -> io::Result<Peer> {
        match self {
            Stream::Tcp(tcp) => Ok(Peer::tcp(tcp.peer_addr()?)),
            Stream::Unix(unix) => Ok(Peer::unix(unix)),
            Stream::Tls(tls) => tls.peer(),
        }
    }

    /// This end's address; `None` on a Unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(tcp) => tcp.local_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(tls) => tls.local(),
        }
    }

    /// Whether it runs over a Unix socket.
    pub fn is_unix(&self) -> bool {
        match self {
            Stream::Tcp(_) => false,
            Stream::Unix(_) => true,
            Stream::Tls(tls) => tls.is_unix(),
        }
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Stream::Tcp(tcp) => Some(tcp.as_fd()),
            Stream::Unix(unix) => Some(unix.as_fd()),
            Stream::Tls(tls) => tls.fd(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Self {
        Stream::Tcp(tcp)
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Self {
        Stream::Unix(unix)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_shutdown(cx)
    }
}

impl Peer {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Peer::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    pub(crate) fn unix(socket: &UnixStream) -> Self {
        let process = socket.peer_cred().ok();
        Peer::Unix { uid: process.map(|p| p.uid()), pid: process.and_then(|p| p.pid()) }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix { pid: Some(pid), .. } => write!(f, "unix({pid})"),
            Peer::Unix { pid: None, .. } => f.write_str("unix"),
        }
    }
}
