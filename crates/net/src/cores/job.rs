//! The home of a core's queue: closures sent to it by other threads.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::CoreIndex;

/// The core has stopped, or it dropped the answer (its closure panicked).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("core {0} is gone")]
pub struct CoreGone(pub usize);

type Job<S> = Box<dyn FnOnce(&Rc<S>) + Send>;

pub(super) enum Message<S> {
    Run(Job<S>),
    Stop,
}

/// The way to a core from any thread. Cloning is cheap.
pub struct CoreHandle<S> {
    index: CoreIndex,
    queue: mpsc::UnboundedSender<Message<S>>,
}

impl<S: 'static> CoreHandle<S> {
    /// Has the closure run on the core's thread, inside its runtime: it may `tokio::task::spawn_local`. Closures of
    /// one sender run in order. One that panics is logged and harms nobody else.
    pub fn run(&self, job: impl FnOnce(&Rc<S>) + Send + 'static) -> Result<(), CoreGone> {
        self.queue.send(Message::Run(Box::new(job))).map_err(|_| CoreGone(self.index.0))
    }

    /// The same, with an answer.
    pub async fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Rc<S>) -> R + Send + 'static,
    ) -> Result<R, CoreGone> {
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have gone; the answer is dropped then.
        self.run(move |state| drop(reply.send(question(state))))?;
        answer.await.map_err(|_| CoreGone(self.index.0))
    }
}

impl<S> CoreHandle<S> {
    /// Which core it leads to.
    pub fn index(&self) -> CoreIndex {
        self.index
    }

    pub(super) fn new(index: usize) -> (Self, mpsc::UnboundedReceiver<Message<S>>) {
        let (queue, inbox) = mpsc::unbounded_channel();
        (CoreHandle { index: CoreIndex(index), queue }, inbox)
    }

    pub(super) fn stop(&self) {
        // A core that has stopped already needs no telling.
        drop(self.queue.send(Message::Stop));
    }
}

impl<S> Clone for CoreHandle<S> {
    fn clone(&self) -> Self {
        CoreHandle { index: self.index, queue: self.queue.clone() }
    }
}

impl<S> fmt::Debug for CoreHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CoreHandle").field(&self.index.0).finish()
    }
}

/// Runs what comes until told to stop.
pub(super) async fn work<S>(index: CoreIndex, state: &Rc<S>, mut inbox: mpsc::UnboundedReceiver<Message<S>>) {
    while let Some(Message::Run(job)) = inbox.recv().await {
        // The state is the core's own, and a job that panics half-way is a bug of that job; the clients of this core
        // are better served by a core that goes on.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(state))) {
            tracing::error!(core = index.0, panic = reason(panic.as_ref()), "a job on a core panicked");
        }
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of unknown type")
}
