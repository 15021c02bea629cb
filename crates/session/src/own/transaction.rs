//! What concerns the transaction alone, or only names that pgweir keeps, answered without a server.

use sql::facts::{Effect, Facts, Kind};
use wire::{ErrorReport, SqlState, encode, frame, tag};

use crate::book::{Begun, Book};
use crate::prepared::MAX_NAMES;
use crate::request::Request;
use crate::session::Session;
use crate::work::{Planned, Work};

/// A pipeline with more Parses than this is a server's to answer: each is compared with each.
const MAX_PARSES: usize = 32;

/// What concerns the transaction alone is answered without a server: BEGIN, and all that comes before it is sent;
/// Sync with nothing before it. True if the request was answered.
pub(crate) fn answer_transaction(session: &mut Session, work: &mut Work, request: Request) -> bool {
    if let Request::Pipeline { total, synced: true } = request
        && session.book.begun.is_none()
        && only_known_parses(session, work, total)
    {
        answer_parses(session, work, total);
        return true;
    }
    let book = &mut session.book;
    let total = match request {
        Request::Single { total } => total,
        // Its client has yet to be told. Other pipelines find a failed transaction on a server.
        _ if book.begun.as_ref().is_some_and(|begun| begun.loss.is_some()) => {
            let report = in_failed_transaction(book);
            session.answer_with_error(work, request, &report);
            return true;
        }
        _ => return false,
    };
    let Some(Planned::Query(facts)) = work.planned.front() else { return false };
    let kind = match &facts.statements[..] {
        [statement] => statement.kind,
        _ => Kind::Unknown,
    };
    let command = match (kind, &book.begun) {
        (Kind::Begin(begin), None) if book.defers_begin() => {
            let body = frame::body(&work.up.pending()[..total]);
            let Ok(query) = wire::frontend::Query::parse(body) else { return false };
            let (sql, hint) = (query.sql.into(), facts.hint.clone());
            let command = if says_start(query.sql) { "START TRANSACTION" } else { "BEGIN" };
            let begin = begin.or(book.routing.defaults);
            book.begun = Some(Box::new(Begun { begin, hint, sql, failed: false, said: None, loss: None }));
            command
        }
        // What it has set elsewhere is to be set for good.
        (Kind::Commit, Some(begun)) if !begun.failed && begun.has_said() => return false,
        (Kind::Commit, Some(begun)) if !begun.failed => {
            book.begun = None;
            book.open_entries = None;
            book.routing_before = None;
            "COMMIT"
        }
        (Kind::Commit, Some(begun)) if begun.loss.is_some() => {
            // Its client takes the transaction for a sound one: "ROLLBACK" as the answer would be overlooked.
            let report = in_failed_transaction(book);
            book.begun = None;
            book.roll_back();
            session.answer_with_error(work, request, &report);
            return true;
        }
        (Kind::Commit | Kind::Rollback, Some(_)) => {
            book.begun = None;
            book.roll_back();
            "ROLLBACK"
        }
        (_, Some(begun)) if begun.failed => {
            let report = in_failed_transaction(book);
            session.answer_with_error(work, request, &report);
            return true;
        }
        (Kind::Deallocate, _) => match deallocate(book, facts) {
            Some(tag) => tag,
            None => return false,
        },
        _ => return false,
    };
    work.planned.clear();
    work.up.skip(total);
    let out = work.down.inject();
    encode::command_complete(out, command);
    if session.book.listening.is_some() {
        session.deliver_here(work);
    }
    encode::ready_for_query(work.down.inject(), session.book.status_without_server());
    true
}

/// Whether a pipeline does nothing (a Sync alone), or nothing but prepare statements, under new names, that a server has prepared before under
/// the same settings. It is answered at once: a client that prepares what it may need later doesn't wait for a
/// connection, and the statement is prepared on a server when it is first used there.
fn only_known_parses(session: &Session, work: &Work, total: usize) -> bool {
    if work.planned.len() > MAX_PARSES || session.book.names.len() + work.planned.len() > MAX_NAMES {
        return false;
    }
    let mut rest = &work.up.pending()[..total];
    let mut planned = work.planned.iter();
    while let Ok(Some(head)) = frame::peek(rest, frame::MAX_BODY) {
        match head.tag {
            tag::SYNC => {}
            tag::PARSE => {
                let Some(Planned::Parse { name, text }) = planned.next() else { return false };
                let twice =
                    work.planned.iter().filter(|p| matches!(p, Planned::Parse { name: n, .. } if n == name));
                let new = !name.is_empty()
                    && !session.book.is_unreadable(name)
                    && !session.book.names.contains_key(name)
                    && twice.count() == 1;
                if !new || !session.book.proven.contains(text.statement.id, &session.book.wanted) {
                    return false;
                }
            }
            _ => return false,
        }
        rest = &rest[head.total..];
    }
    true
}

fn answer_parses(session: &mut Session, work: &mut Work, total: usize) {
    work.up.skip(total);
    let status = session.book.status_without_server();
    for planned in work.planned.drain(..) {
        if let Planned::Parse { name, text } = planned {
            session.book.names.insert(name, text);
            encode::parse_complete(work.down.inject());
        }
    }
    encode::ready_for_query(work.down.inject(), status);
}

/// Whether a text that begins a transaction does so by START: its command tag is another one then.
fn says_start(mut sql: &[u8]) -> bool {
    loop {
        sql = sql.trim_ascii_start();
        sql = match sql {
            [b';', rest @ ..] => rest,
            [b'-', b'-', rest @ ..] => rest.splitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default(),
            [b'/', b'*', rest @ ..] => after_comment(rest),
            _ => return sql.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"start")),
        };
    }
}

/// What follows a comment that has been begun; comments nest.
fn after_comment(mut sql: &[u8]) -> &[u8] {
    let mut depth = 1;
    while depth > 0 {
        (sql, depth) = match sql {
            [b'*', b'/', rest @ ..] => (rest, depth - 1),
            [b'/', b'*', rest @ ..] => (rest, depth + 1),
            [_, rest @ ..] => (rest, depth),
            [] => return sql,
        };
    }
    sql
}

/// DEALLOCATE of what pgweir keeps for the session; `None`: it isn't about that.
pub(crate) fn deallocate(book: &mut Book, facts: &Facts) -> Option<&'static str> {
    match facts.statements.iter().flat_map(|s| &s.effects).next()? {
        Effect::Deallocate(Some(name)) if book.is_native_name(name.as_bytes()) => None,
        Effect::Deallocate(Some(name)) => {
            book.written.remove(name.as_bytes());
            book.names.remove(name.as_bytes()).map(|_| "DEALLOCATE")
        }
        Effect::Deallocate(None) if book.pin.is_none() => {
            book.names.clear();
            book.written.clear();
            Some("DEALLOCATE ALL")
        }
        _ => None,
    }
}

pub(crate) fn in_failed_transaction(book: &mut Book) -> ErrorReport {
    let loss = book.begun.as_mut().and_then(|begun| begun.loss.take());
    loss.map_or_else(
        || {
            ErrorReport::error(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )
        },
        |report| *report,
    )
}
