//! A message of the client on its way to the server: as it came, or with another statement name, or not at all.
//!
//! Named statements are kept by pgweir and prepared on a server under a name of their content, when they are first
//! needed there. The unnamed statement stays unnamed; where another session has used the connection since, its Parse
//! is sent again in front of the Bind.

use std::rc::Rc;

use backend::Server;
use backend::statement::Presence;
use route::DatabaseMap;
use sql::facts::{Effect, Facts, Kind, Statement};
use wire::backend::TransactionStatus;
use wire::frame::{self, Head};
use wire::frontend::{BindHead, Close, Describe, Execute, Target as Named};
use wire::{ErrorReport, SqlState, encode, tag};

use crate::book::Book;
use crate::expect::{Expect, StatementName, Text};
use crate::own::{self, OwnAnswer};
use crate::work::{Copy, Left, Planned, Retry, Work};

/// Names of statements that one client may have.
pub(crate) const MAX_NAMES: usize = 10_000;
/// A name that no statement on a server has: what refers to it fails.
pub(crate) const NO_STATEMENT: &[u8] = b"pgweir: no such statement";
/// A text that no server understands.
pub(crate) const NO_COMMAND: &[u8] = b"pgweir: refused";

/// Where a message is sent.
pub(crate) struct Admission<'a> {
    pub(crate) map: &'a DatabaseMap,
    pub(crate) database: &'a str,
    /// Whether the transaction is open once all that was sent is done.
    pub(crate) in_transaction: &'a mut bool,
}

impl Book {
    /// Sends the message at the front of what is pending on its way. It was planned; it is whole, but for a Bind, a
    /// Query or COPY data too long to hold.
    ///
    /// # Errors
    /// What the client is told before it is sent away: a message that no client may send.
    pub(crate) fn admit(
        &mut self,
        at: &mut Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
    ) -> Result<(), ErrorReport> {
        if work.copy == Copy::In {
            admit_in_copy(work, server, head);
            return Ok(());
        }
        match head.tag {
            tag::SYNC | tag::QUERY | tag::FUNCTION_CALL => server.unsynced = false,
            // These begin nothing that a Sync would have to end.
            tag::FLUSH | tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {}
            _ => server.unsynced = true,
        }
        match head.tag {
            tag::QUERY | tag::FUNCTION_CALL => self.admit_query(at, work, server, head),
            tag::PARSE => self.admit_parse(work, server, head)?,
            tag::BIND => self.admit_bind(at, work, server, head)?,
            tag::DESCRIBE => self.admit_describe(work, server, head)?,
            tag::EXECUTE => self.admit_execute(at, work, head)?,
            tag::CLOSE => self.admit_close(work, head)?,
            tag::SYNC => {
                work.up.approve(head.total);
                work.expects.push(Expect::Sync);
                work.owe_ready(server);
            }
            tag::FLUSH => work.up.approve(head.total),
            // Outside of a COPY these are ignored, as Postgres does.
            tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => drop_message(work, head),
            other => return Err(invalid_message(other)),
        }
        Ok(())
    }

    fn admit_query(&mut self, at: &mut Admission<'_>, work: &mut Work, server: &mut Server, head: Head) {
        let Some(Planned::Query(facts)) = work.planned.pop_front() else { return };
        if own::is_own(&facts) {
            let mut bytes = Vec::new();
            match self.run_own(&facts, at.map, at.database) {
                Ok(answer) => {
                    OwnAnswer::describe(&answer.columns, &mut bytes, false);
                    answer.rows(&mut bytes);
                }
                Err(report) if *at.in_transaction => {
                    self.refuse_query(work, server, head, report);
                    return;
                }
                Err(report) => encode::error_response(&mut bytes, &report),
            }
            work.expects.push(Expect::AnswerQuery(bytes));
            drop_message(work, head);
            return;
        }
        let fails = work.failed || server.status == TransactionStatus::Failed;
        if let [Statement { kind: Kind::Deallocate, .. }] = facts.statements[..]
            && !fails
            && let Some(tag) = own::deallocate(self, &facts)
        {
            let mut bytes = Vec::new();
            encode::command_complete(&mut bytes, tag);
            work.expects.push(Expect::AnswerQuery(bytes));
            drop_message(work, head);
            return;
        }
        if let Err(report) = self.allow_pin(&facts, server) {
            self.refuse_query(work, server, head, report);
            return;
        }
        doubt_deallocated(server, &facts);
        self.note_sent(work, &facts, *at.in_transaction);
        follow_transaction(&facts, at.in_transaction);
        server.unnamed = None; // a simple Query drops the unnamed statement
        work.expects.push(Expect::Query);
        work.owe_ready(server);
        pass(work, head);
    }

