//! Statements that pgweir answers itself: `SHOW`, `SET` and `RESET` of `pgweir.*`.

use std::rc::Rc;

use config::{Consistency, PoolMode, RoleSetting, Transactions};
use route::{DatabaseMap, RoleSource, ShardIndex};
use sql::facts::{Effect, Facts, Kind};
use wire::encode::{self, Column};
use wire::frame::{self, Head};
use wire::{ErrorReport, SqlState, tag};

use crate::book::{Begun, Book};
use crate::expect::Text;
use crate::prepared::MAX_NAMES;
use crate::request::Request;
use crate::session::{End, Session};
use crate::work::{Planned, Work};

/// A pipeline with more Parses than this is a server's to answer: each is compared with each.
const MAX_PARSES: usize = 32;

/// What a statement of our own answers.
#[derive(Debug, Default)]
pub(crate) struct OwnAnswer {
    /// The columns; empty: it gives no rows.
    pub(crate) columns: Vec<&'static str>,
    /// The only row.
    pub(crate) row: Vec<Option<String>>,
    /// The command tag.
    pub(crate) tag: &'static str,
}

/// Whether this text is one statement of our own.
#[inline]
pub(crate) fn is_own(facts: &Facts) -> bool {
    let [statement] = &facts.statements[..] else { return false };
    matches!(statement.kind, Kind::Set | Kind::Show | Kind::Reset)
        && statement.effects.iter().any(|effect| own_name(effect).is_some())
}

/// Whether it asks for the position, which isn't known yet.
pub(crate) fn asks_position(facts: &Facts) -> bool {
    facts
        .statements
        .iter()
        .flat_map(|s| &s.effects)
        .any(|effect| matches!(effect, Effect::Show(name) if &**name == "pgweir.lsn"))
}

fn own_name(effect: &Effect) -> Option<&str> {
    match effect {
        Effect::Set { name, .. } | Effect::Reset(name) | Effect::Show(name) => name.strip_prefix("pgweir."),
        _ => None,
    }
}

