//! Connections that a session left in the middle of something: brought to rest and proved clean, or closed.
//!
//! Clients vanish all the time. Closing their server connections would make a storm of logins out of that; so what
//! runs is cancelled, what is open is rolled back, and what a session left behind is discarded.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use backend::server::Handle;
use backend::{Lease, Server};
use tokio::io::ReadBuf;
use wire::backend::{ErrorFields, ReadyForQuery, TransactionStatus};
use wire::{ErrorReport, encode, frame, tag};

use crate::admit::NO_STATEMENT;

/// A connection that isn't at rest after this long is closed.
const PATIENCE: Duration = Duration::from_secs(10);
/// A message that must be held whole is never longer than this.
const MAX_WHOLE: usize = 1 << 20;
/// A cancel that hasn't arrived after this long never will.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// How long a cancel has time to show before it is sent again; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// What is read at once.
const BLOCK: usize = 16 << 10;

/// What a server has said that nobody has looked at: the rest of a message to be skipped, then bytes in hand.
#[derive(Debug, Default)]
pub(crate) struct Unheard {
    pub(crate) skip: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Unheard {
    pub(crate) fn is_empty(&self) -> bool {
        self.skip == 0 && self.bytes.is_empty()
    }
}

/// Cancels what runs on a connection, which isn't handed back before this is over: counted from the call on, not from
/// the first poll. A cancel that may be under way still is never over, so that the connection is closed.
pub(crate) fn cancel(handle: Rc<Handle>) -> impl Future<Output = ()> {
    handle.cancels.set(handle.cancels.get() + 1);
    async move {
        let target = &handle.pool.node.target;
        let sent = backend::cancel::send_cancel(target, handle.address, handle.pid, &handle.key);
        match tokio::time::timeout(CANCEL_PATIENCE, sent).await {
            Ok(Ok(())) => handle.cancels.set(handle.cancels.get() - 1),
            Ok(Err(error)) => {
                tracing::warn!(node = %handle.pool.node.name, %error, "a cancel could not be sent")
            }
            Err(_) => tracing::warn!(node = %handle.pool.node.name, "a cancel took too long to send"),
        }
    }
}

/// Brings a connection to rest and hands it back; closes it if that can't be done in time.
pub(crate) async fn reclaim(mut lease: Lease, unheard: Unheard) {
    let outcome = tokio::time::timeout(PATIENCE, bring_to_rest(&mut lease, unheard)).await;
    if matches!(outcome, Ok(Ok(()))) {
        lease.release();
    }
}

async fn bring_to_rest(server: &mut Server, mut unheard: Unheard) -> io::Result<()> {
    if server.torn {
        // Half a message was sent: nothing that follows would be understood. But what runs is stopped.
        if server.owed > 0 {
            std::future::poll_fn(|cx| server.stream.poll_shutdown(cx)).await?;
            stop(server, &mut unheard).await?;
        }
        return Err(io::ErrorKind::InvalidData.into());
    }
    if server.copy_in {
        // A cancel isn't heard by a backend that waits for CopyData.
        let mut message = Vec::new();
        encode::copy_fail(&mut message, "the client went away").map_err(io::Error::other)?;
        encode::sync(&mut message);
        server.owed += 1;
        send(server, &message).await?;
        stop(server, &mut unheard).await?;
        server.copy_in = false;
        server.unsynced = false;
    } else if server.owed > 0 || server.unsynced {
        cancel(Rc::clone(&server.handle)).await;
        if std::mem::take(&mut server.unsynced) {
            // A Sync by itself would commit what was executed before it: so it must fail first.
            let mut message = Vec::new();
            encode::bind(&mut message, b"", NO_STATEMENT, &[]).map_err(io::Error::other)?;
            encode::sync(&mut message);
            server.owed += 1;
            send(server, &message).await?;
        }
        stop(server, &mut unheard).await?;
    }
    while server.handle.cancels.get() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if server.status != TransactionStatus::Idle {
        run(server, b"ROLLBACK", &mut unheard).await?.map_err(io::Error::other)?;
    }
    if server.spent {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if server.doubt && server.status == TransactionStatus::Idle {
        run(server, b"DISCARD ALL", &mut unheard).await?.map_err(io::Error::other)?;
        server.forget_session();
    }
    if server.sweep && unheard.is_empty() {
        sweep(server).await?;
    }
    if unheard.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Takes off all that a session may leave but prepared statements; those too, if some are there that aren't ours.
async fn sweep(server: &mut Server) -> io::Result<()> {
    const SWEEP: &str = "CLOSE ALL; RESET SESSION AUTHORIZATION; RESET ALL; UNLISTEN *; DISCARD TEMP; \
        SELECT pg_catalog.pg_advisory_unlock_all(); SELECT 'prepared', name, NULL \
        FROM pg_catalog.pg_prepared_statements WHERE pg_catalog.left(name, 7) <> 'pgweir_' LIMIT 1";
    let rows = crate::witness::ask(server, SWEEP, &mut Vec::new(), false).await?.map_err(io::Error::other)?;
    server.applied = Rc::default();
    server.sweep = false;
    if rows.iter().any(|[kind, ..]| kind.as_deref() == Some("prepared")) {
        run(server, b"DISCARD ALL", &mut Unheard::default()).await?.map_err(io::Error::other)?;
        server.forget_session();
    }
    Ok(())
}

/// Reads until nothing is owed any more, and cancels what runs as long as it does: a cancel that overtakes its
/// statement is not heard.
async fn stop(server: &mut Server, unheard: &mut Unheard) -> io::Result<()> {
    let handle = Rc::clone(&server.handle);
    let mut drained = std::pin::pin!(drain(server, unheard));
    let mut pause = FIRST_PAUSE;
    loop {
        match tokio::time::timeout(pause, &mut drained).await {
            Ok(outcome) => return outcome.map(drop),
            Err(_) => cancel(Rc::clone(&handle)).await,
        }
        pause *= 2;
    }
}

/// Runs one simple Query; its rows are dropped. The inner error is the server's.
///
/// # Errors
/// The connection failed.
pub(crate) async fn execute(server: &mut Server, sql: &[u8]) -> io::Result<Result<(), ErrorReport>> {
    run(server, sql, &mut Unheard::default()).await
}

async fn run(server: &mut Server, sql: &[u8], unheard: &mut Unheard) -> io::Result<Result<(), ErrorReport>> {
    let mut message = Vec::new();
    encode::query(&mut message, sql).map_err(io::Error::other)?;
    server.owed += 1;
    send(server, &message).await?;
    match drain(server, unheard).await? {
        None => Ok(Ok(())),
        Some(report) => Ok(Err(report)),
    }
}

pub(crate) async fn send(server: &mut Server, message: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    std::future::poll_fn(|cx| {
        while sent < message.len() {
            sent += ready!(server.stream.poll_write(cx, &message[sent..]))?;
        }
        server.stream.poll_flush(cx)
    })
    .await
}

/// Reads until nothing is owed any more. Gives the first error that the server reported meanwhile.
async fn drain(server: &mut Server, unheard: &mut Unheard) -> io::Result<Option<ErrorReport>> {
    let Unheard { mut skip, bytes: mut buffer } = std::mem::take(unheard);
    let mut filled = buffer.len();
    buffer.resize(filled.max(BLOCK), 0);
    let mut refused = None;
    loop {
        let mut at = 0;
        loop {
            let passed = usize::min(skip, filled - at);
            at += passed;
            skip -= passed;
            let Some(head) = frame::peek(&buffer[at..filled], frame::MAX_BODY).map_err(io::Error::other)?
            else {
                break;
            };
            match head.tag {
                tag::READY_FOR_QUERY | tag::PARAMETER_STATUS | tag::ERROR_RESPONSE
                    if head.total > filled - at =>
                {
                    if head.total > MAX_WHOLE {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    break;
                }
                tag::READY_FOR_QUERY => {
                    let body = frame::body(&buffer[at..at + head.total]);
                    server.status = ReadyForQuery::parse(body).map_err(io::Error::other)?.status;
                    // One more than is owed: nobody knows what it answers.
                    server.owed = server.owed.checked_sub(1).ok_or(io::ErrorKind::InvalidData)?;
                }
                tag::PARAMETER_STATUS => server.note_parameter(frame::body(&buffer[at..at + head.total])),
                tag::ERROR_RESPONSE if refused.is_none() => {
                    let body = frame::body(&buffer[at..at + head.total]);
                    refused = Some(ErrorFields::parse(body).map_err(io::Error::other)?.to_report());
                }
                // A COPY that nobody can feed any more.
                tag::COPY_IN_RESPONSE => return Err(io::ErrorKind::InvalidData.into()),
                _ => {}
            }
            skip += head.total;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if server.owed == 0 {
            break;
        }
        if filled == buffer.len() {
            buffer.resize(filled * 2, 0);
        }
        let read = std::future::poll_fn(|cx| poll_read(server, cx, &mut buffer[filled..])).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
    }
    buffer.truncate(filled);
    *unheard = Unheard { skip, bytes: buffer };
    Ok(refused)
}

fn poll_read(server: &mut Server, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buf = ReadBuf::new(buffer);
    ready!(server.stream.poll_read(cx, &mut buf))?;
    Poll::Ready(Ok(buf.filled().len()))
}
