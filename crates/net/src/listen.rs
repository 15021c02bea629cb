//! The home of listening sockets: binding, accepting, and going on when file descriptors run out.

mod unix;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::TcpListener;

use crate::{Peer, SocketOptions, Stream};
use unix::UnixSocket;

/// Connections that the kernel holds for us to accept, at most (it may cut that to `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// How long accepting rests when the process or the machine is out of file descriptors or memory.
const REST: Duration = Duration::from_millis(100);

/// Why an address can't be listened on.
#[derive(Debug, Error)]
pub enum BindError {
    /// A TCP address.
    #[error("can't listen on {address}: {source}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A Unix socket.
    #[error("can't listen on the Unix socket {}: {source}", path.display())]
    Unix {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Somebody answers on the Unix socket.
    #[error("another server listens on the Unix socket {}", path.display())]
    InUse {
        /// Its path.
        path: PathBuf,
    },
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// TCP; the port is the real one if 0 was asked for.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A listening socket. Dropping one of a Unix socket removes its file.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    options: SocketOptions,
    resting: bool,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp { listener: TcpListener, address: SocketAddr },
    Unix(UnixSocket),
}

impl Listener {
    /// Listens on a TCP address, inside a runtime. An IPv6 address takes IPv6 only, as with Postgres. `options` are
    /// set on each accepted connection.
    pub fn tcp(address: SocketAddr, options: SocketOptions) -> Result<Listener, BindError> {
        let bound = bind_tcp(address).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok(ListeningSocket::Tcp { listener, address })
        });
        let socket = bound.map_err(|source| BindError::Tcp { address, source })?;
        Ok(Listener { socket, options, resting: false })
    }

    /// Listens on `<folder>/.s.PGSQL.<port>`, open to every user of the machine, inside a runtime. A file that a
    /// dead server left there is replaced; it is an error if somebody answers.
    pub fn unix(folder: &Path, port: u16) -> Result<Listener, BindError> {
        let path = folder.join(format!(".s.PGSQL.{port}"));
        let socket = ListeningSocket::Unix(UnixSocket::bind(path)?);
        Ok(Listener { socket, options: SocketOptions::default(), resting: false })
    }

    /// Where it listens.
    pub fn address(&self) -> ListenAddress {
        match &self.socket {
            ListeningSocket::Tcp { address, .. } => ListenAddress::Tcp(*address),
            ListeningSocket::Unix(unix) => ListenAddress::Unix(unix.path().to_owned()),
        }
    }

    /// The next connection, registered with the current runtime. Never fails: a client that is gone before it is
    /// accepted is passed over; when file descriptors or memory run out, accepting rests and tries again. Nothing is
    /// lost if the future is dropped.
    pub async fn accept(&mut self) -> (Stream, Peer) {
        loop {
            match self.accept_once().await {
                Ok((stream, peer)) => {
                    if std::mem::take(&mut self.resting) {
                        tracing::info!(listener = %self.address(), "accepting again");
                    }
                    if let Err(error) = self.options.apply(&stream) {
                        tracing::debug!(%peer, %error, "socket options were refused");
                    }
                    return (stream, peer);
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.resting, true) {
                        tracing::error!(listener = %self.address(), %error, "can't accept; trying again");
                    }
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    async fn accept_once(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            ListeningSocket::Tcp { listener, .. } => {
                let (tcp, address) = listener.accept().await?;
                Ok((Stream::Tcp(tcp), Peer::tcp(address)))
            }
            ListeningSocket::Unix(unix) => {
                let (socket, _) = unix.listener().accept().await?;
                let peer = Peer::unix(&socket);
                Ok((Stream::Unix(socket), peer))
            }
        }
    }
}

/// Errors of the one connection that was to be accepted; each takes it off the queue, so going on can't spin.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ListenAddress, Listener, SocketOptions, is_the_clients};
    use std::fs::File;
    use std::process::Command;

    const CHILD: &str = "listen::tests::in_a_process_with_few_descriptors";

    #[test]
    fn accepting_goes_on_after_descriptors_ran_out() {
        let limited = "ulimit -n 64 && exec \"$0\" --exact --ignored \"$1\"";
        let me = std::env::current_exe().unwrap();
        let child = Command::new("sh").args(["-c", limited]).arg(me).arg(CHILD).output().unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && told.contains("1 passed"), "{told}");
    }

    #[test]
    #[ignore = "run by accepting_goes_on_after_descriptors_ran_out, under its limit"]
    fn in_a_process_with_few_descriptors() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut listener =
                Listener::tcp("127.0.0.1:0".parse().unwrap(), SocketOptions::default()).unwrap();
            let ListenAddress::Tcp(address) = listener.address() else { panic!("{}", listener.address()) };
            let client = std::net::TcpStream::connect(address).unwrap();
            let held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).take(1000).collect();
            assert!(held.len() < 64, "no limit: {}", held.len());
            let error = listener.accept_once().await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            assert!(!is_the_clients(&error));

            let release = async {
                // Accepting comes first in `join`: it has met the error and rests by now.
                drop(held);
            };
            let ((_, peer), ()) = tokio::join!(biased; listener.accept(), release);
            assert_eq!(peer.to_string(), client.local_addr().unwrap().to_string());
            assert!(!listener.resting);
        });
    }
}
