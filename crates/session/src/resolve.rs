//! What becomes of a COMMIT whose answer is lost (`failover.resolve_commits`): the transaction's id is learned before its
//! COMMIT is sent, and with the answer lost the cluster's primary is asked.
//!
//! The id is asked for when the first statement that may write is answered and the client is at it again, so that this
//! costs a query and no time. A COMMIT that comes earlier, and the Sync of statements that are a transaction by
//! themselves, are held back until the id is known.

mod ask;
mod heard;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use backend::fate::{Fate, Lineage, Transaction};
use sql::facts::{Facts, Kind};
use wire::backend::TransactionStatus;
use wire::{ErrorReport, SqlState, encode};

pub(crate) use heard::{hear_id, hear_refusal};

use crate::expect::Expect;
use crate::gate::Gate;
use crate::loss::{self, Broken, UnderWay};
use crate::session::{End, Session};
use crate::work::{Left, Work};

/// What is known of the transaction that is open on a server connection.
#[derive(Debug)]
pub(crate) struct Resolve {
    /// Which life of which server it is on.
    lineage: Arc<Lineage>,
    /// It, once it has an id.
    transaction: Option<Transaction>,
    /// Something was sent that may have given it one, …
    wrote: bool,
    /// … and it was asked for since.
    asked: bool,
    /// A statement has taken a snapshot: what has to come before any query can't come any more.
    queried: bool,
    /// All that was sent is INSERT, UPDATE, DELETE or MERGE.
    plain: bool,
    /// What ends it was sent; so many bytes of the server's were gone through by then.
    ended: Option<u64>,
    /// The server has said while that was under way that it ends: it may have stopped waiting for its replicas.
    cut_short: bool,
    /// The server's error where it was asked for, which the client has yet to be told.
    refused: Option<Box<ErrorReport>>,
    /// It was found out that it was rolled back.
    rolled_back: bool,
    /// Why it couldn't be found out.
    unproved: Option<&'static str>,
}

impl Resolve {
    fn new(lineage: Arc<Lineage>) -> Box<Self> {
        Box::new(Self {
            lineage,
            transaction: None,
            wrote: false,
            asked: false,
            queried: false,
            plain: true,
            ended: None,
            cut_short: false,
            refused: None,
            rolled_back: false,
            unproved: None,
        })
    }

    /// The next transaction on the same connection.
    #[cold]
    pub(crate) fn begin_anew(&mut self) {
        *self = *Self::new(Arc::clone(&self.lineage));
    }

    /// Something was sent that may write.
    #[cold]
    pub(crate) fn note_write(&mut self, facts: &Facts) {
        let plain = |kind| matches!(kind, Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        let queries = |kind| plain(kind) || matches!(kind, Kind::Select | Kind::CopyIn);
        let kinds = || facts.statements.iter().map(|statement| statement.kind);
        self.plain &= kinds().count() == 1 && kinds().all(plain);
        self.queried |= kinds().any(queries);
        if !kinds().all(writes_nothing) {
            (self.wrote, self.asked) = (true, false);
        }
    }

    /// It isn't known, and may be there.
    fn wants_id(&self) -> bool {
        self.wrote && !self.asked && self.transaction.is_none()
    }

    /// The server's row.
    #[cold]
    pub(crate) fn note_answer(&mut self, id: Option<&[u8]>, at: Option<&[u8]>) {
        self.asked = true;
        let text = |bytes: Option<&[u8]>| bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        if let (Some(id), Some(at)) = (text(id), text(at)) {
            self.transaction = Transaction::from_row(&id, &at, &self.lineage);
        }
    }

    /// The server has said goodbye by a warning.
    #[cold]
    pub(crate) fn note_farewell(&mut self) {
        self.cut_short = true;
    }

    /// The server has refused to tell.
    #[cold]
    pub(crate) fn note_refusal(&mut self, report: ErrorReport) {
        (self.asked, self.refused) = (true, Some(Box::new(report)));
    }

    /// What the client is to be told instead of what is known by the connection alone.
    pub(crate) fn correct(&self, report: ErrorReport, node: &str) -> ErrorReport {
        match self.unproved {
            _ if self.rolled_back => loss::rolled_back(node),
            Some(why) if report.code == SqlState::TRANSACTION_RESOLUTION_UNKNOWN => {
                report.with_detail(format!("What became of it could not be found out: {why}."))
            }
            _ => report,
        }
    }
}

/// Whether a statement that isn't a read has no id for its transaction all the same.
fn writes_nothing(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Begin(_)
            | Kind::Commit
            | Kind::Set
            | Kind::Reset
            | Kind::Show
            | Kind::Savepoint
            | Kind::Release
            | Kind::RollbackTo
            | Kind::Deallocate
    )
}

