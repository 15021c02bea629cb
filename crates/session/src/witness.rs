//! The witness: what a server connection says itself of the session state that is on it.
//!
//! One query asks for all that can be asked for. A setting of the client's own making (`app.tenant`) is in no catalog
//! of Postgres: it has to be asked for by its name, and the names are taken from where they can be written: functions
//! and the texts that were sent. What none of them names literally isn't found.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::task::ready;

use backend::Server;
use sql::facts::PinReason;
use tokio::io::ReadBuf;
use wire::backend::{DataRow, ErrorFields, ReadyForQuery};
use wire::{ErrorReport, encode, frame, tag};

/// Names of settings that a core remembers.
const MAX_NAMES: usize = 500;
/// An answer is never longer than this.
const MAX_ANSWER: usize = 4 << 20;

/// Names of settings that no catalog has, as far as they were seen somewhere.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<Box<str>>);

/// What a connection says of itself.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Settings that were made in the session, by name; the last one of a name counts.
    pub(crate) settings: Vec<(String, String)>,
    /// Settings that were asked for by their names: what they are now.
    pub(crate) named: Vec<(String, Option<String>)>,
    /// What ties a session to it, the first reason first.
    pub(crate) pins: Vec<PinReason>,
    /// Statements that don't have a name of ours, with their texts.
    pub(crate) prepared: Vec<(String, String)>,
    /// How many have one.
    pub(crate) ours: usize,
}

impl Names {
    /// Takes the names that a text has literally. True if it may make others of its own.
    pub(crate) fn take_from(&mut self, text: &[u8]) -> bool {
        let text = String::from_utf8_lossy(text).to_ascii_lowercase();
        let mut makes_own = false;
        let mut rest = text.as_str();
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let word = &rest[start..];
            let end = word.find(|c: char| !is_name(c)).unwrap_or(word.len());
            rest = &word[end..];
            let plain = word[..end].rsplit('.').next().unwrap_or_default();
            match plain {
                "set_config" | "current_setting" => {
                    let argument = rest.trim_start().strip_prefix('(').map(str::trim_start);
                    let name = argument.and_then(|argument| argument.strip_prefix('\''));
                    match name {
                        Some(name) => self.add(leading_name(name.trim_start_matches('\''))),
                        None => makes_own |= plain == "set_config",
                    }
                }
                "set" | "reset" | "show" => {
                    let target = rest.trim_start();
                    let target = target.strip_prefix("session ").unwrap_or(target);
                    let target = target.strip_prefix("local ").unwrap_or(target);
                    self.add(leading_name(target.trim_start().trim_start_matches('"')));
                }
                "execute" => makes_own = true,
                _ => {}
            }
        }
        makes_own
    }

    /// Only names of two parts and more: the others are in `pg_settings`.
    pub(crate) fn add(&mut self, name: &str) {
        if name.contains('.') && self.0.len() < MAX_NAMES && !self.0.contains(name) {
            self.0.insert(name.into());
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.')
}

fn leading_name(text: &str) -> &str {
    let name = &text[..text.find(|c: char| !is_name(c)).unwrap_or(text.len())];
    name.trim_end_matches('.')
}

/// The query. `names`: settings to ask for beside those that the server counts as the session's; names that would have
/// to be quoted are left out.
pub(crate) fn question<'a>(names: &'a Names, applied: impl Iterator<Item = &'a str>) -> String {
    let mut array = String::new();
    let all = names.0.iter().map(|name| &**name).chain(applied);
    for name in all.filter(|name| name.chars().all(is_name)) {
        let _ = write!(array, "{}'{name}'", if array.is_empty() { "" } else { "," });
    }
    let named = if array.is_empty() {
        String::new()
    } else {
        format!(
            " UNION ALL SELECT 'named', n, pg_catalog.current_setting(n, true) FROM pg_catalog.unnest(ARRAY[{array}]) n"
        )
    };
    format!(
        "SELECT 'set', name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings WHERE source = 'session' \
         UNION ALL SELECT 'set', 'session_authorization', session_user::text \
         UNION ALL SELECT 'set', 'role', pg_catalog.current_setting('role'){named} \
         UNION ALL (SELECT 'temp', NULL, NULL FROM pg_catalog.pg_depend \
           WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
           AND refobjid = pg_catalog.pg_my_temp_schema() LIMIT 1) \
         UNION ALL (SELECT 'lock', NULL, NULL FROM pg_catalog.pg_locks \
           WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid() LIMIT 1) \
         UNION ALL (SELECT 'cursor', NULL, NULL FROM pg_catalog.pg_cursors WHERE is_holdable LIMIT 1) \
         UNION ALL (SELECT 'channel', NULL, NULL FROM pg_catalog.pg_listening_channels() LIMIT 1) \
         UNION ALL SELECT 'prepared', name, statement FROM pg_catalog.pg_prepared_statements \
           WHERE pg_catalog.left(name, 7) <> 'pgweir_' \
         UNION ALL SELECT 'ours', pg_catalog.count(*)::pg_catalog.text, NULL \
           FROM pg_catalog.pg_prepared_statements WHERE pg_catalog.left(name, 7) = 'pgweir_'"
    )
}

