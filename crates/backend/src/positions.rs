//! What the cores know of a cluster's positions: how many rounds have begun, and which each node has covered.
//!
//! Written by the sampler (`control/positions.rs`) and read on the way of every read that must have seen something: a
//! few loads. The sampler rests unless somebody asks.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use route::consistency::{Rounds, Sample, Token};
use route::view::NodeIndex;
use tokio::sync::{Notify, watch};

/// After so many waits in vain reads wait no more, but for one in `TRY_AGAIN`.
const FUTILE: u32 = 8;
const TRY_AGAIN: u32 = 32;

/// The positions of one cluster.
#[derive(Debug)]
pub struct Positions {
    /// The last round that has begun.
    begun: AtomicU64,
    nodes: Box<[NodePosition]>,
    rounds: Mutex<Rounds>,
    /// Somebody commits without waiting for the log to be kept: the flushed position doesn't cover all.
    commits_early: AtomicBool,
    /// The highest round that somebody waits for, and until when, in nanoseconds of `since_start`.
    wanted: AtomicU64,
    wanted_until: AtomicU64,
    /// A round would be of use, and nobody waits for it.
    of_use: AtomicBool,
    wake: Notify,
    /// When the last round began, in nanoseconds of `since_start`.
    last: AtomicU64,
    changes: watch::Sender<u64>,
    /// Waits in a row that were in vain, and reads since that didn't wait.
    futile: AtomicU32,
    /// For whoever counts.
    pub counts: PositionCounts,
}

/// How often what happened, over all cores.
#[derive(Debug, Default)]
pub struct PositionCounts {
    /// Reads that waited for a round.
    pub waits: AtomicU64,
    /// Reads that went to the primary because no replica had seen enough.
    pub diverted: AtomicU64,
}

/// One node's; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct NodePosition {
    /// Why it doesn't tell its position, if it doesn't.
    untold: Mutex<Option<Arc<str>>>,
    covered: AtomicU64,
    /// By time alone.
    by_time: AtomicBool,
    /// When it was asked for what `covered` is about, in nanoseconds of `since_start`.
    asked: AtomicU64,
}

impl Positions {
    pub(crate) fn new(nodes: usize) -> Self {
        LazyLock::force(&START);
        Self {
            begun: AtomicU64::new(0),
            nodes: (0..nodes).map(|_| NodePosition::default()).collect(),
            rounds: Mutex::new(Rounds::new(nodes, Duration::from_secs(3600))),
            commits_early: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            wanted_until: AtomicU64::new(0),
            of_use: AtomicBool::new(false),
            wake: Notify::new(),
            last: AtomicU64::new(0),
            changes: watch::Sender::new(0),
            futile: AtomicU32::new(0),
            counts: PositionCounts::default(),
        }
    }

    /// A round that begins from now on: it covers all that was acknowledged until now.
    #[inline]
    pub fn next_round(&self) -> u64 {
        self.begun.load(Ordering::Acquire) + 1
    }

    /// The last round that a node has covered.
    #[inline]
    pub fn covered(&self, node: NodeIndex) -> u64 {
        self.nodes.get(usize::from(node.0)).map_or(0, |node| node.covered.load(Ordering::Acquire))
    }

    /// Whether time alone says what a node has covered.
    pub fn goes_by_time(&self, node: NodeIndex) -> bool {
        self.nodes.get(usize::from(node.0)).is_some_and(|node| node.by_time.load(Ordering::Relaxed))
    }

    /// Whether the server at the other end of a live connection that was opened then has covered a round. It is the
    /// server that was asked only if it was asked later: a node may have been started again in between.
    #[inline]
    pub fn has_covered(&self, node: NodeIndex, round: u64, opened: Instant) -> bool {
        let Some(node) = self.nodes.get(usize::from(node.0)) else { return false };
        let asked = node.asked.load(Ordering::Acquire);
        nanos(opened) < asked && node.covered.load(Ordering::Relaxed) >= round
    }

    /// A node that doesn't tell its position, or whose primary doesn't, has covered a round after so long.
    pub(crate) fn assume(&self, lag: Duration) {
        self.lock().assume(lag);
    }

