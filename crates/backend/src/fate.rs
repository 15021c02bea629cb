//! What became of a transaction whose COMMIT was sent and not answered, as far as it can be proved.
//!
//! A server is asked for the status of the transaction's id. But an id may be given anew: by a server that has crashed
//! and lost the end of its log, and by a replica that was promoted without it. So the log's position was learned
//! together with the id. What the transaction wrote to the log begins before that, and its commit comes behind: a log
//! that reaches that far knows the id, and one that doesn't has no commit of it. A transaction that had nothing in the
//! log by then has changed nothing that outlives a crash.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use route::Identity;
use tokio::sync::{Notify, oneshot};

/// What a server says of itself, where it lets everybody ask for ids and positions: its timeline, its system identifier,
/// and its life. A standby says nothing, and one older than Postgres 13 doesn't know what it is asked.
pub const LINEAGE: &str = "\
    SELECT \"left\"(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8),
           (SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()),
           pg_catalog.concat_ws('/',
               pg_catalog.to_char(pg_catalog.timezone('UTC', pg_catalog.pg_postmaster_start_time()),
                   'YYYYMMDDHH24MISSUS'),
               pg_catalog.to_char(pg_catalog.timezone('UTC', pg_catalog.pg_stat_get_bgwriter_stat_reset_time()),
                   'YYYYMMDDHH24MISSUS'))
    WHERE NOT pg_catalog.pg_is_in_recovery()
      AND pg_catalog.has_function_privilege('public', 'pg_catalog.pg_current_wal_insert_lsn()', 'EXECUTE')
      AND pg_catalog.has_function_privilege('public', 'pg_catalog.pg_current_xact_id_if_assigned()', 'EXECUTE')";

/// Asks for the id of the open transaction, if it has one, and the position.
pub const ID: &[u8] = b"SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text, \
    pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text";

/// Which life of which server a connection reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    pub(crate) system: u64,
    pub(crate) timeline: u32,
    /// When it was started, and when its counters were: a crash sets them back, though the postmaster lives.
    pub(crate) life: Box<str>,
}

/// What is known of the lineage of a server connection.
#[derive(Debug, Clone, Default)]
pub enum Told {
    /// It hasn't been asked.
    #[default]
    Unasked,
    /// It doesn't say.
    Nothing,
    /// This.
    Lineage(Arc<Lineage>),
}

/// A transaction, with what it takes to find out what became of it.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its id, with its epoch.
    pub(crate) id: u64,
    /// Where the log was when the id was learned.
    pub(crate) at: u64,
    pub(crate) lineage: Arc<Lineage>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Committed,
    /// It isn't, and won't be.
    RolledBack,
    /// That can't be proved: why, in words.
    Unproved(&'static str),
}

/// What a primary says of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Committed,
    Aborted,
    /// Somebody is still at it.
    InProgress,
    /// It has yet to be given.
    Future,
    /// It was given too long ago.
    Forgotten,
}

/// A primary that is asked.
#[derive(Debug)]
pub(crate) struct Primary {
    pub(crate) lineage: Lineage,
    /// When it was started, as its node was seen with.
    pub(crate) started: i64,
    /// Where its log is.
    pub(crate) at: u64,
}

/// Where a node's log was when it was last seen in recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replayed {
    pub(crate) identity: Identity,
    pub(crate) at: u64,
}

/// Transactions that somebody waits to be told of.
#[derive(Debug, Default)]
pub struct Fates {
    open: Mutex<Vec<Open>>,
    pub(crate) wake: Notify,
}

#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) transaction: Transaction,
    pub(crate) told: oneshot::Sender<Fate>,
}

impl Lineage {
    /// The row that `LINEAGE` gave.
    pub fn from_row(timeline: &str, system: &str, life: &str) -> Option<Self> {
        let timeline = u32::from_str_radix(timeline, 16).ok()?;
        // It is unsigned, and shown as a signed number.
        let system = system.parse::<i64>().ok()?.cast_unsigned();
        // Both of its parts.
        (life.len() == 41).then(|| Self { system, timeline, life: life.into() })
    }
}

impl Transaction {
    /// The row that `ID` gave.
    pub fn from_row(id: &str, at: &str, lineage: &Arc<Lineage>) -> Option<Self> {
        Some(Self { id: id.parse().ok()?, at: position(at)?, lineage: Arc::clone(lineage) })
    }
}

/// A position as Postgres writes it.
pub(crate) fn position(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from(u32::from_str_radix(high, 16).ok()?) << 32 | u64::from(u32::from_str_radix(low, 16).ok()?))
}

