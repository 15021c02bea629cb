//! Looking behind code: the connection, at rest, is asked what is on it, and the session follows its answer.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use sql::facts::PinReason;
use wire::ErrorReport;

use super::Watch;
use super::examine::{Answer, examine};
use crate::book::PinnedTo;
use crate::cell::{Doing, Signal};
use crate::loss::Broken;
use crate::pins;
use crate::session::{End, Session};
use crate::work::Work;

/// A server that hangs is found by its probes, and its connections are cut then: this is for one that isn't found.
pub(crate) const ANSWERED: Duration = Duration::from_secs(120);

impl Session {
    /// The connection is at rest, and something may be on it that nobody said: asks it.
    ///
    /// # Errors
    /// What ends the session: a connection that it is tied to is lost; no more sessions may be tied.
    pub(crate) async fn look_behind(&mut self, work: &mut Work) -> Result<(), End> {
        let Some(mut watch) = self.book.watch.take() else { return Ok(()) };
        if watch.redefines {
            self.core.context.new_code();
        }
        let Some(held) = self.held.as_mut().filter(|_| watch.ask) else { return Ok(()) };
        held.lease.doubt = true;
        if !held.lease.is_at_rest() {
            return Ok(());
        }
        // It may be gone when the client hears that it is: nobody is refused for that moment.
        let _leaving = self.book.pinned_to.as_ref().filter(|_| watch.may_end).map(PinnedTo::leaves);
        // The client has its answer before anything else is done.
        let flushed = poll_fn(|cx| Poll::Ready(work.down.poll_flush(cx, &mut self.client)));
        if let Poll::Ready(Err(_)) = flushed.await {
            return Err(End::Gone);
        }
        self.cell.set_doing(Doing::Idle, Instant::now());
        let listens = self.book.pin == Some(PinReason::Listen);
        let handle = Rc::clone(&held.lease.handle);
        let asked = examine(&self.core, &mut held.lease, &mut watch, work.down.inject(), listens);
        let asked = tokio::time::timeout(ANSWERED, asked);
        let cut = poll_fn(|cx| {
            let told = self.cell.poll_signal(cx) == Some(Signal::ServerUnusable);
            if told && handle.is_unusable() { Poll::Ready(()) } else { Poll::Pending }
        });
        let asked = tokio::select! {
            asked = asked => asked.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())),
            () = cut => Err(std::io::ErrorKind::ConnectionAborted.into()),
        };
        match asked {
            Ok(Ok(answer)) => {
                if watch.redefines {
                    self.core.context.new_code();
                }
                self.learn(work, &watch, &answer)
            }
            Ok(Err(report)) => {
                // Something cancelled the question, or its time is over by the session's own statement_timeout.
                tracing::debug!(%report, "a server connection could not be asked what is on it");
                self.keep_unasked(watch)
            }
            Err(error) => {
                tracing::debug!(%error, "a server connection was lost while it was asked what is on it");
                held.lease.torn = true;
                // What is gone with it its client believes to be there.
                match self.book.pin.is_some() || watch.may_have_left() {
                    true => Err(self.tied_server_lost(&Broken::Lost)),
                    false => Ok(()),
                }
            }
        }
    }

    /// Nobody knows what code has left: the session keeps its connection until that is known, and what it was that left it.
    #[cold]
    fn keep_unasked(&mut self, watch: Box<Watch>) -> Result<(), End> {
        let Some(held) = self.held.as_mut().filter(|_| watch.may_have_left() || self.book.pin.is_some())
        else {
            return Ok(());
        };
        let reason = *self.book.pin.get_or_insert(PinReason::Doubt);
        if let Some(reason) = watch.traits.keeps() {
            self.book.for_good.get_or_insert(reason);
            held.lease.spent = true;
        }
        self.book.watch = Some(watch);
        if self.book.pinned_to.is_none() {
            let place = PinnedTo::take(&held.lease.handle.pool);
            self.book.pinned_to = Some(place.map_err(|limit| no_place(limit, reason))?);
        }
        Ok(())
    }

    fn learn(&mut self, work: &mut Work, watch: &Watch, answer: &Answer) -> Result<(), End> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let server = &mut *held.lease;
        let was = self.book.pin;
        let ties = answer.keeps.is_some() || !answer.found.pins.is_empty();
        server.spent |= answer.keeps.is_some();
        if ties && self.book.would_tie_to_replica(server) {
            // It stays in doubt: what is there goes, and the next time it is made on the primary.
            watch.texts.iter().for_each(|watched| self.core.learned.learn_tie(&watched.facts));
            return Ok(());
        }
        if let Some(reason) = answer.keeps {
            self.book.for_good.get_or_insert(reason);
        }
        self.book.settle_watch(&self.core, server, watch, answer);
        if !Rc::ptr_eq(&server.parameters, &self.book.told) {
            server.parameters = self.core.pools.intern_parameters(server.parameters.as_ref().clone());
            self.book.tell_held_back(&self.core, work, server);
        }
        let Some(reason) = self.book.pin else {
            self.book.pinned_to = None;
            return Ok(());
        };
        if was.is_none()
            && let [watched] = &watch.texts[..]
        {
            self.core.pins.tell(&self.cell.database, &self.cell.user, reason, &watched.outline, false);
        }
        if self.book.pinned_to.is_none() {
            let place = PinnedTo::take(&server.handle.pool);
            self.book.pinned_to = Some(place.map_err(|limit| no_place(limit, reason))?);
        }
        Ok(())
    }
}

/// A session was found to be tied, and no more of its pool may be.
fn no_place(limit: usize, reason: PinReason) -> ErrorReport {
    crate::admit::no_more_pins(limit, reason).with_severity(wire::Severity::Fatal).with_detail(format!(
        "A function or trigger has left {} in the session, which can't be kept.",
        pins::in_words(reason)
    ))
}
