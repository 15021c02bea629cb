//! A server connection that is lost: what its client is told of what was under way there.

use std::rc::Rc;

use backend::LocalPool;
use config::PoolMode;
use sql::facts::{Facts, Kind};
use wire::backend::TransactionStatus;
use wire::{ErrorReport, Severity, SqlState, encode};

use crate::book::Begun;
use crate::expect::Expect;
use crate::gate::Gate;
use crate::session::{End, Held, Session};
use crate::work::{Left, Work};

/// The server connection is of no use any more.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It was closed, or the socket failed.
    Lost,
    /// Its node is down, or isn't used any more.
    Unusable,
    /// It said goodbye with this error.
    Fatal(Box<ErrorReport>),
    /// It said something that nobody asked for.
    Protocol(&'static str),
}

impl Broken {
    /// Whether it may be that the server is gone, and not this connection alone.
    pub(crate) fn says_of_the_server(&self) -> bool {
        match self {
            Broken::Lost => true,
            Broken::Fatal(report) => report.code.is_server_going(),
            // That is known.
            Broken::Unusable | Broken::Protocol(_) => false,
        }
    }
}

impl Session {
    /// The server connection is of no use any more: the client is told what is known of its request, and stays.
    #[cold]
    pub(crate) fn server_lost(&mut self, work: &mut Work, broken: Broken) -> Result<(), End> {
        let Some(mut held) = self.held.take() else { return Ok(()) };
        self.note_left(&held);
        self.cell.holds.borrow_mut().take();
        let pool: Rc<LocalPool> = Rc::clone(held.lease.pool());
        let pinned = self.book.pin.take().is_some() || self.book.mode == PoolMode::Session;
        self.book.pinned_to = None;
        self.book.for_good = None;
        self.book.native = false;
        self.book.shown = None;
        self.book.watch = None;
        self.book.until_write = None;
        self.book.roll_back();
        self.book.gate = Gate::Open;
        if let Broken::Fatal(report) = &broken
            && report.code == SqlState::PROTOCOL_VIOLATION
        {
            // What the client sent has put the server out of step: it is the client's connection that ends.
            return Err(ErrorReport::clone(report).into());
        }
        let mut report = report(&broken, UnderWay::of(work, &held), &pool.shared.node.name);
        if let Some(resolve) = &work.resolve {
            report = resolve.correct(report, &pool.shared.node.name);
        }
        tracing::warn!(
            user = %self.cell.user, database = %self.cell.database, node = %pool.shared.node.name, ?broken,
            "a server connection was lost"
        );
        if broken.says_of_the_server() {
            pool.shared.cluster.suspect(pool.shared.node.id.node);
        }
        pool.shared.catalog.wrote(std::mem::take(&mut self.book.wrote));
        let torn = matches!(work.down_left, Left::Pass(n) if n > 0);
        let answers = work.expects.count_ready();
        let unsynced = held.lease.unsynced;
        let unanswered = !work.expects.is_empty() && !work.expects.asks_for_id_by_itself();
        let open =
            held.in_transaction || (held.lease.status != TransactionStatus::Idle && held.lease.owed == 0);
        let status = if open { TransactionStatus::Failed } else { AFTER_LOSS };
        // Names that were being given when it was lost are free again.
        let begun = work.names.take().map(Expect::Names);
        let unanswered_messages =
            begun.into_iter().chain(std::iter::from_fn(|| work.expects.pop())).collect();
        self.book.undo(work, &mut held.lease, unanswered_messages);
        drop(held);
        work.down.drop_pending();
        work.up.drop_unsent();
        let rest_of_message = match work.up_left {
            Left::Pass(n) | Left::Drop(n) => Left::Drop(n),
        };
        work.reset_request();
        work.up_left = rest_of_message;
        if torn {
            return Err(End::Gone); // in the middle of a row nothing can be said any more
        }
        if pinned {
            // What the session had there is lost; it must know.
            return Err(report.with_severity(wire::Severity::Fatal).into());
        }
        for _ in 0..answers {
            encode::error_response(work.down.inject(), &report);
            encode::ready_for_query(work.down.inject(), status);
        }
        if unsynced || (answers == 0 && unanswered) {
            encode::error_response(work.down.inject(), &report);
            work.skipping = true;
        }
        if open {
            // What the client still sends of this transaction is refused. If it was idle, its next statement learns
            // why.
            let told = answers > 0 || work.skipping;
            self.book.begun = Some(Box::new(Begun::lost((!told).then_some(report))));
        }
        Ok(())
    }
}

