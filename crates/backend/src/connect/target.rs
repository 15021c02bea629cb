//! The home of what pgweir knows of a server before it connects: where it is, and how it is to be spoken to.

use std::fmt;
use std::path::PathBuf;

use config::TlsMode;
use net::{ClientTls, Keepalive, SocketOptions, TlsError, Verify};
use thiserror::Error;

use super::open::Transport;

/// A server to connect to. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ServerTarget {
    /// Host name, address, or an absolute path: the folder of a Unix socket.
    pub host: String,
    /// Port, also of a Unix socket.
    pub port: u16,
    /// Whether TLS is spoken; nothing on a Unix socket.
    pub mode: TlsMode,
    /// How, unless the mode is `disable`.
    pub tls: Option<ClientTls>,
    /// Of its TCP connections.
    pub options: SocketOptions,
    /// Log in by SCRAM or not at all: a server that asks for a password in clear or MD5, or for nothing, is refused.
    pub require_scram: bool,
}

/// Why a target can't be made of the configuration.
#[derive(Debug, Error)]
#[error("cluster {cluster}: {source}")]
pub struct TargetError {
    /// The cluster.
    pub cluster: String,
    /// What is wrong with its authorities' file.
    pub source: TlsError,
}

impl ServerTarget {
    /// From the checked configuration. Reads the file of authorities.
    ///
    /// # Errors
    /// If that can't be used.
    pub fn from_config(cluster: &config::Cluster, node: &config::Node) -> Result<ServerTarget, TargetError> {
        let fail = |source| TargetError { cluster: cluster.name.clone(), source };
        let tls = client_tls(&cluster.tls).map_err(fail)?;
        let config::Keepalive { idle, interval, count, user_timeout } = cluster.keepalive;
        let options = SocketOptions {
            keepalive: Some(Keepalive { idle, interval, count }),
            user_timeout: Some(user_timeout),
        };
        let mode = cluster.tls.mode;
        Ok(ServerTarget {
            host: node.host.clone(),
            port: node.port,
            mode,
            tls,
            options,
            require_scram: false,
        })
    }

    /// The path of the Unix socket, if the host is its folder.
    pub(super) fn unix_path(&self) -> Option<PathBuf> {
        let folder = self.host.strip_prefix('/')?;
        Some(PathBuf::from(format!("/{folder}/.s.PGSQL.{}", self.port)))
    }

    /// What to try first, and what then if that depends on TLS.
    pub(crate) fn transports(&self) -> (Transport, Option<Transport>) {
        if self.host.starts_with('/') || self.tls.is_none() {
            return (Transport::Plain, None);
        }
        match self.mode {
            TlsMode::Disable => (Transport::Plain, None),
            TlsMode::Allow => (Transport::Plain, Some(Transport::Tls)),
            TlsMode::Prefer => (Transport::TlsIfOffered, Some(Transport::Plain)),
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => (Transport::Tls, None),
        }
    }
}

impl fmt::Display for ServerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unix_path() {
            Some(path) => path.display().fmt(f),
            None if self.host.contains(':') => write!(f, "[{}]:{}", self.host, self.port),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

fn client_tls(tls: &config::ServerTls) -> Result<Option<ClientTls>, TlsError> {
    let verify = match tls.mode {
        TlsMode::Disable => return Ok(None),
        TlsMode::Allow | TlsMode::Prefer | TlsMode::Require => Verify::Nothing,
        TlsMode::VerifyCa => Verify::Authority,
        TlsMode::VerifyFull => Verify::Full,
    };
    ClientTls::new(verify, tls.ca.as_deref()).map(Some)
}
