//! The home of the door's reads and writes: exactly the bytes of one message, never more, because the stream moves on
//! to another runtime afterwards and nothing may stay behind.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use wire::startup::{Initial, MAX_PACKET, parse_initial};
use wire::{ErrorReport, encode, frame, tag};

use super::Refusal;

/// The longest body of a password message or SASL response, bytes.
const MAX_PASSWORD: usize = 65_535;

/// How long a client that was refused may take to read why and to close.
const FAREWELL: Duration = Duration::from_secs(1);

/// Reads a first packet. `Ok(None)`: the client closed instead.
pub(super) async fn read_initial(stream: &mut Stream) -> Result<Option<Initial>, Refusal> {
    let mut packet = vec![0; 4];
    // Whoever opens a connection and closes it again is a probe of a load balancer, not an error.
    if stream.read(&mut packet[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut packet[1..]).await?;
    let length = usize::try_from(u32::from_be_bytes([packet[0], packet[1], packet[2], packet[3]]));
    // With a length that can't be, the parser says so from the first four bytes.
    let length = length.ok().filter(|length| (5..=MAX_PACKET + 4).contains(length)).unwrap_or(4);
    read_more(stream, &mut packet, length - 4).await?;
    match parse_initial(&packet)? {
        Some((initial, _)) => Ok(Some(initial)),
        None => Err(Refusal::Startup(wire::startup::StartupError::Length)),
    }
}

/// Reads a message that answers an authentication request, and gives its body.
pub(super) async fn read_answer(stream: &mut Stream) -> Result<Vec<u8>, Refusal> {
    let mut head = [0; frame::HEADER];
    stream.read_exact(&mut head[..1]).await?;
    // The type comes before the length: another kind of packet has no length where this one has it.
    if head[0] != tag::PASSWORD {
        return Err(Refusal::NotAnAnswer(head[0]));
    }
    stream.read_exact(&mut head[1..]).await?;
    let size = frame::peek(&head, MAX_PASSWORD)?.map_or(0, frame::Head::body);
    let mut body = Vec::new();
    read_more(stream, &mut body, size).await?;
    Ok(body)
}

/// Appends `count` bytes; the buffer grows with what has come, not with what was announced.
async fn read_more(stream: &mut Stream, buffer: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let limit = u64::try_from(count).unwrap_or(u64::MAX);
    let read = stream.take(limit).read_to_end(buffer).await?;
    if read < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Writes and flushes `bytes`, and empties them.
pub(super) async fn send(stream: &mut Stream, bytes: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(bytes).await?;
    bytes.clear();
    stream.flush().await
}

/// Whether the client has sent more than was read, on plain TCP; takes nothing and waits for nothing.
pub(super) async fn has_more(stream: &Stream) -> io::Result<bool> {
    let Stream::Tcp(tcp) = stream else { return Ok(false) };
    let mut byte = [0];
    // The read before filled its buffer to the end, so the socket still counts as readable and is really asked.
    let peeked = poll_fn(|cx| match tcp.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
        Poll::Pending => Poll::Ready(Ok(0)),
        ready => ready,
    });
    Ok(peeked.await? > 0)
}

/// Tells the client why it is refused, and closes. What it still sends is read and dropped for a moment: closing a
/// socket with unread bytes in it resets the connection, and the reason might never arrive.
pub(super) async fn farewell(mut stream: Stream, report: &ErrorReport) {
    let mut message = Vec::new();
    encode::error_response(&mut message, report);
    let told = async {
        send(&mut stream, &mut message).await?;
        stream.shutdown().await?;
        let limit = u64::try_from(MAX_PASSWORD).unwrap_or(u64::MAX);
        tokio::io::copy(&mut stream.take(limit), &mut tokio::io::sink()).await
    };
    // It may be gone, or not care to read: there is nobody left to tell.
    drop(tokio::time::timeout(FAREWELL, told).await);
}

/// Closes a connection on which nothing is said; inside TLS a client takes an end without a goodbye for a fault.
pub(super) async fn close(mut stream: Stream) {
    // It may be gone already.
    drop(tokio::time::timeout(FAREWELL, stream.shutdown()).await);
}