impl OwnAnswer {
    /// RowDescription, or NoData where a Describe asks for it.
    pub(crate) fn describe(columns: &[&'static str], out: &mut Vec<u8>, by_describe: bool) {
        if columns.is_empty() {
            if by_describe {
                encode::no_data(out);
            }
            return;
        }
        let columns: Vec<_> = columns.iter().map(|name| Column::text(name)).collect();
        // A handful of short names always fits.
        encode::row_description(out, &columns).unwrap_or_default();
    }

    /// The row and CommandComplete.
    pub(crate) fn rows(&self, out: &mut Vec<u8>) {
        if !self.columns.is_empty() {
            let row: Vec<_> = self.row.iter().map(|v| v.as_deref().map(str::as_bytes)).collect();
            encode::data_row(out, &row).unwrap_or_default();
        }
        encode::command_complete(out, self.tag);
    }
}

/// The columns of an own statement's answer, without running it.
pub(crate) fn columns(facts: &Facts) -> Vec<&'static str> {
    let effect = facts.statements.iter().flat_map(|s| &s.effects).find(|effect| own_name(effect).is_some());
    match effect {
        Some(Effect::Show(name)) => match &**name {
            "pgweir.route" => vec!["database", "shard", "role", "node", "reason", "statement"],
            "pgweir.role" => vec!["pgweir.role"],
            "pgweir.shard" => vec!["pgweir.shard"],
            "pgweir.transactions" => vec!["pgweir.transactions"],
            "pgweir.consistency" => vec!["pgweir.consistency"],
            "pgweir.lsn" => vec!["pgweir.lsn"],
            "pgweir.version" => vec!["pgweir.version"],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

impl Book {
    /// Runs a statement of our own.
    ///
    /// # Errors
    /// A name or value that isn't known: 42704, 22023.
    pub(crate) fn run_own(
        &mut self,
        facts: &Facts,
        map: &DatabaseMap,
        database: &str,
        in_transaction: bool,
    ) -> Result<OwnAnswer, ErrorReport> {
        let effects = facts.statements.iter().flat_map(|s| &s.effects);
        let Some(effect) = effects.into_iter().find(|effect| own_name(effect).is_some()) else {
            return Ok(OwnAnswer::default());
        };
        if in_transaction && !matches!(effect, Effect::Show(_)) {
            self.keep_routing();
        }
        match (effect, own_name(effect).unwrap_or_default()) {
            (Effect::Show(_), name) => self.show(facts, name, map, database),
            (Effect::Set { value, .. }, "role") => {
                self.routing.role = match role_of(value)? {
                    // A session that keeps its connection for life keeps it where it can write.
                    RoleSetting::Auto if self.mode == PoolMode::Session => RoleSetting::Primary,
                    role => role,
                };
                self.routing.role_from = RoleSource::Set;
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Set { value, .. }, "shard") => {
                self.routing.shard = Some(map.shard_named(value).ok_or_else(|| no_such_shard(map, value))?);
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Set { value, .. }, "transactions") => {
                self.routing.transactions = transactions_of(value)?;
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "transactions") => {
                self.routing.transactions = self.routing_at_startup.transactions;
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (Effect::Set { value, .. }, "consistency") => {
                self.routing.consistency = consistency_of(value)?;
                self.routing.consistency_from = RoleSource::Set;
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Set { value, .. }, "lsn") => {
                self.take_position(value)?;
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "lsn") => {
                self.forget_positions();
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "consistency") => {
                self.routing.consistency = self.routing_at_startup.consistency;
                self.routing.consistency_from = self.routing_at_startup.consistency_from;
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "role") => {
                self.routing.role = self.routing_at_startup.role;
                self.routing.role_from = self.routing_at_startup.role_from;
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "shard") => {
                self.routing.shard = self.routing_at_startup.shard;
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (_, name) => Err(unknown(name)),
        }
    }

    fn show(
        &self,
        facts: &Facts,
        name: &str,
        map: &DatabaseMap,
        database: &str,
    ) -> Result<OwnAnswer, ErrorReport> {
        let columns = columns(facts);
        let row = match name {
            "route" => match &self.last {
                None => {
                    vec![Some(database.to_owned()), None, None, None, Some("no statement yet".into()), None]
                }
                Some(last) => {
                    let shard = map.is_sharded().then(|| map.shard_name(last.target.shard).to_owned());
                    let mut reason = route::reason_in_words(map, &last.reason);
                    if let Some(would) = last.would {
                        reason = format!("{reason}; observed: would go to the {would}");
                    }
                    let statement = String::from_utf8_lossy(&last.statement).into_owned();
                    let node = last.node.as_ref().map(|node| node.name.clone());
                    let role = last.target.role.to_string();
                    vec![Some(database.to_owned()), shard, Some(role), node, Some(reason), Some(statement)]
                }
            },
            "role" => vec![Some(role_name(self.routing.role).to_owned())],
            "shard" => {
                vec![Some(self.routing.shard.map_or("", |s: ShardIndex| map.shard_name(s)).to_owned())]
            }
            "transactions" => vec![Some(transactions_name(self.routing.transactions).to_owned())],
            "consistency" => vec![Some(consistency_name(self.routing.consistency).to_owned())],
            "lsn" => vec![Some(self.shown_position()?)],
            "version" => vec![Some(env!("CARGO_PKG_VERSION").to_owned())],
            other => return Err(unknown(other)),
        };
        Ok(OwnAnswer { columns, row, tag: "SHOW" })
    }
}

/// The role that a setting's value names.
///
/// # Errors
/// 22023 with the roles that there are.
pub(crate) fn role_of(value: &str) -> Result<RoleSetting, ErrorReport> {
    match value.to_ascii_lowercase().as_str() {
        "auto" => Ok(RoleSetting::Auto),
        "primary" => Ok(RoleSetting::Primary),
        "replica" => Ok(RoleSetting::Replica),
        "observe" => Ok(RoleSetting::Observe),
        _ => Err(ErrorReport::error(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"pgweir.role\": \"{value}\""),
        )
        .with_hint("Available values: auto, primary, replica, observe.")),
    }
}

/// The meaning of a value of `pgweir.transactions`.
///
/// # Errors
/// 22023 with the values that there are.
pub(crate) fn transactions_of(value: &str) -> Result<Transactions, ErrorReport> {
    match value.to_ascii_lowercase().as_str() {
        "primary" => Ok(Transactions::Primary),
        "replica_until_write" => Ok(Transactions::ReplicaUntilWrite),
        _ => Err(ErrorReport::error(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"pgweir.transactions\": \"{value}\""),
        )
        .with_hint("Available values: primary, replica_until_write.")),
    }
}

fn transactions_name(transactions: Transactions) -> &'static str {
    match transactions {
        Transactions::Primary => "primary",
        Transactions::ReplicaUntilWrite => "replica_until_write",
    }
}

/// The consistency that a setting's value names.
///
/// # Errors
/// 22023 with those that there are.
pub(crate) fn consistency_of(value: &str) -> Result<Consistency, ErrorReport> {
    match value.to_ascii_lowercase().as_str() {
        "database" => Ok(Consistency::Database),
        "session" => Ok(Consistency::Session),
        "strong" => Ok(Consistency::Strong),
        "eventual" => Ok(Consistency::Eventual),
        _ => Err(ErrorReport::error(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"pgweir.consistency\": \"{value}\""),
        )
        .with_hint("Available values: database, session, strong, eventual.")),
    }
}

fn consistency_name(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Database => "database",
        Consistency::Session => "session",
        Consistency::Strong => "strong",
        Consistency::Eventual => "eventual",
    }
}

fn role_name(role: RoleSetting) -> &'static str {
    match role {
        RoleSetting::Auto => "auto",
        RoleSetting::Primary => "primary",
        RoleSetting::Replica => "replica",
        RoleSetting::Observe => "observe",
    }
}

