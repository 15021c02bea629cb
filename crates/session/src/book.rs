//! What a session remembers between its requests: its settings, its statements, its place in a transaction.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use backend::statement::Proven;
use backend::{Parameters, Server, Settings, SharedPool};
use config::{Consistency, PoolMode};
use route::consistency::{Slots, Token};
use route::{Reason, SessionRouting, Target, TargetRole};
use sql::LexSettings;
use sql::facts::{Access, Begin, Facts, Hint, Kind, PinReason};
use wire::ErrorReport;
use wire::backend::TransactionStatus;

use crate::catalogs::Catalogs;
use crate::consistency::{Diversion, SeenLast, Sight};
use crate::core::Core;
use crate::expect::{StatementName, Text};
use crate::gate::Gate;
use crate::learned::Ran;
use crate::ledger::OpenEntries;
use crate::listen::Listening;
use crate::loss;
use crate::prepared::Reading;
use crate::sequences::WroteAt;
use crate::shown::{Shown, Written};
use crate::until_write::{Said, Seen, UntilWrite};
use crate::watch::Watch;
use crate::work::Work;

/// What a session remembers between its requests.
#[derive(Debug)]
pub(crate) struct Book {
    /// Statements that its servers are known to take.
    pub(crate) proven: Rc<Proven>,
    /// How its pool is shared.
    pub(crate) mode: PoolMode,
    /// What it has said that routes its statements; without what belongs to a transaction.
    pub(crate) routing: SessionRouting,
    /// What `routing` was before the open transaction changed it: what ROLLBACK goes back to.
    pub(crate) routing_before: Option<Box<SessionRouting>>,
    /// What the startup packet, the listener, the user or the database said of it: what RESET goes back to.
    pub(crate) routing_at_startup: SessionRouting,
    /// The settings that it wants a server connection to have.
    pub(crate) wanted: Rc<Settings>,
    /// Those of its startup packet: what RESET goes back to.
    pub(crate) startup: Rc<Settings>,
    /// The settings of its open transaction, if that has touched any.
    pub(crate) open_entries: Option<Box<OpenEntries>>,
    /// What it was told by ParameterStatus at the beginning.
    pub(crate) welcome: Rc<Parameters>,
    /// What it was last told by ParameterStatus.
    pub(crate) told: Rc<Parameters>,
    /// Its named statements.
    pub(crate) names: HashMap<StatementName, Rc<Text>, foldhash::fast::RandomState>,
    /// The texts of what SQL has prepared in it.
    pub(crate) written: Written,
    /// Its connection, if it is tied to one, has that under the same names.
    pub(crate) native: bool,
    /// Its connection has, or may have, some of that under the same names.
    pub(crate) shown: Option<Box<Shown>>,
    /// A function has run what SQL has prepared in it.
    pub(crate) runs_names: bool,
    /// Its unnamed statement.
    pub(crate) unnamed: Option<Rc<Text>>,
    /// What its statements are read by.
    pub(crate) reading: Reading,
    /// A BEGIN that was answered and not yet sent.
    pub(crate) begun: Option<Box<Begun>>,
    /// Its transaction reads on a replica, and goes on on the primary once it writes.
    pub(crate) until_write: Option<Box<UntilWrite>>,
    /// What was seen of the request that was planned last, as far as such a transaction concerns it.
    pub(crate) seen: Seen,
    /// The settings and parameters that `routing.defaults` were read from.
    pub(crate) defaults_of: (Rc<Settings>, Rc<Parameters>),
    /// The deferred BEGIN that was sent last to a server that may be a standby.
    pub(crate) sent_begin: Option<Box<Begun>>,
    /// What was sent in front of a request and has yet to hold.
    pub(crate) gate: Gate,
    /// Why it is tied to its server connection.
    pub(crate) pin: Option<PinReason>,
    /// Likewise, for what nothing ends but its own end.
    pub(crate) for_good: Option<PinReason>,
    /// Where it may have called nextval last.
    pub(crate) wrote_at: Option<WroteAt>,
    /// How often it has said nextval since it asked what that gave.
    pub(crate) calls: u8,
    /// The request in hand calls currval or lastval.
    pub(crate) asks_currval: bool,
    /// What its connection is to be asked when it is at rest.
    pub(crate) watch: Option<Box<Watch>>,
    /// Its place among the pinned sessions of a pool.
    pub(crate) pinned_to: Option<PinnedTo>,
    /// What its databases' catalogs say.
    pub(crate) catalogs: Catalogs,
    /// How its texts are to be read.
    pub(crate) lex: LexSettings,
    /// A replica has just refused the request at hand: its texts are learned as writes while it is planned again.
    pub(crate) learning: bool,
    /// What the request at hand runs.
    pub(crate) ran: Ran,
    /// The tables that it reads, if it reads.
    pub(crate) reads: Slots,
    /// What its hint says that it must have seen.
    pub(crate) hinted: Option<Consistency>,
    /// What it must have seen.
    pub(crate) sight: Option<Sight>,
    /// It goes to the primary because no replica had.
    pub(crate) diversion: Option<Diversion>,
    /// The tables that were written since no transaction was open.
    pub(crate) wrote: Slots,
    /// What was seen last on each shard.
    pub(crate) last_seen: Vec<SeenLast>,
    /// The round of each shard that the client's tokens need, and the tokens of which that isn't known yet.
    pub(crate) floors: Vec<u64>,
    pub(crate) tokens: Vec<Token>,
    /// The request in hand asks for the position.
    pub(crate) asks_position: bool,
    /// It, once it is known.
    pub(crate) position: Option<Box<str>>,
    /// Where its last statement went, and why.
    pub(crate) last: Option<Box<LastRoute>>,
    /// The number of its database in its core's counts.
    pub(crate) database: u32,
    /// What it listens to.
    pub(crate) listening: Option<Box<Listening>>,
    /// The process id that its client was told.
    pub(crate) pid: u32,
}