/// The status in which a client is left when its server connection was lost.
pub(crate) const AFTER_LOSS: TransactionStatus = TransactionStatus::Idle;

/// Whether what was sent and not yet answered by ReadyForQuery may be there for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MayCommit {
    /// Nothing of it.
    #[default]
    No,
    /// Statements of the extended protocol outside of a transaction: all of it at Sync.
    AtSync,
    /// It ends with the one statement that commits.
    AtItsEnd,
    /// Some of it, at any time: CALL and DO commit while they go on, and of several statements each may.
    AtAnyTime,
}

impl MayCommit {
    #[inline]
    pub(crate) fn is_possible(self) -> bool {
        self != MayCommit::No
    }

    /// These statements are sent behind it; of all of it something may be committed. `implicit`: they are messages of
    /// the extended protocol outside of a transaction.
    pub(crate) fn followed_by(self, facts: &Facts, implicit: bool) -> MayCommit {
        let kind = match &facts.statements[..] {
            [only] => only.kind,
            _ => Kind::Unknown,
        };
        let by_itself = !matches!(kind, Kind::Procedure | Kind::Unknown);
        let waits = by_itself && implicit && !ends_transaction(kind) && kind != Kind::Utility;
        match self {
            MayCommit::No | MayCommit::AtSync if waits => MayCommit::AtSync,
            MayCommit::No if by_itself => MayCommit::AtItsEnd,
            _ => MayCommit::AtAnyTime,
        }
    }
}

/// Whether what was done before it in its transaction may be there when its answer is lost.
pub(crate) fn may_end_transaction(kind: Kind) -> bool {
    // What isn't understood may hold a COMMIT.
    ends_transaction(kind) || matches!(kind, Kind::Procedure | Kind::Unknown)
}

fn ends_transaction(kind: Kind) -> bool {
    matches!(kind, Kind::Commit | Kind::EndAndChain | Kind::TwoPhase)
}

/// What was under way on the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnderWay {
    pub(crate) may_commit: MayCommit,
    /// A statement is not yet answered that comes before the next ReadyForQuery.
    pub(crate) running: bool,
    pub(crate) in_transaction: bool,
}

impl UnderWay {
    pub(crate) fn of(work: &Work, held: &Held) -> Self {
        // What no Sync was sent behind commits nothing.
        let begun_only = work.may_commit == MayCommit::AtSync && held.lease.unsynced && held.lease.owed == 0;
        Self {
            may_commit: if begun_only { MayCommit::No } else { work.may_commit },
            running: work.expects.awaits_statement(),
            in_transaction: held.in_transaction || begun_only,
        }
    }
}

/// The client is told what is known, and no more: that nothing of it is there, or that this can't be known.
pub(crate) fn report(broken: &Broken, under_way: UnderWay, node: &str) -> ErrorReport {
    let says = |report: &ErrorReport| format!("{}: {}", report.code.as_str(), report.message);
    match (broken, under_way.may_commit) {
        (Broken::Fatal(report), MayCommit::No)
            if under_way.in_transaction && report.code.is_server_going() =>
        {
            rolled_back(node).with_detail(format!("The server said {}", says(report)))
        }
        (Broken::Fatal(report), MayCommit::No) => definite(report),
        // An error is no answer any more to a statement that was answered: Postgres may end a connection between the
        // answer to an extended COMMIT and the ReadyForQuery behind it.
        (Broken::Fatal(report), MayCommit::AtSync | MayCommit::AtItsEnd) if under_way.running => {
            definite(report)
        }
        (Broken::Fatal(report), _) => unknown(node).with_detail(format!("The server said {}", says(report))),
        (Broken::Protocol(what), MayCommit::No) => ErrorReport::error(
            SqlState::PROTOCOL_VIOLATION,
            format!("server {node} sent something that can't be understood: {what}"),
        ),
        (Broken::Protocol(what), _) => {
            unknown(node).with_detail(format!("The server sent something that can't be understood: {what}."))
        }
        (Broken::Lost | Broken::Unusable, MayCommit::No) if under_way.in_transaction => rolled_back(node),
        (Broken::Lost | Broken::Unusable, MayCommit::No) => ErrorReport::error(
            SqlState::CONNECTION_FAILURE,
            format!("the connection to server {node} was lost"),
        ),
        (Broken::Lost | Broken::Unusable, _) => unknown(node),
    }
}

