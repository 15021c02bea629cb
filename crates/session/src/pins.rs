//! Why sessions are tied to their server connections: the reasons by name, how often each came, and what is told of it.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use backend::Server;
use config::{NodeRole, RoleSetting};
use sql::facts::PinReason;
use wire::{ErrorReport, SqlState};

use crate::book::Book;

/// Outlines of texts that were told, per core; after that many nothing more is.
const TOLD: usize = 1_000;

/// All reasons, each with the name that the console and the metrics give it.
const REASONS: [(PinReason, &str); 9] = [
    (PinReason::TemporaryTable, "temporary_table"),
    (PinReason::HoldCursor, "hold_cursor"),
    (PinReason::AdvisoryLock, "advisory_lock"),
    (PinReason::Setseed, "setseed"),
    (PinReason::Load, "load"),
    (PinReason::SqlPrepare, "sql_prepare"),
    (PinReason::Listen, "listen"),
    (PinReason::Setting, "setting"),
    (PinReason::Doubt, "doubt"),
];

/// The name that the console and the metrics give a reason.
pub(crate) fn name(reason: PinReason) -> &'static str {
    REASONS.iter().find(|(known, _)| *known == reason).map_or("doubt", |(_, name)| name)
}

/// What ties a session, in words.
pub(crate) fn in_words(reason: PinReason) -> &'static str {
    match reason {
        PinReason::TemporaryTable => "a temporary table or another temporary object",
        PinReason::HoldCursor => "a cursor WITH HOLD",
        PinReason::AdvisoryLock => "an advisory lock of the session",
        PinReason::Setseed => "a seed of random()",
        PinReason::Load => "a loaded library",
        PinReason::SqlPrepare => "a statement prepared by PREPARE",
        PinReason::Listen => "LISTEN",
        PinReason::Setting => "a setting that can't be moved",
        PinReason::Doubt => "state that can't be named",
    }
}

/// What the client is told whose transaction is on a replica, where nothing can be kept for a session that writes too.
pub(crate) fn not_on_a_replica(reason: PinReason) -> ErrorReport {
    let message = "a session can't be tied to a replica, where its READ ONLY transaction is";
    ErrorReport::error(SqlState::READ_ONLY_SQL_TRANSACTION, message)
        .with_detail(format!("This statement leaves {} in the session ({reason:?}).", in_words(reason)))
        .with_hint("Run it outside of the transaction, or SET pgweir.role = primary before that.")
}

impl Book {
    /// Whether what ties the session now would keep its writes on a replica, which nobody has asked for.
    pub(crate) fn would_tie_to_replica(&self, server: &Server) -> bool {
        let pool = &server.handle.pool;
        let view = pool.cluster.view();
        let role = view.nodes().get(usize::from(pool.node.id.node.0)).and_then(|node| node.role);
        role == Some(NodeRole::Replica) && self.routing.role != RoleSetting::Replica
    }
}

/// Whether nothing that a session could do ends it, but its own end: the server connection is closed then.
pub(crate) fn is_for_good(reason: PinReason) -> bool {
    matches!(reason, PinReason::Setseed | PinReason::Load)
}

/// One core's count of pins by reason, and which texts were told of.
#[derive(Debug, Default)]
pub struct Pins {
    counts: [Cell<u64>; REASONS.len()],
    transactions: [Cell<u64>; REASONS.len()],
    told: RefCell<HashSet<Box<str>>>,
}

impl Pins {
    /// How often sessions were pinned, by the name of the reason.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.iter().zip(&self.counts).map(|((_, name), count)| (*name, count.get()))
    }

    /// How many transactions of pinned sessions have ended, by the name of the reason.
    pub fn transactions(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.iter().zip(&self.transactions).map(|((_, name), count)| (*name, count.get()))
    }

    pub(crate) fn count(&self, reason: PinReason) {
        add_one(&self.counts, reason);
    }

    pub(crate) fn count_transaction(&self, reason: PinReason) {
        add_one(&self.transactions, reason);
    }

    /// A text pins its session: told once for each that differs by more than its literals. `seen`: by what it says;
    /// otherwise it was found out afterwards.
    pub(crate) fn tell(&self, database: &str, user: &str, reason: PinReason, outline: &str, seen: bool) {
        let mut told = self.told.borrow_mut();
        if told.len() < TOLD && !told.contains(outline) {
            told.insert(outline.into());
            let how = if seen { "says" } else { "hides" };
            tracing::info!(%database, %user, reason = name(reason), how, statement = %outline,
                "a statement ties its session to its server connection");
        }
    }
}

fn add_one(counts: &[Cell<u64>], reason: PinReason) {
    let found = REASONS.iter().zip(counts).find(|((known, _), _)| *known == reason);
    if let Some((_, count)) = found {
        count.set(count.get() + 1);
    }
}