impl Session {
    /// The server connection was lost. True: what ended its transaction turns out to be done, and the client is answered
    /// as if nothing had been.
    #[cold]
    pub(crate) async fn resolve_commit(&mut self, work: &mut Work, broken: &Broken) -> Result<bool, End> {
        let Some((transaction, answer)) = self.may_be_resolved(work, broken) else { return Ok(false) };
        let Some(held) = &mut self.held else { return Ok(false) };
        // What the client asks to be cancelled now is no server's any more. The server learns that nobody is there.
        self.cell.holds.borrow_mut().take();
        poll_fn(|cx| {
            let _ended = held.lease.stream.poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
        let pool = Arc::clone(&held.lease.handle.pool);
        if broken.says_of_the_server() {
            pool.cluster.suspect(pool.node.id.node);
        }
        let patience = self.core.context.directory.load().config.failover_wait;
        let asked = pool.cluster.fates.ask(transaction);
        let mut fate = Fate::Unproved("there was no answer within failover.wait");
        let answered = async {
            if let Ok(Ok(told)) = tokio::time::timeout(patience, asked).await {
                fate = told;
            }
        };
        // Somebody who doesn't want to wait for it is told what is known.
        let _waited = self.undisturbed(work, answered, crate::wait::canceled).await?;
        tracing::warn!(
            user = %self.cell.user, database = %self.cell.database, node = %pool.node.name, ?broken, ?fate,
            "the answer to a COMMIT was lost"
        );
        if fate == Fate::Committed && self.answer_commit(work, &answer) {
            return Ok(true);
        }
        if let Some(resolve) = &mut work.resolve {
            resolve.rolled_back = fate == Fate::RolledBack;
            resolve.unproved = match fate {
                Fate::Unproved(why) => Some(why),
                Fate::Committed | Fate::RolledBack => None,
            };
        }
        Ok(false)
    }

    /// The transaction whose end isn't known, where its id is and nothing else is under way; and what the server would
    /// have said if it was committed.
    fn may_be_resolved(&self, work: &Work, broken: &Broken) -> Option<(Transaction, Vec<u8>)> {
        let (held, resolve) = (self.held.as_ref()?, work.resolve.as_ref()?);
        let under_way = UnderWay::of(work, held);
        let unknown = loss::report(broken, under_way, "").code == SqlState::TRANSACTION_RESOLUTION_UNKNOWN;
        // Of a Query's answer nothing was gone through; which messages of the extended protocol are answered is known.
        let nothing = resolve.ended == Some(work.down.gone_through());
        let unanswered = (nothing || !work.expects.may_be_halfway()) && work.down_left.is_none();
        let told = !matches!(broken, Broken::Protocol(_));
        let alone = work.expects.count_ready() == 1 && !self.book.is_tied() && self.book.listening.is_none();
        let ended = resolve.ended.is_some() && !held.in_transaction && !resolve.cut_short;
        if !(unknown && unanswered && told && alone && ended) {
            return None;
        }
        let transaction = resolve.transaction.clone()?;
        Some((transaction, work.expects.as_committed()?))
    }

    /// Answers in the server's place, by the way that its answer would have gone.
    fn answer_commit(&mut self, work: &mut Work, answer: &[u8]) -> bool {
        let Some(held) = &mut self.held else { return false };
        work.down.drop_pending();
        work.down.feed(answer);
        let heard = self.book.hear(&self.core, work, &mut held.lease);
        debug_assert!(matches!(heard, Ok(true)), "{heard:?}");
        let _over = self.at_ready(work);
        self.held = None;
        self.book.watch = None;
        self.book.gate = Gate::Open;
        let rest_of_message = match work.up_left {
            Left::Pass(n) | Left::Drop(n) => Left::Drop(n),
        };
        work.up.drop_unsent();
        work.reset_request();
        work.up_left = rest_of_message;
        true
    }
}

impl crate::expect::Expectations {
    /// What a server says that has committed what is due; `None`: other answers are due too.
    fn as_committed(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for expect in self.iter() {
            match expect {
                Expect::Query => {
                    encode::command_complete(&mut out, "COMMIT");
                    encode::ready_for_query(&mut out, TransactionStatus::Idle);
                }
                Expect::Parse { .. } => encode::parse_complete(&mut out),
                Expect::Bind => encode::bind_complete(&mut out),
                Expect::DescribePortal => encode::no_data(&mut out),
                Expect::Execute => encode::command_complete(&mut out, "COMMIT"),
                Expect::Close => encode::close_complete(&mut out),
                Expect::Sync => encode::ready_for_query(&mut out, TransactionStatus::Idle),
                Expect::OwnFlush | Expect::AnswerParse { .. } | Expect::AnswerClose { tag: None, .. } => {}
                _ => return None,
            }
        }
        Some(out)
    }
}