/// What the server said, as an error of the statement: the client stays.
fn definite(report: &ErrorReport) -> ErrorReport {
    ErrorReport { severity: Severity::Error, ..report.clone() }
}

pub(crate) fn rolled_back(node: &str) -> ErrorReport {
    ErrorReport::error(
        SqlState::SERIALIZATION_FAILURE,
        format!("the connection to server {node} was lost; the transaction was rolled back"),
    )
    .with_hint("Run the transaction again.")
}

fn unknown(node: &str) -> ErrorReport {
    ErrorReport::error(
        SqlState::TRANSACTION_RESOLUTION_UNKNOWN,
        format!(
            "the connection to server {node} was lost; it is not known whether the statement was committed"
        ),
    )
    .with_hint("Look whether it is there before you run it again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(broken: &Broken, may_commit: MayCommit, running: bool, in_transaction: bool) -> String {
        let under_way = UnderWay { may_commit, running, in_transaction };
        report(broken, under_way, "pg-1").code.as_str().to_owned()
    }

    fn fatal() -> Broken {
        Broken::Fatal(Box::new(ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection")))
    }

    #[test]
    fn a_last_word_is_definite_only_while_the_statement_runs() {
        assert_eq!(code(&fatal(), MayCommit::No, false, false), "57P01");
        assert_eq!(code(&fatal(), MayCommit::No, false, true), "40001", "a transaction is told to run again");
        for may_commit in [MayCommit::AtSync, MayCommit::AtItsEnd] {
            assert_eq!(code(&fatal(), may_commit, true, true), "57P01");
            assert_eq!(code(&fatal(), may_commit, false, true), "08007");
        }
        assert_eq!(code(&fatal(), MayCommit::AtAnyTime, true, false), "08007");
    }

    #[test]
    fn silence_is_definite_only_where_nothing_commits() {
        for broken in [Broken::Lost, Broken::Protocol("x")] {
            for may_commit in [MayCommit::AtItsEnd, MayCommit::AtAnyTime] {
                assert_eq!(code(&broken, may_commit, true, true), "08007", "{broken:?} {may_commit:?}");
            }
        }
        assert_eq!(code(&Broken::Lost, MayCommit::No, true, true), "40001");
        assert_eq!(code(&Broken::Lost, MayCommit::No, true, false), "08006");
        assert_eq!(code(&Broken::Protocol("x"), MayCommit::No, true, false), "08P01");
    }

    #[test]
    fn several_statements_may_commit_at_any_time() {
        let mut analyzer = sql::Analyzer::new(100);
        let mut followed = |before: MayCommit, sql: &str, implicit: bool| {
            before.followed_by(analyzer.analyze(sql.as_bytes(), sql::LexSettings::default()).facts, implicit)
        };
        let (write, read) = ("insert into t values (1)", "select 1");
        assert_eq!(followed(MayCommit::No, write, true), MayCommit::AtSync);
        assert_eq!(followed(MayCommit::AtSync, read, true), MayCommit::AtSync);
        assert_eq!(followed(MayCommit::AtSync, "commit", true), MayCommit::AtAnyTime);
        assert_eq!(followed(MayCommit::No, "vacuum", true), MayCommit::AtItsEnd);
        assert_eq!(followed(MayCommit::AtItsEnd, read, true), MayCommit::AtAnyTime);
        let mut after = |sql: &str| followed(MayCommit::No, sql, false);
        assert_eq!(after("commit"), MayCommit::AtItsEnd);
        for sql in
            ["insert into t values (1); commit; select 1", "call p()", "do 'begin commit; end'", "grumble"]
        {
            assert_eq!(after(sql), MayCommit::AtAnyTime, "{sql}");
        }
    }
}