    /// Why a node doesn't tell its position; `None`: it does, or wasn't asked yet.
    pub fn why_untold(&self, node: NodeIndex) -> Option<Arc<str>> {
        let node = self.nodes.get(usize::from(node.0))?;
        node.untold.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It doesn't tell, for this reason, or does again. Whether that is new.
    pub(crate) fn note_untold(&self, node: NodeIndex, why: Option<Arc<str>>) -> bool {
        let Some(node) = self.nodes.get(usize::from(node.0)) else { return false };
        let mut untold = node.untold.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = untold.is_some() != why.is_some();
        *untold = why;
        changes
    }

    /// Somebody waits for this round until then.
    pub fn ask(&self, round: u64, until: Instant) {
        self.wanted.fetch_max(round, Ordering::AcqRel);
        self.wanted_until.fetch_max(nanos(until), Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// A round would be of use to somebody who doesn't wait for it.
    #[inline]
    pub fn suggest(&self) {
        if !self.of_use.load(Ordering::Relaxed) && !self.of_use.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// A read has waited for a replica, in vain or not.
    pub fn note_wait(&self, in_time: bool) {
        if in_time {
            self.futile.store(0, Ordering::Relaxed);
        } else {
            self.futile.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a replica may be expected to catch up in time: not where the last waits were all in vain and none had
    /// covered the last round, but for one read in a while.
    pub fn is_worth_waiting(&self) -> bool {
        let begun = self.begun();
        let current = || self.nodes.iter().any(|node| node.covered.load(Ordering::Relaxed) >= begun);
        if self.futile.load(Ordering::Relaxed) < FUTILE || current() {
            return true;
        }
        self.suggest();
        self.futile.fetch_add(1, Ordering::Relaxed).is_multiple_of(TRY_AGAIN)
    }

    /// Since the last round began; `None`: none has.
    pub fn age(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed);
        (last > 0).then(|| since_start().saturating_sub(Duration::from_nanos(last)))
    }

    /// Somebody commits without waiting for the log to be kept.
    pub fn note_early_commits(&self) {
        if !self.commits_early.swap(true, Ordering::Relaxed) {
            tracing::info!(
                "synchronous_commit is off for somebody: positions are those inserted, not those flushed"
            );
        }
    }

    /// Tells of each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The primary's position in the last round of which it is known, with the round.
    pub fn latest(&self) -> Option<(u64, Token)> {
        self.lock().latest()
    }

    /// The round that covers what a token stands for. What comes from another system or timeline can't be compared:
    /// it stands for all that is there now.
    pub fn round_of(&self, token: &Token) -> u64 {
        let known = self.lock().round_of(token);
        known.unwrap_or_else(|| self.next_round())
    }

    pub(crate) fn commit_early(&self) -> bool {
        self.commits_early.load(Ordering::Relaxed)
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The round that somebody waits for, and until when.
    pub(crate) fn wanted(&self) -> (u64, Instant) {
        let until = Duration::from_nanos(self.wanted_until.load(Ordering::Acquire));
        (self.wanted.load(Ordering::Acquire), *START + until)
    }

    pub(crate) fn is_suggested(&self) -> bool {
        self.of_use.load(Ordering::Relaxed)
    }

    /// Begins a round: whoever is asked from here on is asked in it.
    pub(crate) fn begin(&self) -> u64 {
        self.of_use.store(false, Ordering::Release);
        self.last.store(nanos(Instant::now()), Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    pub(crate) fn timeline(&self) -> Option<u32> {
        self.lock().timeline()
    }

    /// A node was asked then, and said this.
    pub(crate) fn publish(&self, node: NodeIndex, asked: Instant, sample: &Sample, is_primary: bool) {
        let mut rounds = self.lock();
        if is_primary {
            rounds.primary(node, sample, since_start());
        } else {
            rounds.replica(node, sample, since_start());
        }
        self.tell(&rounds);
        if let Some(position) = self.nodes.get(usize::from(node.0)) {
            position.asked.store(nanos(asked), Ordering::Release);
        }
        drop(rounds);
        self.changes.send_modify(|n| *n += 1);
    }

    /// A node can't be asked: it may come back as another server.
    pub(crate) fn lose(&self, node: NodeIndex) {
        let mut rounds = self.lock();
        rounds.lost(node);
        self.tell(&rounds);
    }

    fn tell(&self, rounds: &Rounds) {
        for (index, node) in (0..).map(NodeIndex).zip(&self.nodes) {
            node.covered.store(rounds.covered(index), Ordering::Release);
            node.by_time.store(rounds.goes_by_time(index), Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn since_start() -> Duration {
    START.elapsed()
}

/// In nanoseconds of `since_start`; 584 years of them fit.
fn nanos(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use route::consistency::Position;

    fn sample(round: u64, position: Position) -> Sample {
        Sample { round, position, identity: None }
    }

    #[test]
    fn a_connection_that_was_opened_after_the_sample_is_not_covered_by_it() {
        let positions = Positions::new(2);
        let (primary, replica) = (NodeIndex(0), NodeIndex(1));
        let tick = || {
            std::thread::sleep(Duration::from_millis(1));
            Instant::now()
        };
        let early = tick();
        let round = positions.next_round();
        assert_eq!(positions.begin(), round);
        let asked = tick();
        positions.publish(primary, asked, &sample(round, Position::Primary(100)), true);
        positions.publish(replica, asked, &sample(round, Position::Replica(100)), false);
        let late = tick();
        assert!(positions.has_covered(replica, round, early));
        assert!(!positions.has_covered(replica, round, late), "the node may be another server since");
        assert!(!positions.has_covered(replica, round + 1, early));
        positions.lose(replica);
        assert_eq!(positions.covered(replica), 0);
        assert!(!positions.has_covered(replica, round, early));
    }

    #[test]
    fn a_suggestion_is_made_once_for_each_round() {
        let positions = Positions::new(2);
        positions.suggest();
        positions.suggest();
        assert!(positions.is_suggested());
        positions.begin();
        assert!(!positions.is_suggested());
        let until = Instant::now() + Duration::from_secs(1);
        positions.ask(2, until);
        positions.ask(1, until - Duration::from_millis(500));
        assert_eq!(positions.wanted().0, 2);
        assert!(positions.wanted().1 > until - Duration::from_millis(1));
    }
}
