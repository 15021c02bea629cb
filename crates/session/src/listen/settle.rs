//! The end of a listening session's transaction, and what its client is told of notifications.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use backend::listen::{Channel, Closed, Done, Lost, Subscription, to_listen};
use backend::{Lease, SharedPool};
use config::OnLoss;
use sql::facts::{Effect, Name, PinReason};
use wire::backend::TransactionStatus;
use wire::{ErrorReport, SqlState, encode};

use super::{Listening, Place, ask};
use crate::cell::Signal;
use crate::session::{End, Session};
use crate::watch::ANSWERED;
use crate::work::{Planned, Work};

/// Bytes of notifications that are put before the client at once.
const AT_ONCE: usize = 256 << 10;
/// Channels that one session may listen to.
const MAX_CHANNELS: usize = 10_000;

impl Session {
    /// A listening session is about to use its connection: what that has notified for others before is heard first,
    /// so that from here on what it notifies is this session's own. If it is about to be asked what it listens to, it
    /// listens itself for that long; so it does if code is about to run that may say UNLISTEN.
    pub(crate) async fn begin_as_listener(&mut self, work: &Work) -> Result<(), End> {
        let (Some(listening), Some(held)) = (&self.book.listening, &mut self.held) else { return Ok(()) };
        let encoding = self.book.told.get("client_encoding").unwrap_or("UTF8");
        let Some(at) = listening.place_at(&held.lease.handle.pool, encoding) else { return Ok(()) };
        let place = &listening.places[at];
        if std::mem::take(&mut held.lease.notified) {
            let heard = place.subscription.barrier();
            // If the connection is lost, the mailbox says so.
            let _ = self.wait_for(heard).await?;
        }
        let Some(held) = &mut self.held else { return Ok(()) };
        held.lease.sender.set(Some(self.book.pid));
        let asks = asks_for_channels(work)
            || self.book.may_unlisten(&self.core, self.group.shared.id, &held.lease, work);
        if let Some(listening) = self.book.listening.as_mut().filter(|_| asks) {
            (listening.asked, listening.shown) = (true, true);
            let sql = to_listen(listening.places[at].in_order());
            if crate::reclaim::execute(&mut held.lease, &sql).await.is_err() {
                held.lease.torn = true;
            }
        }
        Ok(())
    }

    /// The end of a listening session's transaction: its LISTENs and UNLISTENs take effect, what was notified up to
    /// now is delivered, and then the client gets its ReadyForQuery.
    pub(crate) async fn settle_listening(&mut self, work: &mut Work) -> Result<(), End> {
        let Some(mut listening) = self.book.listening.take() else { return Ok(()) };
        let outcome = if std::mem::take(&mut listening.held_ready) {
            let done = self.take_effect(work, &mut listening).await;
            let delivered = listening.deliver(work, usize::MAX);
            encode::ready_for_query(work.down.inject(), TransactionStatus::Idle);
            done.and(delivered.map(drop))
        } else {
            // The server was lost, and the client told. If it is there, nobody has asked what it listens to.
            if let Some(held) = &mut self.held {
                held.lease.doubt |= listening.asked;
            }
            Ok(())
        };
        (listening.asked, listening.shown) = (false, false);
        if !listening.places.is_empty() {
            self.book.listening = Some(listening);
        }
        outcome
    }

