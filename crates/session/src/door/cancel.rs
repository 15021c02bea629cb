//! The home of cancel requests: to the right core if the key is right, and not too many guesses.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::context::Context;

/// Wrong keys that are looked up in a second, over all clients.
const GUESSES_PER_SECOND: u32 = 100;

/// Guesses that may come at once after a quiet time.
const BURST: u32 = 200;

/// A cancel that would have to wait longer than this for its turn is dropped without a look at its key.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bounds how fast keys can be guessed: a key of protocol 3.0 has 32 bits only. A right key costs nothing, so a burst
/// of real cancels is not slowed down.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    /// When all guesses so far will have been paid for.
    paid: Mutex<Option<Instant>>,
}

impl Guesses {
    /// Takes a turn: how long to wait for it; `None` if that is too long.
    fn take(&self, now: Instant) -> Option<Duration> {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = paid.map_or(now, |paid| paid.max(now));
        let wait = (begin - now).saturating_sub(price() * BURST);
        if wait > PATIENCE {
            return None;
        }
        *paid = Some(begin + price());
        Some(wait)
    }

    /// Gives the turn back: the key was right.
    fn give_back(&self) {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = paid.and_then(|paid| paid.checked_sub(price()));
    }
}

fn price() -> Duration {
    Duration::from_secs(1) / GUESSES_PER_SECOND
}

/// Cancels what the session with this key does. The client isn't told anything either way (protocol chapter,
/// "Canceling Requests in Progress"), but that its connection is closed when the request has reached the server, as
/// Postgres does: who waits for that knows that no later statement is hit.
pub(super) async fn cancel(context: &Context, guesses: &Guesses, pid: u32, key: &[u8]) {
    let Some(wait) = guesses.take(Instant::now()) else {
        tracing::debug!(pid, "too many cancel requests with wrong keys: one was dropped unread");
        return;
    };
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let Some(core) = context.seats.find(pid, key) else {
        tracing::info!(pid, "a cancel request with a wrong key");
        return;
    };
    guesses.give_back();
    let Some(handle) = context.cores.get().and_then(|cores| cores.get(core)) else { return };
    let (begun, over) = oneshot::channel();
    match handle.run(move |core| core.cancel(pid, begun)) {
        // Dropped, not sent to, when it is over.
        Ok(()) => drop(over.await),
        Err(gone) => tracing::debug!(pid, %gone, "a cancel request came too late"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_keys_wait_after_a_burst_and_are_dropped_after_many() {
        let guesses = Guesses::default();
        let now = Instant::now();
        let free = (0..=BURST).filter(|_| guesses.take(now) == Some(Duration::ZERO)).count();
        assert_eq!(free, usize::try_from(BURST).unwrap() + 1);
        assert_eq!(guesses.take(now), Some(price()));
        let waiting = (0..100_000).filter(|_| guesses.take(now).is_some()).count();
        assert_eq!(waiting, 199, "two seconds of turns, less the one above");
        assert_eq!(guesses.take(now), None);
        assert!(guesses.take(now + Duration::from_secs(1)).is_some());
    }

    #[test]
    fn right_keys_are_free() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(guesses.take(now), Some(Duration::ZERO));
            guesses.give_back();
        }
    }

    #[test]
    fn quiet_times_pay() {
        let guesses = Guesses::default();
        let now = Instant::now();
        while guesses.take(now).is_some() {}
        assert_eq!(guesses.take(now + Duration::from_secs(10)), Some(Duration::ZERO));
    }
}
