//! Counts the probes of a node, so that others can wait for one that begins after now.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// The probes of a node.
#[derive(Debug)]
pub(crate) struct Looks {
    begun: AtomicU64,
    /// The number of the last that is over.
    over: watch::Sender<u64>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), over: watch::Sender::new(0) }
    }
}

impl Looks {
    /// Counts a probe.
    pub(crate) async fn count<T>(&self, probe: impl Future<Output = T>) -> T {
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let outcome = probe.await;
        self.over.send_replace(number);
        outcome
    }

    /// Ends when a probe that begins after this call is over.
    pub(crate) fn next(&self) -> impl Future<Output = ()> + Send + use<> {
        let begun = self.begun.load(Ordering::Acquire);
        let mut over = self.over.subscribe();
        async move {
            // A node that is gone is probed no more.
            let _ = over.wait_for(|over| *over > begun).await;
        }
    }
}
