//! Asking a server connection at rest what it listens to, and having it leave that.

use std::future::poll_fn;
use std::io;

use backend::Server;
use backend::listen::Channel;
use tokio::io::ReadBuf;
use wire::backend::{DataRow, ErrorFields, ReadyForQuery};
use wire::{encode, frame, tag};

/// Both in one transaction: nothing comes between.
const QUESTION: &[u8] = b"SELECT pg_catalog.pg_listening_channels(); UNLISTEN *";
/// No message of the answer is longer.
const MAX_MESSAGE: usize = 1 << 20;
const BLOCK: usize = 4 << 10;

/// The channels that it listened to, in its client's encoding. `unread`: what it has said already. Notifications on
/// the way are dropped: the client has not been told yet that it listens.
///
/// # Errors
/// The connection failed, or the server refused.
pub(super) async fn take_channels(server: &mut Server, mut unread: Vec<u8>) -> io::Result<Vec<Channel>> {
    let mut message = Vec::new();
    encode::query(&mut message, QUESTION).map_err(io::Error::other)?;
    server.owed += 1;
    server.torn = true;
    crate::reclaim::send(server, &message).await?;
    let mut channels = Vec::new();
    loop {
        let mut at = 0;
        while let Some(head) = frame::peek(&unread[at..], MAX_MESSAGE).map_err(io::Error::other)? {
            let Some(message) = unread.get(at..at + head.total) else { break };
            let body = frame::body(message);
            at += head.total;
            match head.tag {
                tag::DATA_ROW => {
                    let row = DataRow::parse(body).map_err(io::Error::other)?;
                    channels.extend(row.get(0).flatten().map(Channel::from));
                }
                tag::PARAMETER_STATUS => server.note_parameter(body),
                tag::ERROR_RESPONSE => {
                    let report = ErrorFields::parse(body).map_err(io::Error::other)?.to_report();
                    return Err(io::Error::other(report.to_string()));
                }
                tag::READY_FOR_QUERY => {
                    server.status = ReadyForQuery::parse(body).map_err(io::Error::other)?.status;
                    server.owed -= 1;
                    // A byte more, and nobody would know what it belongs to.
                    server.torn = at < unread.len();
                    return Ok(channels);
                }
                tag::ROW_DESCRIPTION
                | tag::COMMAND_COMPLETE
                | tag::NOTICE_RESPONSE
                | tag::NOTIFICATION_RESPONSE => {}
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        unread.drain(..at);
        let filled = unread.len();
        unread.resize(filled + BLOCK, 0);
        let mut buf = ReadBuf::new(&mut unread[filled..]);
        poll_fn(|cx| server.stream.poll_read(cx, &mut buf)).await?;
        let read = buf.filled().len();
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        unread.truncate(filled + read);
    }
}
