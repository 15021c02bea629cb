//! Ctrl-C and SIGTERM, from the first moment on: whatever has been started by then is taken down in good order.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The wish to stop.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    requested: bool,
}

impl Stop {
    /// From now on the signals no longer end the process by themselves.
    pub(super) fn listen() -> anyhow::Result<Stop> {
        let listen = |kind| signal(kind).context("signals cannot be handled");
        Ok(Stop {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            requested: false,
        })
    }

    /// Completes as soon as somebody wishes to stop, and at once ever after.
    pub(super) async fn requested(&mut self) {
        if !self.requested {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            self.requested = true;
        }
    }
}
