//! The home of the way to a server: its addresses, TCP or Unix socket, and TLS if it is wanted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::{ConnectError, ServerTarget};

/// How an attempt treats TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// None.
    Plain,
    /// Asked for; plain if the server has none.
    TlsIfOffered,
    /// Or an error.
    Tls,
}

/// Connects, by the first of the host's addresses that can be talked to, and shakes hands. The address is `None` on a
/// Unix socket. Each address is given its share of `limit`, lest a dead one use it up.
pub(crate) async fn open(
    target: &ServerTarget,
    transport: Transport,
    limit: Duration,
) -> Result<(Stream, Option<SocketAddr>), ConnectError> {
    if let Some(path) = target.unix_path() {
        let unreachable = |source| ConnectError::Unreachable { address: target.to_string(), source };
        let socket = UnixStream::connect(path).await.map_err(unreachable)?;
        return Ok((Stream::from(socket), None));
    }
    let end = Instant::now() + limit;
    let addresses = resolve(target).await?;
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let no_address = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut last = ConnectError::Resolve { host: target.host.clone(), source: no_address };
    for address in addresses {
        let share = (end - Instant::now()) / left.max(1);
        left -= 1;
        match open_address(target, transport, address, share).await {
            Ok(stream) => return Ok((stream, Some(address))),
            Err(error) if error.concerns_the_address() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Connects as [`open`] does, to the one server that was reached at `address`.
pub(crate) async fn open_at(
    target: &ServerTarget,
    transport: Transport,
    address: Option<SocketAddr>,
    limit: Duration,
) -> Result<Stream, ConnectError> {
    match address {
        Some(address) => open_address(target, transport, address, limit).await,
        None => open(target, transport, limit).await.map(|(stream, _)| stream),
    }
}

async fn resolve(target: &ServerTarget) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(address) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let failed = |source| ConnectError::Resolve { host: target.host.clone(), source };
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await.map_err(failed)?;
    Ok(found.collect())
}

async fn open_address(
    target: &ServerTarget,
    transport: Transport,
    address: SocketAddr,
    share: Duration,
) -> Result<Stream, ConnectError> {
    let unreachable = |source| ConnectError::Unreachable { address: address.to_string(), source };
    let connected = timeout(share, TcpStream::connect(address)).await;
    let socket = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(unreachable)?;
    let stream = Stream::from(socket);
    target.options.apply(&stream).map_err(unreachable)?;
    match transport {
        Transport::Plain => Ok(stream),
        Transport::TlsIfOffered | Transport::Tls => upgrade(target, transport, stream, address).await,
    }
}

/// Asks for TLS and shakes hands. Takes exactly the answer's byte: what a man in the middle puts behind it
/// (CVE-2021-23222) reaches the handshake, which it breaks.
async fn upgrade(
    target: &ServerTarget,
    transport: Transport,
    mut stream: Stream,
    address: SocketAddr,
) -> Result<Stream, ConnectError> {
    let Some(tls) = &target.tls else { return Ok(stream) };
    let mut request = Vec::new();
    wire::encode::ssl_request(&mut request);
    stream.write_all(&request).await?;
    // The words of an ErrorResponse (from servers of long ago) are not shown: nothing vouches for them.
    match (stream.read_u8().await?, transport) {
        (b'S', _) => {
            let failed = |source| ConnectError::Tls { address: address.to_string(), source };
            stream.connect_tls(tls, &target.host).await.map_err(failed)
        }
        (b'N', Transport::TlsIfOffered) => Ok(stream),
        (b'N', _) => Err(ConnectError::NoTls(target.to_string())),
        _ => Err(ConnectError::Protocol("the answer to an SSLRequest is neither S nor N")),
    }
}