/// `None`: it isn't decided yet. `replayed`: what is known of the node of this primary.
pub(crate) fn judge(
    transaction: &Transaction,
    status: Status,
    now: &Primary,
    replayed: Option<Replayed>,
) -> Option<Fate> {
    let was = &*transaction.lineage;
    if now.lineage.system != was.system || now.lineage.timeline < was.timeline {
        return Some(Fate::Unproved("the primary isn't the one that it was, nor its successor"));
    }
    match status {
        // If the id is another's by now, this one's log has not survived.
        Status::Aborted | Status::Future => Some(Fate::RolledBack),
        Status::InProgress => None,
        Status::Forgotten => Some(Fate::Unproved("the server doesn't know the transaction any more")),
        Status::Committed if now.lineage == *was => Some(Fate::Committed),
        Status::Committed if now.lineage.timeline == was.timeline => Some(if now.at < transaction.at {
            Fate::RolledBack
        } else {
            Fate::Unproved("the server was started again, and may have given the id anew")
        }),
        Status::Committed => Some(match replayed {
            Some(Replayed { identity, at })
                if identity.system == was.system
                    && identity.timeline == was.timeline
                    && identity.started == now.started
                    && at >= transaction.at =>
            {
                Fate::Committed
            }
            _ => {
                Fate::Unproved("the new primary may not have had the transaction, and have given its id anew")
            }
        }),
    }
}

impl Fates {
    /// What became of a transaction, as soon as that is known. An error: nobody will ever tell.
    pub fn ask(&self, transaction: Transaction) -> oneshot::Receiver<Fate> {
        let (told, fate) = oneshot::channel();
        self.lock().push(Open { transaction, told });
        self.wake.notify_one();
        fate
    }

    /// Takes those that somebody still waits for.
    pub(crate) fn take(&self) -> Vec<Open> {
        let mut open = std::mem::take(&mut *self.lock());
        open.retain(|open| !open.told.is_closed());
        open
    }

    pub(crate) fn put_back(&self, open: Vec<Open>) {
        self.lock().extend(open);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: u64 = 7;

    fn lineage(timeline: u32, life: &str) -> Lineage {
        Lineage { system: SYSTEM, timeline, life: life.into() }
    }

    fn transaction() -> Transaction {
        Transaction { id: 800, at: 1000, lineage: Arc::new(lineage(3, "a")) }
    }

    fn judged(status: Status, now: Lineage, at: u64, replayed: Option<Replayed>) -> Option<Fate> {
        judge(&transaction(), status, &Primary { lineage: now, started: 9, at }, replayed)
    }

    fn replayed(timeline: u32, started: i64, at: u64) -> Option<Replayed> {
        Some(Replayed { identity: Identity { system: SYSTEM, timeline, started }, at })
    }

    #[test]
    fn the_same_life_of_the_same_server_is_believed() {
        let same = || lineage(3, "a");
        assert_eq!(judged(Status::Committed, same(), 2000, None), Some(Fate::Committed));
        assert_eq!(judged(Status::Aborted, same(), 2000, None), Some(Fate::RolledBack));
        assert_eq!(judged(Status::InProgress, same(), 2000, None), None);
        assert!(matches!(judged(Status::Forgotten, same(), 2000, None), Some(Fate::Unproved(_))));
    }

    #[test]
    fn another_life_may_have_given_the_id_anew() {
        let next = || lineage(3, "b");
        assert!(matches!(judged(Status::Committed, next(), 2000, None), Some(Fate::Unproved(_))));
        // Its log has not even come as far again.
        assert_eq!(judged(Status::Committed, next(), 999, None), Some(Fate::RolledBack));
        for status in [Status::Aborted, Status::Future] {
            assert_eq!(judged(status, next(), 2000, None), Some(Fate::RolledBack));
        }
    }

    #[test]
    fn a_successor_is_believed_if_it_had_replayed_as_much() {
        let next = || lineage(4, "b");
        assert_eq!(judged(Status::Committed, next(), 2000, replayed(3, 9, 1000)), Some(Fate::Committed));
        let doubtful = [
            None,
            replayed(3, 9, 999),
            // Another start of it, or another server of that name, and another timeline.
            replayed(3, 8, 1000),
            replayed(2, 9, 1000),
            replayed(4, 9, 1000),
        ];
        for replayed in doubtful {
            let fate = judged(Status::Committed, next(), 2000, replayed);
            assert!(matches!(fate, Some(Fate::Unproved(_))), "{replayed:?}: {fate:?}");
        }
        assert_eq!(judged(Status::Future, next(), 2000, None), Some(Fate::RolledBack));
    }

    #[test]
    fn nothing_is_learned_of_another_cluster_or_from_the_past() {
        for lineage in [Lineage { system: 8, ..lineage(4, "b") }, lineage(2, "b")] {
            for status in [Status::Committed, Status::Aborted, Status::Future] {
                let fate = judged(status, lineage.clone(), 2000, replayed(3, 9, 1000));
                assert!(matches!(fate, Some(Fate::Unproved(_))), "{lineage:?}");
            }
        }
    }

    #[test]
    fn rows_are_read() {
        let life = "20261123032709123456/20261123032709123456";
        let lineage = Arc::new(Lineage::from_row("0000000A", "-1", life).unwrap());
        assert_eq!((lineage.timeline, lineage.system), (10, u64::MAX));
        assert_eq!(Lineage::from_row("0000000A", "-1", "20261123032709123456"), None, "a part is missing");
        let transaction = Transaction::from_row("4294968000", "1/16B3748", &lineage).unwrap();
        assert_eq!((transaction.id, transaction.at), (4_294_968_000, 0x1_016B_3748));
        assert!(Transaction::from_row("", "0/1", &lineage).is_none());
    }
}
