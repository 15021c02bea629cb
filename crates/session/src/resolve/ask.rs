//! Asking for a transaction's id: when, and what is held back until it is known.

use backend::Lease;
use backend::fate::{ID, LINEAGE, Lineage, Told};
use route::TargetRole;
use sql::facts::{Facts, Kind};
use wire::backend::TransactionStatus;
use wire::frame::{self, Head};
use wire::frontend::{BindHead, Target as Named};
use wire::{ErrorReport, encode, tag};

use super::Resolve;
use crate::expect::Expect;
use crate::loss::MayCommit;
use crate::relay::wait_for_answers;
use crate::session::Session;
use crate::work::{Copy, Planned, Work};

/// The portal of our question: a client's unnamed one may be open.
const PORTAL: &[u8] = b"pgweir: id";

impl Session {
    /// A connection was leased: what it takes to resolve a COMMIT there. The connection may be found to be of no use any
    /// more.
    pub(crate) async fn prepare_resolve(&mut self, work: &mut Work) {
        let Some(held) = &mut self.held else { return };
        let resolvable = held.target.role == TargetRole::Primary
            && !self.book.is_tied()
            && self.book.listening.is_none()
            && work.resolve.is_none();
        if !resolvable {
            return;
        }
        if matches!(held.lease.lineage, Told::Unasked) {
            let limit = held.lease.handle.pool.settings.server_connect_timeout;
            let mut unasked_for = Vec::new();
            let asked = crate::witness::ask(&mut held.lease, LINEAGE, &mut unasked_for, false);
            match tokio::time::timeout(limit, asked).await {
                Ok(Ok(Ok(rows))) => {
                    let lineage = rows.first().and_then(|[timeline, system, life]| {
                        Lineage::from_row(timeline.as_deref()?, system.as_deref()?, life.as_deref()?)
                    });
                    held.lease.lineage =
                        lineage.map_or(Told::Nothing, |lineage| Told::Lineage(lineage.into()));
                }
                Ok(Ok(Err(report))) => {
                    let node = &held.lease.handle.pool.node.name;
                    tracing::warn!(%node, %report, "a server doesn't tell what failover.resolve_commits asks");
                    held.lease.lineage = Told::Nothing;
                }
                Ok(Err(_)) | Err(_) => {
                    // Nothing of the client's was sent there.
                    self.cell.holds.borrow_mut().take();
                    self.held = None;
                    return;
                }
            }
        }
        if let Told::Lineage(lineage) = &held.lease.lineage {
            work.resolve = Some(Resolve::new(std::sync::Arc::clone(lineage)));
        }
    }

    /// A transaction is open, and its client has been answered: the server is asked for its id meanwhile.
    #[cold]
    pub(crate) fn ask_at_rest(&mut self, work: &mut Work) {
        let (Some(held), Some(resolve)) = (&mut self.held, &mut work.resolve) else { return };
        if resolve.ended.is_some() {
            resolve.begin_anew();
            resolve.wrote = true; // that isn't known, and it isn't asked for before its end
        }
        // What is to be said in front of the client's next message has to find the connection at rest.
        let busy = self.book.open_entries.is_some() || self.book.watch.is_some();
        if resolve.queried
            && resolve.wants_id()
            && !busy
            && self.book.gate.is_open()
            && is_at_rest(work, &held.lease)
        {
            ask(work, &mut held.lease);
        }
    }

    /// Whether the message at the front of what is pending ends a transaction whose id isn't known: it is asked for then.
    #[cold]
    pub(crate) fn holds_back(&mut self, work: &mut Work, head: Head) -> bool {
        let (Some(held), Some(resolve)) = (&self.held, &work.resolve) else { return false };
        let ends = match head.tag {
            tag::QUERY => {
                held.in_transaction
                    && matches!(work.planned.back(), Some(Planned::Query(facts)) if commits(facts))
            }
            tag::BIND => held.in_transaction && self.binds_commit(work, head),
            tag::SYNC => {
                !held.in_transaction && work.may_commit == MayCommit::AtSync && resolve.plain && !work.failed
            }
            _ => false,
        };
        if !ends {
            return false;
        }
        if work.expects.asks_for_id() {
            return true;
        }
        if resolve.wants_id() && self.asks_now(work, head) {
            return true;
        }
        let gone_through = work.down.gone_through();
        if let Some(resolve) = &mut work.resolve {
            resolve.ended = Some(gone_through);
        }
        false
    }

    /// Asks, or waits until it can ask. False: it can't.
    fn asks_now(&mut self, work: &mut Work, head: Head) -> bool {
        let Some(held) = &mut self.held else { return false };
        let server = &mut held.lease;
        if !self.book.gate.is_open() && !server.unsynced
            || work.failed
            || server.status == TransactionStatus::Failed
        {
            return false;
        }
        match (head.tag, server.unsynced) {
            (tag::QUERY, true) => return false,
            (tag::QUERY | tag::BIND, false) if server.owed > 0 => return true,
            // A COPY must have begun or ended before.
            (tag::BIND, true) if work.expects.may_copy() => return wait_for_answers(work, server),
            _ => {}
        }
        ask(work, server);
        true
    }

    fn binds_commit(&self, work: &Work, head: Head) -> bool {
        let pending = work.up.pending();
        let body = frame::body(&pending[..head.total.min(pending.len())]);
        let Ok(Some(names)) = BindHead::parse(body, head.body()) else { return false };
        self.book.text(names.statement).is_some_and(|text| commits(&text.facts))
    }

    /// The server's error where it was asked for the id: the client is told when it speaks again.
    #[cold]
    pub(crate) fn refused_id(work: &mut Work) -> Option<ErrorReport> {
        work.resolve.as_mut().and_then(|resolve| resolve.refused.take()).map(|report| *report)
    }
}

fn commits(facts: &Facts) -> bool {
    matches!(&facts.statements[..], [only] if only.kind == Kind::Commit)
}

fn is_at_rest(work: &Work, server: &Lease) -> bool {
    server.status == TransactionStatus::InTransaction
        && server.owed == 0
        && !server.unsynced
        && work.copy == Copy::No
        && work.expects.is_empty()
        && work.up_left.is_none()
}

/// Puts the question behind all that was sent. By itself it ends with a Sync; in a pipeline it is one more statement of
/// it, and its answer is sent at once.
fn ask(work: &mut Work, server: &mut Lease) {
    let out = work.up.inject();
    // What is constant and short always fits.
    encode::parse(out, b"", ID, &[]).unwrap_or_default();
    encode::bind(out, PORTAL, b"", &[]).unwrap_or_default();
    encode::execute(out, PORTAL, 0).unwrap_or_default();
    encode::close(out, Named::Portal, PORTAL).unwrap_or_default();
    server.unnamed = None;
    if server.unsynced {
        encode::flush(out);
        work.expects.push(Expect::Id);
        work.expects.push(Expect::OwnFlush);
    } else {
        encode::sync(out);
        work.expects.push(Expect::Id);
        work.expects.push(Expect::OwnSync);
        work.owe_ready(server);
    }
}
