//! The listening connection's socket: frames in, queries out, and never the one waiting for the other.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use net::Stream;
use tokio::io::ReadBuf;
use wire::backend::{ErrorFields, NotificationResponse};
use wire::{ErrorReport, Severity, encode, frame, tag};

/// A message that is looked at is never longer than this: a notification has at most 8,000 bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// Read at once.
const BLOCK: usize = 64 << 10;

/// The listening connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    sent: usize,
}

/// What the server said.
#[derive(Debug)]
pub(super) enum Said<'a> {
    Notification(NotificationResponse<'a>),
    /// A query failed.
    Error(ErrorReport),
    /// A query is over.
    Ready,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, unread: Vec::new(), unsent: Vec::new(), sent: 0 }
    }

    /// A query is to be sent.
    ///
    /// # Errors
    /// It can't be written as a message.
    pub(super) fn ask(&mut self, sql: &[u8]) -> io::Result<()> {
        encode::query(&mut self.unsent, sql).map_err(io::Error::other)
    }

    /// Writes what is to be sent, until something was read. May be given up at any time.
    ///
    /// # Errors
    /// The connection is lost.
    pub(super) async fn turn(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_turn(cx)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            match self.stream.poll_write(cx, &self.unsent[self.sent..])? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(more) => self.sent += more,
                Poll::Pending => break,
            }
        }
        if self.sent == self.unsent.len() {
            self.unsent.clear();
            self.sent = 0;
        }
        // What TLS keeps back is tried again whenever it can be.
        let _ = self.stream.poll_flush(cx)?;
        let filled = self.unread.len();
        self.unread.resize(filled + BLOCK, 0);
        let mut buf = ReadBuf::new(&mut self.unread[filled..]);
        let read = self.stream.poll_read(cx, &mut buf);
        let more = buf.filled().len();
        self.unread.truncate(filled + more);
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if more == 0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
        }
    }

    /// Goes through what was read.
    ///
    /// # Errors
    /// The server said goodbye, or what can't be understood.
    pub(super) fn hear(&mut self, mut what: impl FnMut(Said<'_>)) -> io::Result<()> {
        let mut at = 0;
        while let Some(head) = frame::peek(&self.unread[at..], MAX_MESSAGE).map_err(io::Error::other)? {
            if self.unread.len() - at < head.total {
                break;
            }
            let body = frame::body(&self.unread[at..at + head.total]);
            match head.tag {
                tag::NOTIFICATION_RESPONSE => {
                    what(Said::Notification(NotificationResponse::parse(body).map_err(io::Error::other)?));
                }
                tag::READY_FOR_QUERY => what(Said::Ready),
                tag::ERROR_RESPONSE => {
                    let report = ErrorFields::parse(body).map_err(io::Error::other)?.to_report();
                    if matches!(report.severity, Severity::Fatal | Severity::Panic) {
                        return Err(io::Error::other(report.to_string()));
                    }
                    what(Said::Error(report));
                }
                tag::COMMAND_COMPLETE
                | tag::EMPTY_QUERY_RESPONSE
                | tag::NOTICE_RESPONSE
                | tag::PARAMETER_STATUS => {}
                _ => return Err(io::Error::other("the server sent what nobody asked for")),
            }
            at += head.total;
        }
        self.unread.drain(..at);
        if self.unread.is_empty() && self.unread.capacity() > 4 * BLOCK {
            self.unread = Vec::new();
        }
        Ok(())
    }

    /// Says goodbye, if the socket takes it at once.
    pub(super) async fn close(mut self) {
        encode::terminate(&mut self.unsent);
        let rest = &self.unsent[self.sent..];
        poll_fn(|cx| {
            let _ = self.stream.poll_write(cx, rest);
            let _ = self.stream.poll_flush(cx);
            self.stream.poll_shutdown(cx)
        })
        .await
        .unwrap_or_default();
    }
}