    async fn take_effect(&mut self, work: &mut Work, listening: &mut Listening) -> Result<(), End> {
        let Some(held) = &mut self.held else {
            let unknown = "the server connection on which LISTEN ran was lost";
            return if listening.asked { Err(lost(&Lost(unknown.to_owned()))) } else { Ok(()) };
        };
        let pool = std::sync::Arc::clone(&held.lease.handle.pool);
        let encoding = self.book.told.get("client_encoding").unwrap_or("UTF8").to_owned();
        let asked = if listening.asked { take_channels(&mut held.lease, work).await? } else { Vec::new() };
        if listening.asked && self.book.pin == Some(PinReason::Listen) {
            self.book.ask(); // it needn't be tied by that any more
        }
        let left = std::mem::take(&mut listening.left);
        let at = listening.place_at(&pool, &encoding);
        let shown = listening.shown;
        if let (Some(at), true) = (at, shown || !left.is_empty()) {
            let place = &mut listening.places[at];
            let mut gone = place.take_out(&left, &asked);
            if shown {
                gone.extend(
                    place.channels.extract_if(|known, _| !asked.contains(known)).map(|(known, _)| known),
                );
            }
            let done = place.subscription.leave(gone);
            let _ = self.wait_for(done).await?;
        }
        let new: Vec<Channel> = asked.into_iter().filter(|channel| !listening.has_at(at, channel)).collect();
        let wrote = std::mem::take(&mut listening.wrote);
        if !new.is_empty() {
            let keep = self.group.shared.pool.listen_on_loss == OnLoss::Keep;
            let place = listening.place_for(at, &pool, &encoding, keep);
            if place.channels.len() + new.len() > MAX_CHANNELS {
                return Err(too_many());
            }
            place.channels.extend(new.iter().cloned().zip(place.next_number()..));
            let listens = place.subscription.listen(new);
            self.wait_for(listens).await?.map_err(|why| lost(&why))?;
        } else if let (Some(at), true) = (at, wrote) {
            // If the connection is lost, the mailbox says so.
            let heard = listening.places[at].subscription.barrier();
            let _ = self.wait_for(heard).await?;
        }
        if wrote
            && at.is_some()
            && let Some(held) = &mut self.held
        {
            held.lease.notified = false;
        }
        if shown || !left.is_empty() {
            for place in &listening.places {
                place.subscription.mailbox().keep_only(|channel| place.channels.contains_key(channel));
            }
        }
        listening.places.retain(|place| !place.channels.is_empty());
        Ok(())
    }

    /// Waits for the listening connection. Whoever wants the session to end needn't.
    async fn wait_for(&self, mut done: Done) -> Result<Result<(), Lost>, End> {
        poll_fn(|cx| {
            if let Some(Signal::Kill(_)) = self.cell.poll_signal(cx) {
                return Poll::Ready(Err(End::from(crate::leave::shutdown())));
            }
            let gone = || Lost("nobody answers".to_owned());
            Pin::new(&mut done).poll(cx).map(|answer| Ok(answer.unwrap_or_else(|_| Err(gone()))))
        })
        .await
    }

