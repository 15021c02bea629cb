//! The home of a connection on its way from one core to another.

use std::io;

use tokio::net::{TcpStream, UnixStream};

use super::{Stream, TlsStream};

/// A connection that no core's reactor knows: `Send`, and of no use until [`Detached::attach`]. Bytes in the kernel
/// and bytes that TLS holds, decrypted or not yet written, come along.
#[derive(Debug)]
pub struct Detached(Inner);

#[derive(Debug)]
enum Inner {
    Plain(Parked),
    Tls(Box<TlsStream>),
}

/// A socket without a reactor.
#[derive(Debug)]
pub(super) enum Parked {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    /// Takes the connection off the current core. Call it between two polls, from the core that runs it.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached(match self {
            Stream::Tcp(tcp) => Inner::Plain(Parked::Tcp(tcp.into_std()?)),
            Stream::Unix(unix) => Inner::Plain(Parked::Unix(unix.into_std()?)),
            Stream::Tls(mut tls) => {
                tls.park()?;
                Inner::Tls(tls)
            }
        }))
    }
}

impl Detached {
    /// Puts the connection on the current core; must be called inside its runtime.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self.0 {
            Inner::Plain(Parked::Tcp(tcp)) => Stream::Tcp(TcpStream::from_std(tcp)?),
            Inner::Plain(Parked::Unix(unix)) => Stream::Unix(UnixStream::from_std(unix)?),
            Inner::Tls(mut tls) => {
                tls.unpark()?;
                Stream::Tls(tls)
            }
        })
    }
}