/// A place among the pinned sessions of a pool; given back when dropped.
#[derive(Debug)]
pub(crate) struct PinnedTo {
    pool: Arc<SharedPool>,
    /// After which texts its connection was asked lately whether it has to stay, by the address of their facts.
    pub(crate) asked: Vec<(usize, Instant)>,
}

impl PinnedTo {
    /// A place.
    ///
    /// # Errors
    /// How many the pool has, which are all taken.
    pub(crate) fn take(pool: &Arc<SharedPool>) -> Result<Self, usize> {
        let limit = config::pinned_limit(pool.settings.pinned, pool.size);
        if pool.take_pin(limit) { Ok(Self { pool: Arc::clone(pool), asked: Vec::new() }) } else { Err(limit) }
    }

    /// It is being found out whether it is still needed, for as long as this lives.
    pub(crate) fn leaves(&self) -> Leaving {
        self.pool.note_leaving(true);
        Leaving(Arc::clone(&self.pool))
    }
}

/// A place that may be about to be given back.
#[derive(Debug)]
pub(crate) struct Leaving(Arc<SharedPool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.note_leaving(false);
    }
}

impl Drop for PinnedTo {
    fn drop(&mut self) {
        self.pool.give_pin_back();
    }
}

/// A BEGIN that was answered and not yet sent.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) begin: Begin,
    pub(crate) hint: Hint,
    /// The client's own text.
    pub(crate) sql: Box<[u8]>,
    /// An error was raised since: all but ROLLBACK is refused.
    pub(crate) failed: bool,
    /// It was under way on a replica, which is left: what is to be said again behind BEGIN. It goes to the primary.
    pub(crate) said: Option<Vec<Said>>,
    /// The transaction was lost with its server while the client was idle; it has yet to be told.
    pub(crate) loss: Option<Box<ErrorReport>>,
}

impl Begun {
    /// Something is to be said again behind it.
    pub(crate) fn has_said(&self) -> bool {
        self.said.as_ref().is_some_and(|said| !said.is_empty())
    }

    /// A transaction that was lost with its server.
    /// `report`: what the client has yet to be told of it.
    pub(crate) fn lost(report: Option<ErrorReport>) -> Self {
        let loss = report.map(Box::new);
        let (begin, hint, sql) = (Begin::default(), Hint::default(), Box::default());
        Self { begin, hint, sql, failed: true, said: None, loss }
    }
}