    /// Puts before an idle client what has come for it. Ready when the session ends by that; else woken by more.
    #[cold]
    pub(crate) fn poll_mail(&mut self, cx: &TaskContext<'_>, work: &mut Work) -> Poll<End> {
        let Some(listening) = &self.book.listening else { return Poll::Pending };
        if self.book.begun.is_some() || work.skipping {
            return Poll::Pending;
        }
        while work.down.unsent_out() < AT_ONCE && listening.poll(cx).is_ready() {
            if let Err(end) = listening.deliver(work, AT_ONCE) {
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    }

    /// What has come for a client whose transaction ended without a server goes before its ReadyForQuery.
    #[cold]
    pub(crate) fn deliver_here(&self, work: &mut Work) {
        if let Some(listening) = &self.book.listening
            && self.book.begun.is_none()
        {
            // Why it ends is told when it is idle.
            let _ = listening.deliver(work, AT_ONCE);
        }
    }
}

impl Listening {
    /// Its place at the listening connection for what this pool connects to.
    fn place_at(&self, pool: &SharedPool, encoding: &str) -> Option<usize> {
        let here = |place: &Place| place.subscription.is_at(&pool.cluster, &pool.login, encoding);
        self.places.iter().position(here)
    }

    fn has_at(&self, at: Option<usize>, channel: &[u8]) -> bool {
        at.is_some_and(|at| self.places[at].channels.contains_key(channel))
    }

    fn place_for(&mut self, at: Option<usize>, pool: &SharedPool, encoding: &str, keep: bool) -> &mut Place {
        let at = at.unwrap_or_else(|| {
            let subscription = Subscription::new(&pool.cluster, &pool.login, encoding, keep);
            self.places.push(Place { subscription, channels: HashMap::new() });
            self.places.len() - 1
        });
        &mut self.places[at]
    }

    /// Appends what has come to what the client gets.
    fn deliver(&self, work: &mut Work, room: usize) -> Result<(), End> {
        let mut closed = Ok(());
        let before = work.down.unsent_out();
        for place in &self.places {
            if let Err(why) = place.subscription.mailbox().take(room, work.down.inject()) {
                closed = Err(closed_by(why));
            }
        }
        self.told.set(self.told.get() || work.down.unsent_out() > before);
        closed
    }
}

impl Place {
    /// Takes out the channels that were left, but for those that were listened to again after that.
    fn take_out(&mut self, left: &[Option<Name>], again: &[Channel]) -> Vec<Channel> {
        let named = |channel: &Channel| left.iter().flatten().any(|name| *name.as_bytes() == **channel);
        let all = left.contains(&None);
        let gone = |channel: &Channel, _: &mut usize| (all || named(channel)) && !again.contains(channel);
        self.channels.extract_if(gone).map(|(channel, _)| channel).collect()
    }

    fn next_number(&self) -> usize {
        self.channels.values().max().map_or(0, |last| last + 1)
    }

    /// The channels in the order in which they were listened to.
    fn in_order(&self) -> Vec<&Channel> {
        let mut channels: Vec<_> = self.channels.iter().collect();
        channels.sort_by_key(|(_, number)| **number);
        channels.into_iter().map(|(channel, _)| channel).collect()
    }
}

/// Whether a request calls `pg_listening_channels`.
fn asks_for_channels(work: &Work) -> bool {
    let facts = work.planned.iter().map(|planned| match planned {
        Planned::Query(facts) | Planned::Names(facts) => facts,
        Planned::Parse { text, .. } => &text.facts,
    });
    facts.flat_map(|facts| &facts.statements).flat_map(|s| &s.effects).any(|e| *e == Effect::Channels)
}

/// What the connection listens to; it doesn't any more then.
async fn take_channels(lease: &mut Lease, work: &mut Work) -> Result<Vec<Channel>, End> {
    let unread = work.down.pending().to_vec();
    work.down.drop_pending();
    let asked = tokio::time::timeout(ANSWERED, ask::take_channels(lease, unread)).await;
    match asked {
        Ok(Ok(channels)) => Ok(channels),
        Ok(Err(error)) => Err(lost(&Lost(error.to_string()))),
        Err(_) => Err(lost(&Lost("the server doesn't say what it listens to".to_owned()))),
    }
}

fn lost(why: &Lost) -> End {
    ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "the connection that listens for this session was lost")
        .with_detail(format!("Notifications may have been missed: {}", why.0))
        .with_hint("Connect and LISTEN again.")
        .into()
}

fn closed_by(why: Closed) -> End {
    match why {
        Closed::Lost => {
            let message = "the connection that listens for this session was lost";
            ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, message)
                .with_detail("Notifications may have been missed.")
                .with_hint(
                    "Connect and LISTEN again, or set pool.listen_on_loss: keep to go on without being told.",
                )
                .into()
        }
        Closed::Overflow => {
            let message = "too many notifications wait for this client to read them";
            ErrorReport::fatal(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message)
                .with_detail(format!("More than {} bytes.", backend::listen::MAX_UNREAD))
                .with_hint("Read while you listen, and don't stay in a transaction for long.")
                .into()
        }
    }
}

fn too_many() -> End {
    let message = format!("a session may listen to {MAX_CHANNELS} channels");
    ErrorReport::fatal(SqlState::PROGRAM_LIMIT_EXCEEDED, message).into()
}
