//! From samples of positions to what each node has covered: the rounds' history, and the rules by which samples count.

use std::time::Duration;

use crate::identity::Identity;
use crate::view::NodeIndex;

use super::token::Token;

/// Rounds whose positions are kept. A node that is further behind than all of them has covered none of them.
const KEPT: usize = 128;

/// Parts of the time that the older half of them reaches back to.
const PARTS: u32 = 60;

/// Where a node is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// It takes writes, and has kept (flushed) its log up to here.
    Primary(u64),
    /// It has replayed the log up to here.
    Replica(u64),
    /// It doesn't say: a managed service that refuses the functions, or a logical replica. Time must do.
    Untold,
}

/// What a node said when it was asked in a round, or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The last round that had begun before the node was asked.
    pub round: u64,
    /// Where it is.
    pub position: Position,
    /// Who it is, if it says so.
    pub identity: Option<Identity>,
}

/// The rounds so far, and what each node has covered. Time is what has passed since a beginning of the caller's.
#[derive(Debug)]
pub struct Rounds {
    /// Oldest first; positions and times never fall.
    history: Vec<Kept>,
    /// Whose positions these are.
    of: Option<Identity>,
    nodes: Vec<Standing>,
    /// A node of which nothing is told has covered a round after this long.
    untold_after: Duration,
}

/// What is kept of a round.
#[derive(Debug, Clone, Copy)]
struct Kept {
    round: u64,
    /// The primary's position; `None`: it doesn't say.
    lsn: Option<u64>,
    at: Duration,
}

/// What is known of a node.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    identity: Option<Identity>,
    /// Where it was last. It doesn't go back while it is the same server.
    replayed: Option<u64>,
    /// It says nothing of where it is.
    untold: bool,
    covered: u64,
}

impl Rounds {
    /// A node of which nothing is told has covered a round after this long, from now on.
    pub fn assume(&mut self, untold_after: Duration) {
        self.untold_after = untold_after;
    }

    /// Nothing is known of so many nodes.
    #[must_use]
    pub fn new(nodes: usize, untold_after: Duration) -> Rounds {
        Rounds { history: Vec::new(), of: None, nodes: vec![Standing::default(); nodes], untold_after }
    }

    /// The last round that a node has covered; 0: none.
    #[must_use]
    pub fn covered(&self, node: NodeIndex) -> u64 {
        self.nodes.get(usize::from(node.0)).map_or(0, |node| node.covered)
    }

    /// Whether time alone says what a node has covered: it doesn't tell its position, or the primary doesn't.
    #[must_use]
    pub fn goes_by_time(&self, node: NodeIndex) -> bool {
        let primary = self.history.last().is_some_and(|last| last.lsn.is_none());
        primary || self.nodes.get(usize::from(node.0)).is_some_and(|node| node.untold)
    }

    /// A sample of the node that is the primary.
    ///
    /// On another timeline, or another system, nothing that was known before means anything: all begins anew. So it
    /// does behind a restart, which may have lost what wasn't flushed.
    pub fn primary(&mut self, node: NodeIndex, sample: &Sample, at: Duration) {
        if sample.identity != self.of {
            self.history.clear();
            self.of = sample.identity;
            self.nodes.iter_mut().for_each(|node| node.covered = 0);
        }
        if let Some(standing) = self.nodes.get_mut(usize::from(node.0)) {
            *standing = Standing { identity: sample.identity, ..Standing::default() };
        }
        let lsn = match sample.position {
            Position::Primary(lsn) => Some(lsn),
            Position::Replica(_) | Position::Untold => None,
        };
        if lsn.is_some() && self.history.last().is_some_and(|last| last.lsn.is_none()) {
            // What was taken for granted by time has to be shown.
            self.history.clear();
            self.nodes.iter_mut().for_each(|node| node.covered = 0);
        }
        self.keep(Kept { round: sample.round, lsn, at });
        self.judge(at);
    }