/// Where a statement went, and why.
#[derive(Debug)]
pub(crate) struct LastRoute {
    pub(crate) target: Target,
    pub(crate) reason: Reason,
    /// With `role: observe`, what would have been decided.
    pub(crate) would: Option<TargetRole>,
    /// Once a connection was leased for it.
    pub(crate) node: Option<Arc<backend::Node>>,
    /// The beginning of its text.
    pub(crate) statement: Vec<u8>,
}

impl Book {
    /// The transaction status that the client is told while no server connection is held.
    pub(crate) fn status_without_server(&self) -> TransactionStatus {
        match &self.begun {
            None => TransactionStatus::Idle,
            Some(begun) if begun.failed => TransactionStatus::Failed,
            Some(_) => TransactionStatus::InTransaction,
        }
    }

    /// The text that a name stands for.
    pub(crate) fn text(&self, name: &[u8]) -> Option<Rc<Text>> {
        if name.is_empty() { self.unnamed.clone() } else { self.names.get(name).cloned() }
    }

    /// Notes what a statement that is being sent may do, to the session and to the data.
    #[inline]
    pub(crate) fn note_sent(
        &mut self,
        work: &mut Work,
        server: &Server,
        facts: &Arc<Facts>,
        in_transaction: bool,
    ) {
        let may_commit = if in_transaction {
            facts.statements.iter().any(|statement| loss::may_end_transaction(statement.kind))
        } else {
            facts.access != Access::Read && !only_begins(facts)
        };
        if may_commit || work.may_commit.is_possible() {
            work.may_commit = work.may_commit.followed_by(facts, server.unsynced && !in_transaction);
            self.sign(server);
        }
        if facts.access != Access::Read {
            self.note_writes(server, facts);
            if let Some(resolve) = &mut work.resolve {
                resolve.note_write(facts);
            }
        }
        if facts.access == Access::Write && crate::catalogs::changes_catalog(facts) {
            work.changes_catalog = true;
        }
        self.note_effects(work, facts, in_transaction);
    }

    /// DISCARD ALL: as after login.
    pub(crate) fn forget_session(&mut self) {
        self.wanted = Rc::clone(&self.startup);
        self.open_entries = None;
        self.routing = self.routing_at_startup;
        self.names.clear();
        self.written.clear();
        self.unnamed = None;
        self.wrote_at = None;
        self.forget_positions();
        // DISCARD ALL unloads no library.
        self.pin = self.for_good.filter(|reason| *reason == PinReason::Load);
        self.for_good = self.pin;
        self.native = false;
        self.shown = None;
        if self.pin.is_none() {
            self.pinned_to = None;
        }
        self.note_unlisten([None]);
    }

    /// The server reported a parameter while it worked for this session; the client is told.
    pub(crate) fn note_parameter(&mut self, core: &Core, server: &mut Server, name: &str, value: &str) {
        server.parameters = core.pools.intern_parameters(server.parameters.with(name, value));
        self.told = Rc::clone(&server.parameters);
        self.lex = lex_settings(&self.told);
    }
}

/// BEGIN alone: it leaves nothing that could be committed if it is the last that a server hears.
fn only_begins(facts: &Facts) -> bool {
    matches!(&facts.statements[..], [only] if matches!(only.kind, Kind::Begin(_)))
}

/// How texts are to be read under these parameters.
pub(crate) fn lex_settings(parameters: &Parameters) -> LexSettings {
    let encoding = parameters.get("client_encoding").unwrap_or("UTF8");
    // In these a quote or backslash may be the second byte of a character.
    let unsafe_ones = ["SJIS", "BIG5", "GBK", "GB18030", "UHC", "JOHAB", "SHIFT_JIS_2004"];
    LexSettings {
        standard_conforming_strings: parameters.get("standard_conforming_strings") != Some("off"),
        safe_encoding: !unsafe_ones.iter().any(|name| name.eq_ignore_ascii_case(encoding)),
    }
}
