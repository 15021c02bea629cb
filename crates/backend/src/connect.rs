//! The home of pgweir's logins to Postgres servers: from a host's name to a connection that awaits its first query.

mod authenticate;
mod channel;
mod error;
mod login;
mod open;
mod target;

use std::net::SocketAddr;

use net::Stream;
use wire::backend::{BackendKeyData, ParameterStatus, ReadyForQuery, TransactionStatus};
use wire::{encode, tag};

use channel::{Channel, Frame};
pub use error::ConnectError;
pub use login::Login;
use open::open;
pub(crate) use open::{Transport, open_at};
pub use target::{ServerTarget, TargetError};

/// A connection after login: idle, with nothing of the server's unread.
#[derive(Debug)]
pub struct Connected {
    /// Registered with the runtime that called [`connect`].
    pub stream: Stream,
    /// Names and values of the ParameterStatus messages, in their order.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// The server process' id; 0 if the server told none.
    pub pid: u32,
    /// What a CancelRequest must name; empty if the server told none.
    pub key: Box<[u8]>,
    /// Which server it is, where a name has several addresses; `None`: a Unix socket.
    pub address: Option<SocketAddr>,
}

/// Connects and logs in, within the login's time. Runs on the core that wants the connection; what takes time to
/// compute runs on that runtime's blocking threads.
///
/// Under `prefer` a second attempt without TLS follows if TLS fails or the server has no rule that lets the first one
/// in; under `allow` the other way round, as in libpq.
///
/// # Errors
/// Whatever went wrong, with the server's own words if it said any.
pub async fn connect(target: &ServerTarget, login: &Login) -> Result<Connected, ConnectError> {
    let limit = login.connect_timeout;
    let attempt = tokio::time::timeout(limit, connect_by_mode(target, login));
    attempt.await.unwrap_or_else(|_| Err(ConnectError::Timeout { host: target.to_string(), after: limit }))
}

async fn connect_by_mode(target: &ServerTarget, login: &Login) -> Result<Connected, ConnectError> {
    let (first, second) = target.transports();
    match (connect_over(target, login, first).await, second) {
        (Err(error), Some(second)) if error.may_depend_on_tls() => {
            // The first error is the telling one if the second attempt doesn't get further.
            connect_over(target, login, second).await.map_err(|_| error)
        }
        (outcome, _) => outcome,
    }
}

async fn connect_over(
    target: &ServerTarget,
    login: &Login,
    transport: Transport,
) -> Result<Connected, ConnectError> {
    let (stream, address) = open(target, transport, login.connect_timeout).await?;
    let mut channel = Channel::new(stream);
    let mut startup = Vec::new();
    encode::startup_message(&mut startup, login.startup_parameters(), 0)?;
    channel.send(&startup).await?;
    authenticate::authenticate(&mut channel, target, login).await?;
    let session = await_ready(&mut channel).await?;
    let stream = channel.into_stream()?;
    Ok(Connected { stream, parameters: session.parameters, pid: session.pid, key: session.key, address })
}

#[derive(Default)]
struct Session {
    parameters: Vec<(Box<str>, Box<str>)>,
    pid: u32,
    key: Box<[u8]>,
}

async fn await_ready(channel: &mut Channel) -> Result<Session, ConnectError> {
    let mut session = Session::default();
    loop {
        let Frame { tag, body } = channel.next().await?;
        match tag {
            tag::PARAMETER_STATUS => {
                let ParameterStatus { name, value } = ParameterStatus::parse(&body)?;
                session.parameters.push((text(name)?, text(value)?));
            }
            tag::BACKEND_KEY_DATA => {
                let BackendKeyData { pid, key } = BackendKeyData::parse(&body)?;
                (session.pid, session.key) = (pid, key.into());
            }
            tag::READY_FOR_QUERY => {
                return match ReadyForQuery::parse(&body)?.status {
                    TransactionStatus::Idle => Ok(session),
                    _ => Err(ConnectError::Protocol("a new session is in a transaction")),
                };
            }
            other => return Err(ConnectError::Unexpected(char::from(other))),
        }
    }
}

/// A reported parameter; pgweir asks for UTF-8, and the values that matter are ASCII.
fn text(bytes: &[u8]) -> Result<Box<str>, ConnectError> {
    std::str::from_utf8(bytes).map(Box::from).map_err(|_| ConnectError::Protocol("a parameter isn't UTF-8"))
}
