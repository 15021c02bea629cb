//! The console's side of the socket: whole messages in, buffered bytes out, both bounded in size and time.

use std::io;
use std::time::Duration;

use ::wire::{ErrorReport, FrameError, encode, frame, tag};
use net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest message that the console takes, bytes.
const MAX_MESSAGE: usize = 65_536;
/// Replies are handed to the socket in parts of about this size, bytes.
const FULL: usize = 65_536;
/// How long a client may take to read a part.
const SLOW: Duration = Duration::from_secs(60);
/// How long a client that is sent away may take to close.
const FAREWELL: Duration = Duration::from_secs(1);

/// The connection of a console's client.
pub(super) struct Wire {
    stream: Stream,
    /// What is to be sent.
    pub(super) out: Vec<u8>,
}

/// A whole message of the client's.
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

/// Why there is no message.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client is gone.
    Gone,
    /// It doesn't speak the protocol.
    Frame(FrameError),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, out: Vec::new() }
    }

    /// The next message. What was read of it is lost if the future is dropped.
    pub(super) async fn read(&mut self) -> Result<Message, Broken> {
        let mut head = [0; frame::HEADER];
        self.stream.read_exact(&mut head).await?;
        let head = frame::peek(&head, MAX_MESSAGE).map_err(Broken::Frame)?;
        let Some(head) = head else { return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) };
        let length = head.body();
        let mut body = Vec::new();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        // The buffer grows with what comes, not with what was announced.
        let read = (&mut self.stream).take(limit).read_to_end(&mut body).await?;
        if read < length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Message { tag: head.tag, body })
    }

    /// Sends what is there if it is much.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        if self.out.len() < FULL { Ok(()) } else { self.flush().await }
    }

    /// Sends what is there.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let sent = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(SLOW, sent).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.out.clear();
        // A large reply's buffer isn't kept for as long as somebody stays connected.
        self.out.shrink_to(FULL);
        Ok(())
    }

    /// Tells the client why it has to go, and closes.
    pub(super) async fn farewell(mut self, report: &ErrorReport) {
        encode::error_response(&mut self.out, report);
        let told = async {
            self.flush().await?;
            self.stream.shutdown().await?;
            // Closing a socket with unread bytes in it resets it, and the reason might never arrive.
            let limit = u64::try_from(MAX_MESSAGE).unwrap_or(u64::MAX);
            tokio::io::copy(&mut (&mut self.stream).take(limit), &mut tokio::io::sink()).await
        };
        // It may be gone, or not care to read: there is nobody left to tell.
        drop(tokio::time::timeout(FAREWELL, told).await);
    }
}

/// Whether a message belongs to a COPY: outside of one it is passed over, as Postgres does.
pub(super) const fn is_of_copy(tag: u8) -> bool {
    matches!(tag, tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL)
}