    /// A sample of another node. It counts only while the server is the same as in those before.
    pub fn replica(&mut self, node: NodeIndex, sample: &Sample, at: Duration) {
        let of = self.of;
        let Some(standing) = self.nodes.get_mut(usize::from(node.0)) else { return };
        if standing.identity != sample.identity {
            *standing = Standing { identity: sample.identity, ..Standing::default() };
        }
        match sample.position {
            Position::Replica(lsn) => {
                if std::mem::take(&mut standing.untold) {
                    standing.covered = 0; // likewise
                }
                standing.replayed = Some(standing.replayed.map_or(lsn, |before| before.max(lsn)));
            }
            Position::Primary(_) | Position::Untold => standing.untold = true,
        }
        let follows = match (of, sample.identity) {
            (Some(of), Some(identity)) => line(Some(of)) == line(Some(identity)),
            // Where one of them doesn't say who it is, nothing speaks against it.
            _ => true,
        };
        if !follows {
            standing.covered = 0;
            standing.replayed = None;
        }
        self.judge(at);
    }

    /// A node's connection is lost: it may come back as another server.
    pub fn lost(&mut self, node: NodeIndex) {
        if let Some(standing) = self.nodes.get_mut(usize::from(node.0)) {
            *standing = Standing::default();
        }
    }

    /// A round that covers what this token stands for, if one is known that does.
    #[must_use]
    pub fn round_of(&self, token: &Token) -> Option<u64> {
        let same = line(self.of) == (token.system, token.timeline);
        let covers = |kept: &&Kept| kept.lsn.is_some_and(|lsn| lsn >= token.lsn);
        self.history.iter().find(covers).filter(|_| same).map(|kept| kept.round)
    }

    /// The primary's position in the last round of which it is known, with the round.
    #[must_use]
    pub fn latest(&self) -> Option<(u64, Token)> {
        let kept = self.history.last()?;
        let (system, timeline) = line(self.of);
        Some((kept.round, Token { system, timeline, lsn: kept.lsn? }))
    }

    /// The timeline of the primary, if it is known.
    #[must_use]
    pub fn timeline(&self) -> Option<u32> {
        self.of.map(|of| of.timeline)
    }

    fn keep(&mut self, kept: Kept) {
        match self.history.last_mut() {
            // Nothing was written since: a node has covered both rounds or none.
            Some(last) if last.lsn.is_some() && last.lsn == kept.lsn => {
                last.round = last.round.max(kept.round)
            }
            Some(last) if last.round >= kept.round || (kept.lsn.is_some() && last.lsn > kept.lsn) => return,
            _ => self.history.push(kept),
        }
        if self.history.len() > KEPT {
            self.thin_out();
        }
    }

    /// The older, the fewer. But they reach back twice as far as time must do for untold nodes, and of each small part of
    /// that there is one.
    fn thin_out(&mut self) {
        let part = self.untold_after * 2 / PARTS;
        let (mut nth, mut last) = (0, None);
        self.history.retain(|kept| {
            nth += 1;
            let apart = last.is_none_or(|last| kept.at.saturating_sub(last) >= part);
            let stays = apart || nth > KEPT / 2 || nth % 2 == 0;
            last = if stays { Some(kept.at) } else { last };
            stays
        });
        let over = self.history.len().saturating_sub(KEPT);
        self.history.drain(..over);
    }

    fn judge(&mut self, now: Duration) {
        for node in &mut self.nodes {
            let reached = |kept: &&Kept| match (kept.lsn, node.replayed) {
                (Some(lsn), Some(replayed)) if !node.untold => lsn <= replayed,
                (_, None) if !node.untold => false,
                _ => kept.at.saturating_add(self.untold_after) <= now,
            };
            let last = self.history.iter().rev().find(reached);
            node.covered = node.covered.max(last.map_or(0, |kept| kept.round));
        }
    }
}