pub(crate) fn no_such_shard(map: &DatabaseMap, value: &str) -> ErrorReport {
    let names: Vec<_> = map.shard_indexes().map(|shard| map.shard_name(shard)).collect();
    ErrorReport::error(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"pgweir.shard\": \"{value}\""),
    )
    .with_hint(format!("Available values: {}.", names.join(", ")))
}

fn unknown(name: &str) -> ErrorReport {
    ErrorReport::error(
        SqlState::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"pgweir.{name}\""),
    )
    .with_hint(
        "There are pgweir.role, pgweir.shard, pgweir.transactions, pgweir.consistency, pgweir.lsn, pgweir.route and pgweir.version.",
    )
}

/// Answers a whole request that concerns only statements of our own.
///
/// # Errors
/// None but those that end the session.
pub(crate) fn answer_request(session: &mut Session, work: &mut Work, request: Request) -> Result<(), End> {
    let (Request::Single { total } | Request::Pipeline { total, .. }) = request else { return Ok(()) };
    let mut left = total;
    if session.book.begun.as_ref().is_some_and(|begun| begun.failed) {
        let report = in_failed_transaction(&mut session.book);
        session.answer_with_error(work, request, &report);
        return Ok(());
    }
    while left > 0 {
        let head = frame::peek(work.up.pending(), session.max_message).map_err(ErrorReport::from)?;
        let Some(head) = head else { break };
        left = left.saturating_sub(head.total);
        let failed = answer_message(session, work, head)?;
        if let Err(report) = failed {
            let at = Request::Single { total: head.total };
            match head.tag {
                tag::QUERY => session.answer_with_error(work, at, &report),
                _ => {
                    session.answer_with_error(work, request, &report);
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// One message of such a request. The inner error is the statement's.
fn answer_message(
    session: &mut Session,
    work: &mut Work,
    head: Head,
) -> Result<Result<(), ErrorReport>, End> {
    let status = session.book.status_without_server();
    let shared = std::sync::Arc::clone(&session.group.shared);
    let book = &mut session.book;
    let begun = book.begun.is_some();
    let body = frame::body(&work.up.pending()[..head.total]);
    let mut out = Vec::new();
    match head.tag {
        tag::QUERY => {
            let Some(Planned::Query(facts)) = work.planned.pop_front() else { return Ok(Ok(())) };
            match book.run_own(&facts, &shared.map, &shared.database, begun) {
                Ok(answer) => {
                    OwnAnswer::describe(&answer.columns, &mut out, false);
                    answer.rows(&mut out);
                    encode::ready_for_query(&mut out, status);
                }
                Err(report) => return Ok(Err(report)),
            }
        }
        tag::PARSE => {
            let Some(Planned::Parse { name, text }) = work.planned.pop_front() else { return Ok(Ok(())) };
            if name.is_empty() {
                book.unnamed = Some(text);
            } else if let Err(report) = book.may_name(&name) {
                return Ok(Err(report));
            } else {
                book.names.insert(name, text);
            }
            encode::parse_complete(&mut out);
        }
        tag::BIND => {
            let bind = wire::frontend::Bind::parse(body).map_err(ErrorReport::from)?;
            if let Some(text) = book.text(bind.statement) {
                let portal: Box<[u8]> = bind.portal.into();
                work.own_portals.retain(|(known, _)| *known != portal);
                work.own_portals.push((portal, text));
            }
            encode::bind_complete(&mut out);
        }
        tag::DESCRIBE => {
            let describe = wire::frontend::Describe::parse(body).map_err(ErrorReport::from)?;
            let text = match describe.target {
                wire::frontend::Target::Statement => {
                    out.extend_from_slice(&[tag::PARAMETER_DESCRIPTION, 0, 0, 0, 6, 0, 0]);
                    book.text(describe.name)
                }
                wire::frontend::Target::Portal => portal(work, describe.name),
            };
            OwnAnswer::describe(&text.map(|text| columns(&text.facts)).unwrap_or_default(), &mut out, true);
        }
        tag::EXECUTE => {
            let execute = wire::frontend::Execute::parse(body).map_err(ErrorReport::from)?;
            if let Some(text) = portal(work, execute.portal) {
                match book.run_own(&text.facts, &shared.map, &shared.database, begun) {
                    Ok(answer) => answer.rows(&mut out),
                    Err(report) => return Ok(Err(report)),
                }
            }
        }
        tag::CLOSE => {
            let close = wire::frontend::Close::parse(body).map_err(ErrorReport::from)?;
            if close.target == wire::frontend::Target::Statement {
                book.names.remove(close.name);
            }
            encode::close_complete(&mut out);
        }
        tag::SYNC => {
            work.own_portals.clear();
            encode::ready_for_query(&mut out, status);
        }
        _ => {}
    }
    work.up.skip(head.total);
    work.down.inject().extend_from_slice(&out);
    Ok(Ok(()))
}

fn portal(work: &Work, name: &[u8]) -> Option<Rc<Text>> {
    work.own_portals.iter().find(|(known, _)| **known == *name).map(|(_, text)| Rc::clone(text))
}

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
