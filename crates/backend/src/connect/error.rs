//! The home of what can go wrong between a host's name and a server's ReadyForQuery.

use std::io;
use std::time::Duration;

use thiserror::Error;
use wire::encode::EncodeError;
use wire::frame::{FrameError, MessageError};
use wire::scram::ScramError;
use wire::{ErrorReport, SqlState};

/// Why there is no connection to a server.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("can't resolve \"{host}\": {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// Nobody answers at the address.
    #[error("can't connect to {address}: {source}")]
    Unreachable {
        /// Host and port, or the socket's path.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Connecting and logging in took too long.
    #[error("no connection to {host} within {after:?}")]
    Timeout {
        /// Host and port.
        host: String,
        /// `server_connect_timeout`.
        after: Duration,
    },
    /// TLS is wanted, and the server has none.
    #[error("the server {0} doesn't speak TLS, which the configuration demands")]
    NoTls(String),
    /// The TLS handshake failed: a certificate that isn't trusted, among others.
    #[error("TLS with {address} failed: {source}")]
    Tls {
        /// Host and port.
        address: String,
        /// What the TLS library says.
        source: io::Error,
    },
    /// The server said no, in its own words.
    #[error("the server refused the login: {0}")]
    Refused(Box<ErrorReport>),
    /// The server asks for a password and there is none to give, or for a kind of proof that can't be made of it.
    #[error("the server asks for {asked}, and {why}")]
    NoCredential {
        /// The method.
        asked: &'static str,
        /// What is missing.
        why: &'static str,
    },
    /// The server asks for less than the configuration demands.
    #[error("the server asks for {asked}: refused, for {why}")]
    Forbidden {
        /// The method.
        asked: &'static str,
        /// The demand.
        why: &'static str,
    },
    /// An authentication method that pgweir doesn't speak.
    #[error("the server asks for an authentication method that isn't supported (code {0})")]
    Unsupported(i32),
    /// The SCRAM exchange failed.
    #[error("SCRAM with the server failed: {0}")]
    Scram(#[from] ScramError),
    /// The server ended the connection, or it broke.
    #[error("the connection was lost during login: {0}")]
    Lost(#[from] io::Error),
    /// The server sent what no server sends.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// A message that has no place in a login.
    #[error("the server broke the protocol: message '{0}' during login")]
    Unexpected(char),
    /// A frame that can't be delimited.
    #[error("the server broke the protocol: {0}")]
    Frame(#[from] FrameError),
    /// A message whose content doesn't fit.
    #[error("the server broke the protocol: {0}")]
    Message(#[from] MessageError),
    /// A name or password that can't be sent.
    #[error("the login can't be sent: {0}")]
    Encode(#[from] EncodeError),
    /// The pool closed while the connection was being made.
    #[error("the pool was closed")]
    Closed,
    /// Nobody waits for it any more: the node went down, or another one has taken its place.
    #[error("{0} has gone down, or was replaced")]
    Moved(String),
}

impl ConnectError {
    /// The pool closed meanwhile.
    pub fn closed() -> Self {
        ConnectError::Closed
    }

    /// Whether the server lives and turns us away: it is full, or refuses a login or a setting of ours.
    pub(crate) fn turns_away(&self) -> bool {
        matches!(self, ConnectError::Refused(report) if refuses_us(report) || report.code.class() == "53")
    }

    /// Whether the server is out of reach or out of order. False for one that turns us away: it does what it should.
    pub fn is_the_servers_fault(&self) -> bool {
        match self {
            ConnectError::Refused(_) => !self.turns_away(),
            ConnectError::Resolve { .. }
            | ConnectError::Unreachable { .. }
            | ConnectError::Timeout { .. }
            | ConnectError::Lost(_)
            | ConnectError::Protocol(_)
            | ConnectError::Unexpected(_)
            | ConnectError::Frame(_)
            | ConnectError::Message(_) => true,
            ConnectError::NoTls(_)
            | ConnectError::Tls { .. }
            | ConnectError::NoCredential { .. }
            | ConnectError::Forbidden { .. }
            | ConnectError::Unsupported(_)
            | ConnectError::Scram(_)
            | ConnectError::Encode(_)
            | ConnectError::Moved(_)
            | ConnectError::Closed => false,
        }
    }

    /// Whether trying again as it is can't help: somebody has to change a setting, a password or a right. False for
    /// what may pass: a server that is down, starting, or full.
    pub fn is_final(&self) -> bool {
        match self {
            ConnectError::Refused(report) => refuses_us(report),
            ConnectError::NoTls(_)
            | ConnectError::NoCredential { .. }
            | ConnectError::Forbidden { .. }
            | ConnectError::Unsupported(_)
            | ConnectError::Encode(_)
            | ConnectError::Scram(_) => true,
            ConnectError::Tls { source, .. } => source.kind() == io::ErrorKind::InvalidData,
            ConnectError::Resolve { .. }
            | ConnectError::Unreachable { .. }
            | ConnectError::Timeout { .. }
            | ConnectError::Lost(_)
            | ConnectError::Protocol(_)
            | ConnectError::Unexpected(_)
            | ConnectError::Frame(_)
            | ConnectError::Message(_)
            | ConnectError::Moved(_)
            | ConnectError::Closed => false,
        }
    }

    /// What a client is told whose query needs this connection: the server's own refusal, or 08006 with the reason.
    pub fn report(&self) -> ErrorReport {
        match self {
            // The client has proved who it is: it shouldn't look for the fault in what it said.
            ConnectError::Refused(report) => {
                let mut report = ErrorReport::clone(report);
                report.detail.get_or_insert_with(|| "The server refused pgweir's own login.".into());
                report
            }
            other => ErrorReport::fatal(SqlState::CONNECTION_FAILURE, "no server connection can be made")
                .with_detail(format!("{other}.")),
        }
    }

    /// Whether the other choice of TLS may succeed: TLS itself failed, or no line of pg_hba.conf is for this one.
    pub(super) fn may_depend_on_tls(&self) -> bool {
        match self {
            ConnectError::Tls { .. } => true,
            ConnectError::Refused(report) => report.code.as_str() == "28000",
            _ => false,
        }
    }

    /// Whether another address of the same name may do better: this one can't be talked to.
    pub(super) fn concerns_the_address(&self) -> bool {
        matches!(self, ConnectError::Unreachable { .. } | ConnectError::Lost(_))
    }
}

/// Authorization, an unknown database, a missing right: not "too many connections" or "starting up".
fn refuses_us(report: &ErrorReport) -> bool {
    matches!(report.code.class(), "28" | "3D") || report.code.as_str() == "42501"
}