/// System and timeline; 0 where nothing is said.
fn line(of: Option<Identity>) -> (u64, u32) {
    of.map_or((0, 0), |identity| (identity.system, identity.timeline))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOW: Duration = Duration::ZERO;
    const P: NodeIndex = NodeIndex(0);
    const A: NodeIndex = NodeIndex(1);
    const B: NodeIndex = NodeIndex(2);

    fn identity(timeline: u32, started: i64) -> Option<Identity> {
        Some(Identity { system: 7, timeline, started })
    }

    fn rounds() -> Rounds {
        Rounds::new(3, SECOND)
    }

    fn primary(rounds: &mut Rounds, round: u64, lsn: u64) {
        let sample = Sample { round, position: Position::Primary(lsn), identity: identity(1, 0) };
        rounds.primary(P, &sample, NOW);
    }

    fn replica(rounds: &mut Rounds, node: NodeIndex, lsn: u64) {
        let sample = Sample { round: 0, position: Position::Replica(lsn), identity: identity(1, 5) };
        rounds.replica(node, &sample, NOW);
    }

    #[test]
    fn a_replica_covers_the_rounds_that_it_has_replayed() {
        let mut rounds = rounds();
        replica(&mut rounds, A, 100);
        assert_eq!(rounds.covered(A), 0, "no round is known");
        primary(&mut rounds, 1, 100);
        assert_eq!(rounds.covered(A), 1, "whichever sample comes first");
        primary(&mut rounds, 2, 200);
        primary(&mut rounds, 3, 300);
        assert_eq!(rounds.covered(A), 1);
        replica(&mut rounds, A, 299);
        assert_eq!([A, B].map(|node| rounds.covered(node)), [2, 0]);
        replica(&mut rounds, A, 1000);
        assert_eq!(rounds.covered(A), 3);
        primary(&mut rounds, 4, 300);
        assert_eq!(rounds.covered(A), 4, "nothing was written in between");
    }

    #[test]
    fn one_that_is_far_behind_is_still_told_apart() {
        let mut rounds = rounds();
        for round in 1..=10_000 {
            primary(&mut rounds, round, round * 10);
        }
        assert!(rounds.history.len() <= KEPT);
        replica(&mut rounds, A, 99_900);
        replica(&mut rounds, B, 60_000);
        assert!((9_985..=9_990).contains(&rounds.covered(A)), "{}", rounds.covered(A));
        assert!(rounds.covered(B) <= 6_000);
    }

    #[test]
    fn what_a_server_had_is_void_once_it_is_another() {
        let mut rounds = rounds();
        primary(&mut rounds, 1, 100);
        replica(&mut rounds, A, 100);
        let restarted = |lsn| Sample { round: 0, position: Position::Replica(lsn), identity: identity(1, 6) };
        rounds.replica(A, &restarted(90), NOW);
        assert_eq!(rounds.covered(A), 0, "it starts again before where it was");
        rounds.replica(A, &restarted(100), NOW);
        assert_eq!(rounds.covered(A), 1);
        rounds.lost(A);
        assert_eq!(rounds.covered(A), 0);
    }

    #[test]
    fn a_new_timeline_begins_anew() {
        let mut rounds = rounds();
        primary(&mut rounds, 1, 500);
        replica(&mut rounds, A, 400);
        replica(&mut rounds, B, 500);
        assert_eq!([A, B].map(|node| rounds.covered(node)), [0, 1]);
        let token = rounds.latest().unwrap().1;
        assert_eq!(rounds.round_of(&token), Some(1));
        // A was behind, and is promoted; B has what A never had.
        let promoted = Sample { round: 2, position: Position::Primary(410), identity: identity(2, 5) };
        rounds.primary(A, &promoted, NOW);
        replica(&mut rounds, B, 500);
        assert_eq!([A, B].map(|node| rounds.covered(node)), [0, 0], "it follows another line");
        assert_eq!(rounds.round_of(&token), None, "the token is dropped");
        let follows = Sample { round: 2, position: Position::Replica(410), identity: identity(2, 5) };
        rounds.replica(B, &follows, NOW);
        assert_eq!(rounds.covered(B), 2);
    }

    #[test]
    fn where_nothing_is_told_time_must_do() {
        let mut rounds = rounds();
        let untold = |round| Sample { round, position: Position::Untold, identity: None };
        rounds.primary(P, &untold(1), NOW);
        rounds.replica(A, &untold(1), NOW);
        let replayed = Sample { round: 1, position: Position::Replica(9), identity: None };
        rounds.replica(B, &replayed, NOW);
        rounds.primary(P, &untold(2), SECOND / 2);
        assert_eq!([A, B].map(|node| rounds.covered(node)), [0, 0]);
        rounds.primary(P, &untold(3), SECOND);
        assert_eq!([A, B].map(|node| rounds.covered(node)), [1, 1]);
        assert!(
            rounds.latest().is_none() && rounds.round_of(&Token { system: 0, timeline: 0, lsn: 1 }).is_none()
        );
    }

    #[test]
    fn rounds_that_come_fast_are_covered_by_time_too() {
        let untold = |round| Sample { round, position: Position::Untold, identity: None };
        for gap in [1, 20] {
            let mut rounds = rounds();
            let steps = 10_000 / gap;
            for round in 1..=steps {
                let at = Duration::from_millis(round * gap);
                rounds.primary(P, &untold(round), at);
                rounds.replica(A, &untold(round), at);
            }
            let (most, least) = (steps - 1000 / gap, steps - 1200 / gap);
            let covered = rounds.covered(A);
            assert!((least..=most).contains(&covered), "{covered} of {steps}, {gap} ms apart");
            assert!(rounds.history.len() <= KEPT);
        }
    }

    #[test]
    fn what_is_told_again_counts_and_not_the_time() {
        let mut rounds = rounds();
        let identity = identity(1, 0);
        primary(&mut rounds, 1, 100);
        replica(&mut rounds, A, 100);
        let untold = |round| Sample { round, position: Position::Untold, identity };
        rounds.primary(P, &untold(2), NOW);
        replica(&mut rounds, A, 100);
        assert_eq!(rounds.covered(A), 1, "the primary tells nothing any more");
        rounds.primary(P, &untold(3), SECOND);
        assert_eq!(rounds.covered(A), 2, "by time");
        let told = Sample { round: 4, position: Position::Primary(300), identity };
        rounds.primary(P, &told, 2 * SECOND);
        assert_eq!(rounds.covered(A), 0, "it is known now that it is behind");
        replica(&mut rounds, A, 300);
        assert_eq!(rounds.covered(A), 4);
        let of_a = |position| Sample {
            round: 0,
            position,
            identity: Some(Identity { started: 5, ..identity.unwrap() }),
        };
        rounds.replica(A, &of_a(Position::Untold), 2 * SECOND);
        let told = Sample { round: 5, position: Position::Primary(500), identity };
        rounds.primary(P, &told, 3 * SECOND);
        rounds.replica(A, &of_a(Position::Untold), 9 * SECOND);
        assert_eq!(rounds.covered(A), 5, "by time");
        rounds.replica(A, &of_a(Position::Replica(400)), 9 * SECOND);
        assert_eq!(rounds.covered(A), 4, "it is known now how far it is");
    }

    #[test]
    fn a_late_sample_changes_nothing() {
        let mut rounds = rounds();
        primary(&mut rounds, 5, 500);
        primary(&mut rounds, 4, 400);
        replica(&mut rounds, A, 450);
        assert_eq!(rounds.covered(A), 0);
        assert_eq!(rounds.latest().unwrap().0, 5);
    }

    #[test]
    fn a_token_needs_the_first_round_that_has_it() {
        let mut rounds = rounds();
        for (round, lsn) in [(1, 100), (2, 200), (3, 300)] {
            primary(&mut rounds, round, lsn);
        }
        let token = |lsn| Token { system: 7, timeline: 1, lsn };
        assert_eq!(
            [0, 100, 101, 300, 301].map(|lsn| rounds.round_of(&token(lsn))),
            [Some(1), Some(1), Some(2), Some(3), None]
        );
        assert_eq!(rounds.round_of(&Token { system: 8, ..token(100) }), None);
        assert_eq!(rounds.latest(), Some((3, token(300))));
    }
}