    /// Makes a Query fail on the server, so that its transaction fails too, and gives the client our error.
    pub(crate) fn refuse_query(
        &mut self,
        work: &mut Work,
        server: &mut Server,
        head: Head,
        report: ErrorReport,
    ) {
        drop_message(work, head);
        // A constant always fits.
        encode::query(work.up.inject(), NO_COMMAND).unwrap_or_default();
        work.expects.push(Expect::ProvokedQuery(Box::new(report)));
        work.owe_ready(server);
    }

    /// Makes an extended message fail on the server, and gives the client our error.
    pub(crate) fn refuse_extended(&mut self, work: &mut Work, head: Head, report: ErrorReport) {
        drop_message(work, head);
        encode::bind(work.up.inject(), b"", NO_STATEMENT, &[]).unwrap_or_default();
        work.expects.push(Expect::Provoked(Box::new(report)));
    }

    fn admit_parse(&mut self, work: &mut Work, server: &mut Server, head: Head) -> Result<(), ErrorReport> {
        let Some(Planned::Parse { name, text }) = work.planned.pop_front() else { return Ok(()) };
        if name.is_empty() {
            let was = self.name(work, &name, Some(Rc::clone(&text)));
            if own::is_own(&text.facts) {
                drop_message(work, head);
                work.expects.push(Expect::AnswerParse { name, was });
                return Ok(());
            }
            server.unnamed = Some(text.statement.id);
            work.up.approve(head.total);
            work.expects.push(Expect::Parse { text, name: Some(name), unnamed: true, was });
            return Ok(());
        }
        if let Err(report) = self.may_name(&name) {
            self.refuse_extended(work, head, report);
            return Ok(());
        }
        self.name(work, &name, Some(Rc::clone(&text)));
        drop_message(work, head);
        if own::is_own(&text.facts) {
            work.expects.push(Expect::AnswerParse { name, was: None });
            return Ok(());
        }
        need(work, server, text, Some(name))
    }

    fn admit_bind(
        &mut self,
        at: &mut Admission<'_>,
        work: &mut Work,
        server: &mut Server,
        head: Head,
    ) -> Result<(), ErrorReport> {
        let pending = work.up.pending();
        let body = frame::body(&pending[..head.total.min(pending.len())]);
        let Some(names) = BindHead::parse(body, head.body())? else {
            return Err(ErrorReport::fatal(
                SqlState::PROTOCOL_VIOLATION,
                "the names of a Bind message are too long",
            ));
        };
        let values_offset = names.values_offset;
        let unnamed = names.statement.is_empty();
        let Some(text) = self.text(names.statement) else {
            if self.knows_by_sql(work) && !names.statement.is_empty() {
                work.expects.push(Expect::Bind);
                pass(work, head);
                return Ok(());
            }
            let report = no_statement(names.statement);
            self.refuse_extended(work, head, report);
            return Ok(());
        };
        let fails = work.failed || server.status == TransactionStatus::Failed;
        if own::is_own(&text.facts) || (!fails && self.deallocates_own(&text.facts)) {
            let portal = StatementName::from(names.portal);
            drop_message(work, head);
            let mut bytes = Vec::new();
            encode::bind_complete(&mut bytes);
            work.expects.push(Expect::Answer(bytes));
            work.own_portals.retain(|(name, _)| *name != portal);
            work.own_portals.push((portal, text));
            return Ok(());
        }
        if let Err(report) = self.allow_pin(&text.facts, server) {
            self.refuse_extended(work, head, report);
            return Ok(());
        }
        doubt_deallocated(server, &text.facts);
        self.note_sent(work, &text.facts, *at.in_transaction);
        follow_transaction(&text.facts, at.in_transaction);
        if unnamed {
            need_unnamed(work, server, text)?;
            work.expects.push(Expect::Bind);
            pass(work, head);
            return Ok(());
        }
        need(work, server, Rc::clone(&text), None)?;
        work.expects.push(Expect::Bind);
        let server_name = text.statement.server_name.as_bytes();
        work.up.rewrite(frame::HEADER + values_offset, |bytes, out| {
            let names = BindHead::parse(frame::body(bytes), head.body())?;
            let portal = names.map_or(&b""[..], |names| names.portal);
            encode::bind_head(out, portal, server_name, head.total, values_offset).map_err(ErrorReport::from)
        })?;
        pass(work, Head { tag: head.tag, total: head.total - frame::HEADER - values_offset });
        Ok(())
    }