impl Found {
    /// What the answer to `question` says.
    pub(crate) fn from_rows(rows: Vec<Row>) -> Self {
        let mut found = Self::default();
        for [kind, name, value] in rows {
            let pin = match kind.as_deref().unwrap_or_default() {
                "set" => {
                    // Postgres spells some of them with capitals, and compares none.
                    let name = name.unwrap_or_default().to_ascii_lowercase();
                    found.settings.push((name, value.unwrap_or_default()));
                    continue;
                }
                "named" => {
                    found.named.push((name.unwrap_or_default(), value));
                    continue;
                }
                "temp" => PinReason::TemporaryTable,
                "lock" => PinReason::AdvisoryLock,
                "cursor" => PinReason::HoldCursor,
                "channel" => PinReason::Listen,
                "prepared" => {
                    found.prepared.extend(name.zip(value));
                    continue;
                }
                "ours" => {
                    found.ours = name.and_then(|count| count.parse().ok()).unwrap_or_default();
                    continue;
                }
                _ => continue,
            };
            found.pins.push(pin);
        }
        found
    }
}

/// A row of three texts.
pub(crate) type Row = [Option<String>; 3];

/// Runs a query of our own on a connection that is at rest and gives its rows; the inner error is the server's. What
/// the server has to tell the client meanwhile goes to `out`, notifications only if the session listens there.
///
/// # Errors
/// The connection failed, or said what can't be read: it is of no use any more.
pub(crate) async fn ask(
    server: &mut Server,
    sql: &str,
    out: &mut Vec<u8>,
    listens: bool,
) -> io::Result<Result<Vec<Row>, ErrorReport>> {
    let mut message = Vec::new();
    encode::query(&mut message, sql.as_bytes()).map_err(io::Error::other)?;
    server.owed += 1;
    server.unnamed = None; // a simple Query drops the unnamed statement
    crate::reclaim::send(server, &message).await?;
    let (mut rows, mut refused) = (Vec::new(), None);
    let mut buffer = Vec::new();
    loop {
        let mut at = 0;
        while let Some(head) = frame::peek(&buffer[at..], frame::MAX_BODY).map_err(io::Error::other)? {
            if head.total > buffer.len() - at {
                break;
            }
            let whole = &buffer[at..at + head.total];
            at += head.total;
            let body = frame::body(whole);
            match head.tag {
                tag::DATA_ROW => rows.push(row(body)?),
                // Of what is listened to on this very connection.
                tag::NOTIFICATION_RESPONSE if listens => out.extend_from_slice(whole),
                tag::PARAMETER_STATUS => {
                    server.note_parameter(body);
                    out.extend_from_slice(whole);
                }
                tag::ERROR_RESPONSE => {
                    refused = Some(ErrorFields::parse(body).map_err(io::Error::other)?.to_report());
                }
                tag::READY_FOR_QUERY => {
                    server.status = ReadyForQuery::parse(body).map_err(io::Error::other)?.status;
                    server.owed -= 1;
                }
                _ => {}
            }
        }
        buffer.drain(..at);
        if server.owed == 0 {
            // What follows is nobody's answer: it is looked at by whoever has the connection next, or closes it.
            let whole = if buffer.is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidData) };
            whole?;
            return Ok(refused.map_or(Ok(rows), Err));
        }
        if buffer.len() > MAX_ANSWER {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut block = [0; 8 << 10];
        let read = std::future::poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut block);
            ready!(server.stream.poll_read(cx, &mut buf))?;
            std::task::Poll::Ready(Ok::<_, io::Error>(buf.filled().len()))
        })
        .await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.extend_from_slice(&block[..read]);
    }
}

fn row(body: &[u8]) -> io::Result<Row> {
    let parsed = DataRow::parse(body).map_err(io::Error::other)?;
    let values: Vec<_> = parsed.iter().take(3).collect();
    // Sources are read for their words only, in whatever encoding the session has.
    let lossy = matches!(values.first(), Some(Some(b"source" | b"foreign" | b"names")));
    let mut row = Row::default();
    for (text, value) in row.iter_mut().zip(values) {
        *text = match value {
            Some(bytes) if lossy => Some(String::from_utf8_lossy(bytes).into_owned()),
            Some(bytes) => Some(String::from_utf8(bytes.to_vec()).map_err(io::Error::other)?),
            None => None,
        };
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_texts() {
        let mut names = Names::default();
        let own = names.take_from(
            b"DO $$BEGIN PERFORM set_config('App.Tenant', x, false); SET LOCAL \"my\".user TO 1; SET work_mem = 1; \
              PERFORM pg_catalog.current_setting( 'a.b' , true); UPDATE t.u SET c = 1; RESET x.y; END$$",
        );
        assert!(!own);
        let all: Vec<&str> = names.0.iter().map(|name| &**name).collect();
        assert_eq!(all, ["a.b", "app.tenant", "x.y"]);
        assert!(names.take_from(b"select set_config(name, 'x', false)"));
        assert!(names.take_from(b"do $$begin execute 'set ' || x; end$$"));
    }

    #[test]
    fn odd_names_are_not_asked_for() {
        let mut names = Names::default();
        names.add("a.b");
        let sql = question(&names, ["c", "d'; drop table t; --"].into_iter());
        assert!(sql.contains("ARRAY['a.b','c']"), "{sql}");
        assert!(!sql.contains("drop"), "{sql}");
        assert!(!question(&Names::default(), std::iter::empty()).contains("unnest"));
    }
}
