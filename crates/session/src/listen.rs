//! What a session listens to where its server connections are shared: LISTEN runs on the connection in hand, so that
//! Postgres judges it, and takes effect by the listening connection of the database.
//!
//! A transaction that said LISTEN leaves its connection listening; once it is over, the connection is asked what it
//! listens to, and told to leave it. What it named is the session's from then on, and is confirmed by the listening
//! connection before the client gets its ReadyForQuery. From there all notifications come, the session's own too: a
//! session that listens and has committed something waits for a barrier there before its ReadyForQuery.

mod ask;
mod settle;

use std::collections::HashMap;
use std::task::{Context, Poll};
use std::time::Duration;

use backend::Server;
use backend::listen::{Channel, Subscription};
use config::{NodeRole, PoolMode};
use sql::facts::{Name, PinReason};
use wire::backend::NotificationResponse;
use wire::{encode, frame};

use crate::book::Book;
use crate::reply::{commit_to_answer, drop_message, pass_message};
use crate::work::Work;

/// By then what a connection has notified is heard.
const HEARD: Duration = Duration::from_secs(1);

/// A session listens, or is about to.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    /// Its places at listening connections: one, unless it has said LISTEN on several shards.
    places: Vec<Place>,
    /// LISTEN was sent on the connection in hand, which may listen itself now.
    asked: bool,
    /// The connection in hand listens to all that the session does: what it doesn't any more when it is asked was left.
    shown: bool,
    /// UNLISTENs that are committed and not yet done; `None`: of all.
    left: Vec<Option<Name>>,
    /// A ReadyForQuery came that the client hasn't got yet.
    held_ready: bool,
    /// What was committed since the last barrier may have notified.
    wrote: bool,
    /// Notifications were delivered since its reads last heeded them.
    pub(crate) told: std::cell::Cell<bool>,
}

#[derive(Debug)]
struct Place {
    subscription: Subscription,
    /// Each with its number in the order of the LISTENs.
    channels: HashMap<Channel, usize>,
}

impl Listening {
    /// Ready when there is something to be passed to the client.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let ready = self.places.iter().filter(|place| place.subscription.mailbox().poll(cx).is_ready());
        if ready.count() > 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    fn has(&self, channel: &[u8]) -> bool {
        self.places.iter().any(|place| place.channels.contains_key(channel))
    }
}

impl Book {
    /// LISTEN is being sent. True if the session is to be tied to this connection by it: on a server that is no
    /// primary there is no listening connection.
    #[cold]
    pub(crate) fn note_listen(&mut self, server: &Server) -> bool {
        let pool = &server.handle.pool;
        let view = pool.cluster.view();
        if view.nodes()[usize::from(pool.node.id.node.0)].role == Some(NodeRole::Replica) {
            return true;
        }
        self.listening.get_or_insert_default().asked = true;
        false
    }

    /// Whether this pin holds: LISTEN doesn't tie a session whose notifications come from elsewhere.
    pub(crate) fn is_pinned_by(&self, reason: PinReason) -> bool {
        reason != PinReason::Listen || !self.listening.as_ref().is_some_and(|listening| listening.asked)
    }

    /// Something is sent that may be committed, and may notify: receivers are to know by whom. What the connection
    /// notified for somebody else may be on its way still, if that was a moment ago: it has no name then.
    #[inline]
    pub(crate) fn sign(&self, server: &Server) {
        if !server.sender.is(self.pid) {
            self.sign_anew(server);
        }
    }

    #[cold]
    fn sign_anew(&self, server: &Server) {
        // One that listens has waited until all of that was heard, and is known.
        let heard = !server.notified || server.idle_since.elapsed() > HEARD;
        let listens = self.listening.as_ref().is_some_and(|listening| !listening.places.is_empty());
        server.sender.set((heard && !listens).then_some(self.pid));
    }

    /// UNLISTEN is committed; `None`: of all channels.
    pub(crate) fn note_unlisten(&mut self, names: impl IntoIterator<Item = Option<Name>>) {
        if let Some(listening) = &mut self.listening {
            listening.left.extend(names);
        }
    }

    /// A ReadyForQuery that ends a transaction came: it is held until all is there that belongs before it.
    #[cold]
    pub(crate) fn hold_ready(&mut self, work: &mut Work, total: usize) {
        drop_message(work, total);
        if let Some(listening) = &mut self.listening {
            listening.held_ready = true;
            listening.wrote |= work.may_commit.is_possible();
        }
    }

    /// A notification on the session's own server connection: it is the session's if it listens there.
    #[cold]
    pub(crate) fn hear_notification(&mut self, work: &mut Work, server: &mut Server, total: usize) {
        let pending = work.down.pending();
        let here = pending.len().min(total);
        let said = NotificationResponse::parse(frame::body(&pending[..here]));
        let asked = self.listening.as_ref().filter(|listening| listening.asked);
        let passes = match (&said, asked) {
            _ if self.mode == PoolMode::Session || self.pin == Some(PinReason::Listen) => true,
            // What it listened to before comes from the listening connection.
            (Ok(said), Some(listening)) => !listening.has(said.channel),
            _ => {
                // Somebody has left it listening.
                server.doubt = true;
                false
            }
        };
        let own = said.ok().filter(|said| said.pid == server.handle.pid);
        let renamed = own.and_then(|said| {
            let mut renamed = Vec::new();
            encode::notification_response(&mut renamed, self.pid, said.channel, said.payload).ok()?;
            Some(renamed)
        });
        match renamed {
            _ if !passes => drop_message(work, total),
            None => {
                commit_to_answer(work);
                pass_message(work, total);
            }
            Some(renamed) => {
                commit_to_answer(work);
                drop_message(work, total);
                work.down.inject().extend_from_slice(&renamed);
            }
        }
    }
}
