//! The home of cancelling what a server connection runs: a connection of its own that says so and ends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connect::{ConnectError, ServerTarget, Transport, open_at};

/// A cancel takes this long at most, all in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks the server to cancel what the connection with this process id and key runs. Returns when the server has taken
/// the request (it closes the connection then): whether something was running, and whether it stops, it doesn't say.
/// Over TLS if the target speaks it: the key is a secret. `address` is what [`crate::connect::Connected`] told: another
/// server of the same name would know nothing of the key.
///
/// # Errors
/// If the request didn't reach the server, or not within 5 s.
pub async fn send_cancel(
    target: &ServerTarget,
    address: Option<SocketAddr>,
    pid: u32,
    key: &[u8],
) -> Result<(), ConnectError> {
    let late = |_| Err(ConnectError::Timeout { host: target.to_string(), after: PATIENCE });
    tokio::time::timeout(PATIENCE, request(target, address, pid, key)).await.unwrap_or_else(late)
}

async fn request(
    target: &ServerTarget,
    address: Option<SocketAddr>,
    pid: u32,
    key: &[u8],
) -> Result<(), ConnectError> {
    let mut message = Vec::new();
    wire::encode::cancel_request(&mut message, pid, key)?;
    let (first, second) = target.transports();
    // `allow` begins without TLS and would need a refusal to change its mind, which a cancel never gets: so TLS if it
    // can be had, wherever it may be spoken at all.
    let transport = match second {
        Some(_) => Transport::TlsIfOffered,
        None => first,
    };
    let mut stream = open_at(target, transport, address, PATIENCE).await?;
    stream.write_all(&message).await?;
    stream.flush().await?;
    // Closed by either way of closing: the request was read before.
    match stream.read(&mut [0; 64]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(ConnectError::Protocol("an answer to a CancelRequest")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.into()),
    }
}
