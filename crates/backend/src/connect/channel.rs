//! The home of a login's messages: one at a time, bounded in length and in sum.

use std::io;

use net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::backend::ErrorFields;
use wire::{frame, tag};

use super::ConnectError;

/// The longest message of a login, in bytes of its body; real ones have a few hundred.
const MAX_BODY: usize = 64 * 1024;
/// All of a login's messages together.
const MAX_SUM: usize = 1024 * 1024;

/// A connection during login.
pub(super) struct Channel {
    stream: Stream,
    unread: Vec<u8>,
    sum: usize,
}

/// A message: its type and its body.
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) body: Box<[u8]>,
}

impl Channel {
    pub(super) fn new(stream: Stream) -> Self {
        Channel { stream, unread: Vec::new(), sum: 0 }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// The next message. Notices are passed over; an ErrorResponse is the error that it says.
    pub(super) async fn next(&mut self) -> Result<Frame, ConnectError> {
        loop {
            let frame = self.next_of_any_kind().await?;
            match frame.tag {
                tag::NOTICE_RESPONSE => {}
                tag::ERROR_RESPONSE => {
                    let report = ErrorFields::parse(&frame.body)?.to_report();
                    return Err(ConnectError::Refused(Box::new(report)));
                }
                _ => return Ok(frame),
            }
        }
    }

    async fn next_of_any_kind(&mut self) -> Result<Frame, ConnectError> {
        loop {
            if let Some(head) = frame::peek(&self.unread, MAX_BODY)?
                && self.unread.len() >= head.total
            {
                let body = frame::body(&self.unread[..head.total]).into();
                self.unread.drain(..head.total);
                return Ok(Frame { tag: head.tag, body });
            }
            self.read_some().await?;
        }
    }

    async fn read_some(&mut self) -> Result<(), ConnectError> {
        self.unread.reserve(4096);
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it").into()),
            read => {
                self.sum += read;
                if self.sum > MAX_SUM { Err(ConnectError::Protocol("a login without end")) } else { Ok(()) }
            }
        }
    }

    /// The stream, after the last message of the login.
    ///
    /// # Errors
    /// If more has come than was asked for.
    pub(super) fn into_stream(self) -> Result<Stream, ConnectError> {
        if self.unread.is_empty() {
            Ok(self.stream)
        } else {
            Err(ConnectError::Protocol("bytes behind the login's last message"))
        }
    }
}
