//! Where a server is reached.

use std::net::SocketAddr;
use std::path::PathBuf;

use localpg::Node;

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Through this socket file.
    Unix(PathBuf),
}

impl Address {
    /// A port on 127.0.0.1.
    pub fn local(port: u16) -> Address {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The Unix socket of a node.
    pub fn socket_of(node: &Node) -> Address {
        Address::Unix(node.socket_dir().join(format!(".s.PGSQL.{}", node.port())))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Tcp(address)
    }
}

impl From<&Node> for Address {
    fn from(node: &Node) -> Address {
        Address::local(node.port())
    }
}