    fn admit_describe(
        &mut self,
        work: &mut Work,
        server: &mut Server,
        head: Head,
    ) -> Result<(), ErrorReport> {
        let body = frame::body(&work.up.pending()[..head.total]);
        let Describe { target, name } = Describe::parse(body)?;
        if target == Named::Portal {
            match work.own_portals.iter().find(|(portal, _)| **portal == *name) {
                Some((_, text)) => {
                    let mut bytes = Vec::new();
                    OwnAnswer::describe(&own::columns(&text.facts), &mut bytes, true);
                    work.expects.push(Expect::Answer(bytes));
                    drop_message(work, head);
                }
                None => {
                    work.expects.push(Expect::DescribePortal);
                    work.up.approve(head.total);
                }
            }
            return Ok(());
        }
        let Some(text) = self.text(name) else {
            if self.knows_by_sql(work) && !name.is_empty() {
                work.expects.push(Expect::DescribeStatement);
                work.up.approve(head.total);
                return Ok(());
            }
            let report = no_statement(name);
            self.refuse_extended(work, head, report);
            return Ok(());
        };
        let unnamed = name.is_empty();
        if own::is_own(&text.facts) {
            let mut bytes = vec![tag::PARAMETER_DESCRIPTION, 0, 0, 0, 6, 0, 0];
            OwnAnswer::describe(&own::columns(&text.facts), &mut bytes, true);
            work.expects.push(Expect::Answer(bytes));
            drop_message(work, head);
            return Ok(());
        }
        if unnamed {
            need_unnamed(work, server, text)?;
            work.expects.push(Expect::DescribeStatement);
            work.up.approve(head.total);
            return Ok(());
        }
        let server_name = text.statement.server_name.clone();
        need(work, server, text, None)?;
        work.expects.push(Expect::DescribeStatement);
        work.up
            .rewrite(head.total, |frame, out| encode::describe_with_name(out, server_name.as_bytes(), frame))
            .map_err(ErrorReport::from)
    }

    fn admit_execute(
        &mut self,
        at: &mut Admission<'_>,
        work: &mut Work,
        head: Head,
    ) -> Result<(), ErrorReport> {
        let body = frame::body(&work.up.pending()[..head.total]);
        let portal = Execute::parse(body)?.portal;
        let own =
            work.own_portals.iter().find(|(name, _)| **name == *portal).map(|(_, text)| Rc::clone(text));
        let Some(text) = own else {
            work.expects.push(Expect::Execute);
            work.up.approve(head.total);
            return Ok(());
        };
        if let [Effect::Deallocate(Some(name))] = &text.facts.statements[0].effects[..] {
            match self.name(work, name.as_bytes(), None) {
                None => self.refuse_extended(work, head, no_statement(name.as_bytes())),
                was => {
                    let (name, tag) = (name.as_bytes().into(), Some("DEALLOCATE"));
                    work.expects.push(Expect::AnswerClose { name, was, tag });
                    drop_message(work, head);
                }
            }
            return Ok(());
        }
        match self.run_own(&text.facts, at.map, at.database) {
            Ok(answer) => {
                let mut bytes = Vec::new();
                answer.rows(&mut bytes);
                work.expects.push(Expect::Answer(bytes));
                drop_message(work, head);
            }
            Err(report) => self.refuse_extended(work, head, report),
        }
        Ok(())
    }

    fn admit_close(&mut self, work: &mut Work, head: Head) -> Result<(), ErrorReport> {
        let body = frame::body(&work.up.pending()[..head.total]);
        let Close { target, name } = Close::parse(body)?;
        if target == Named::Portal {
            work.own_portals.retain(|(portal, _)| **portal != *name);
            work.expects.push(Expect::Close);
            work.up.approve(head.total);
            return Ok(());
        }
        if self.knows_by_sql(work) && !name.is_empty() && !self.names.contains_key(name) {
            work.expects.push(Expect::Close);
            work.up.approve(head.total);
            return Ok(());
        }
        let name = StatementName::from(name);
        let was = self.name(work, &name, None);
        work.expects.push(Expect::AnswerClose { name, was, tag: None });
        drop_message(work, head);
        Ok(())
    }

