//! The home of the socket beneath TLS: one that can be taken out and put back on another core.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::Peer;
use super::detached::Parked;

/// What a TLS session reads and writes.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// On its way to another core: known to no reactor. Nothing is read or written in this state, since a
    /// `Detached` has no such function.
    Parked(Parked),
    /// Closed: parking or unparking it failed.
    Closed,
}

impl Socket {
    /// Takes the socket off this core's reactor.
    pub(super) fn park(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Socket::Closed) {
            Socket::Tcp(tcp) => Socket::Parked(Parked::Tcp(tcp.into_std()?)),
            Socket::Unix(unix) => Socket::Parked(Parked::Unix(unix.into_std()?)),
            already @ (Socket::Parked(_) | Socket::Closed) => already,
        };
        Ok(())
    }

    /// Puts it on the current core's reactor.
    pub(super) fn unpark(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Socket::Closed) {
            Socket::Parked(Parked::Tcp(tcp)) => Socket::Tcp(TcpStream::from_std(tcp)?),
            Socket::Parked(Parked::Unix(unix)) => Socket::Unix(UnixStream::from_std(unix)?),
            running @ (Socket::Tcp(_) | Socket::Unix(_) | Socket::Closed) => running,
        };
        Ok(())
    }

    pub(super) fn peer(&self) -> io::Result<Peer> {
        match self {
            Socket::Tcp(tcp) => Ok(Peer::tcp(tcp.peer_addr()?)),
            Socket::Unix(unix) => Ok(Peer::unix(unix)),
            Socket::Parked(_) | Socket::Closed => Err(not_running()),
        }
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(tcp) => tcp.local_addr().ok(),
            Socket::Unix(_) | Socket::Parked(_) | Socket::Closed => None,
        }
    }

    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Socket::Unix(_) | Socket::Parked(Parked::Unix(_)))
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Socket::Tcp(tcp) => Some(tcp.as_fd()),
            Socket::Unix(unix) => Some(unix.as_fd()),
            Socket::Parked(Parked::Tcp(tcp)) => Some(tcp.as_fd()),
            Socket::Parked(Parked::Unix(unix)) => Some(unix.as_fd()),
            Socket::Closed => None,
        }
    }
}

fn not_running() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the connection is between two cores")
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Socket::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Socket::Parked(_) | Socket::Closed => Poll::Ready(Err(not_running())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Socket::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
            Socket::Parked(_) | Socket::Closed => Poll::Ready(Err(not_running())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Socket::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
            Socket::Parked(_) | Socket::Closed => Poll::Ready(Err(not_running())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Socket::Parked(_) | Socket::Closed => Poll::Ready(Ok(())),
        }
    }
}