    /// Whether the session may have a statement of this name.
    ///
    /// # Errors
    /// 42P05 if it has one; 54000 if it has as many as it may.
    pub(crate) fn may_name(&self, name: &[u8]) -> Result<(), ErrorReport> {
        if self.names.contains_key(name) {
            let message = format!("prepared statement \"{}\" already exists", lossy(name));
            return Err(ErrorReport::error(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        if self.names.len() < MAX_NAMES {
            return Ok(());
        }
        let message = format!("a client may have at most {MAX_NAMES} prepared statements");
        let report = ErrorReport::error(SqlState::PROGRAM_LIMIT_EXCEEDED, message);
        Err(report.with_hint("Close statements that are not needed any more."))
    }

    /// Whether a text is DEALLOCATE of a statement that pgweir keeps for the session.
    fn deallocates_own(&self, facts: &Facts) -> bool {
        let [Statement { kind: Kind::Deallocate, effects, .. }] = &facts.statements[..] else { return false };
        matches!(&effects[..], [Effect::Deallocate(Some(name))] if self.names.contains_key(name.as_bytes()))
    }

    /// From here on a name stands for this, or for nothing. Gives what it stood for before, and keeps that for as long
    /// as the request may have to be run again from its beginning.
    fn name(&mut self, work: &mut Work, name: &[u8], text: Option<Rc<Text>>) -> Option<Rc<Text>> {
        let was = self.set_name(name, text);
        if work.retry == Retry::Possible {
            work.renamed.push((name.into(), was.clone()));
        }
        was
    }

    /// A name stands for this, or for nothing. Gives what it stood for before.
    pub(crate) fn set_name(&mut self, name: &[u8], text: Option<Rc<Text>>) -> Option<Rc<Text>> {
        match text {
            text if name.is_empty() => std::mem::replace(&mut self.unnamed, text),
            Some(text) => self.names.insert(name.into(), text),
            None => self.names.remove(name),
        }
    }

    /// The request is run again from its beginning: its names stand for what they stood for before.
    pub(crate) fn take_names_back(&mut self, work: &mut Work) {
        while let Some((name, was)) = work.renamed.pop() {
            self.set_name(&name, was);
        }
    }

    /// Whether there may be statements that SQL's PREPARE made, which only the server knows.
    fn knows_by_sql(&self, work: &Work) -> bool {
        let sent = work.effects.iter().flat_map(|sent| &sent.facts.statements).flat_map(|s| &s.effects);
        self.is_tied() || sent.into_iter().any(|effect| matches!(effect, Effect::Prepare(_)))
    }

    /// Takes a pin for a session that will need one; an error if its pool has no more.
    fn allow_pin(&mut self, facts: &Facts, server: &mut Server) -> Result<(), ErrorReport> {
        let Some(reason) = Self::pins(facts) else { return Ok(()) };
        if self.pinned_to.is_some() || self.mode == config::PoolMode::Session {
            return Ok(());
        }
        let pool = &server.handle.pool;
        let max_pinned = config::pinned_limit(pool.settings.pinned, pool.size);
        if pool.take_pin(max_pinned) {
            self.pinned_to = Some(crate::book::PinnedTo::new(pool));
            return Ok(());
        }
        Err(ErrorReport::error(
            SqlState::TOO_MANY_CONNECTIONS,
            format!("too many sessions of this pool are tied to a server connection ({max_pinned})"),
        )
        .with_detail(format!("This statement would tie its session to one: {reason:?}."))
        .with_hint("Raise pool.pinned, use pool.mode: session for this user, or avoid state that outlives a transaction."))
    }
}

/// In COPY from the client the server reads COPY messages only; Sync and Flush it ignores.
fn admit_in_copy(work: &mut Work, server: &mut Server, head: Head) {
    if !matches!(head.tag, tag::COPY_DATA | tag::SYNC | tag::FLUSH) {
        // In the extended protocol a Sync must follow.
        server.unsynced = work.expects.executes();
        // CopyDone and CopyFail end it; anything else fails it.
        work.copy = Copy::No;
        server.copy_in = false;
    }
    pass(work, head);
}

fn follow_transaction(facts: &Facts, in_transaction: &mut bool) {
    for statement in &facts.statements {
        match statement.kind {
            Kind::Begin(_) | Kind::EndAndChain => *in_transaction = true,
            Kind::Commit | Kind::Rollback => *in_transaction = false,
            _ => {}
        }
    }
}

/// Has the server have a text under the name of its content. `name`: the client asked for it and is answered.
///
/// A Parse that isn't confirmed may turn out to be skipped: what comes behind a later Sync, and so isn't skipped with
/// it, has the statement prepared again.
fn need(
    work: &mut Work,
    server: &mut Server,
    text: Rc<Text>,
    name: Option<StatementName>,
) -> Result<(), ErrorReport> {
    let id = text.statement.id;
    let segment = work.expects.segment();
    match (server.prepared.touch(id, segment), name) {
        (Presence::There, None) => return Ok(()),
        (Presence::There, Some(name)) => {
            work.expects.push(Expect::AnswerParse { name, was: None });
            return Ok(());
        }
        (presence, name) => {
            if presence == Presence::Doubtful {
                close(work, id)?;
            }
            write_parse(work, text.statement.server_name.as_bytes(), &text)?;
            server.prepared.ask(id, segment);
            work.expects.push(Expect::Parse { text, name, unnamed: false, was: None });
        }
    }
    while let Some(oldest) = server.prepared.evict(server.handle.pool.settings.max_prepared_statements) {
        close(work, oldest)?;
    }
    Ok(())
}

/// Statements that sessions share may be gone once this is run: a client may name them too.
fn doubt_deallocated(server: &mut Server, facts: &Facts) {
    for effect in facts.statements.iter().flat_map(|statement| &statement.effects) {
        match effect {
            Effect::Deallocate(None) => server.prepared.doubt_all(),
            Effect::Deallocate(Some(name)) => {
                if let Some(id) = backend::statement::id_of(name) {
                    server.prepared.doubt(id);
                }
            }
            _ => {}
        }
    }
}

/// Closes a statement on the server; it need not be there.
fn close(work: &mut Work, id: u64) -> Result<(), ErrorReport> {
    let name = format!("pgweir_{id}");
    encode::close(work.up.inject(), Named::Statement, name.as_bytes()).map_err(ErrorReport::from)?;
    work.expects.push(Expect::OwnClose(id));
    Ok(())
}

/// Has the session's unnamed statement be the server's, if another's is.
fn need_unnamed(work: &mut Work, server: &mut Server, text: Rc<Text>) -> Result<(), ErrorReport> {
    if server.unnamed != Some(text.statement.id) {
        server.unnamed = Some(text.statement.id);
        write_parse(work, b"", &text)?;
        work.expects.push(Expect::Parse { text, name: None, unnamed: true, was: None });
    }
    Ok(())
}

fn write_parse(work: &mut Work, name: &[u8], text: &Text) -> Result<(), ErrorReport> {
    let types: Vec<u32> = text.statement.type_oids().collect();
    encode::parse(work.up.inject(), name, &text.statement.sql, &types).map_err(ErrorReport::from)
}

/// Passes a message as far as it is here.
fn pass(work: &mut Work, head: Head) {
    let now = head.total.min(work.up.pending().len());
    work.up.approve(now);
    work.up_left = Left::Pass(head.total - now);
}

/// Drops a message, as far as it is here.
pub(crate) fn drop_message(work: &mut Work, head: Head) {
    let now = head.total.min(work.up.pending().len());
    work.up.skip(now);
    work.up_left = Left::Drop(head.total - now);
}

/// What Postgres says of a message type that it doesn't know.
pub(crate) fn invalid_message(tag: u8) -> ErrorReport {
    ErrorReport::fatal(SqlState::PROTOCOL_VIOLATION, format!("invalid frontend message type {tag}"))
}

fn no_statement(name: &[u8]) -> ErrorReport {
    let message = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        format!("prepared statement \"{}\" does not exist", lossy(name))
    };
    ErrorReport::error(SqlState::INVALID_SQL_STATEMENT_NAME, message)
}

fn lossy(name: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(name)
}
