//! What a session's reads must have seen, and what it has seen: which replica may have a read.
//!
//! A round is a sample of the primary's position that all share; a replica has covered it once it has replayed as much
//! (`route::consistency`). A read needs the round that its tables need since they were written. It stays with the node
//! that its session has read from last until another is known to be as far, so that what it sees never goes back.

mod lease;
mod within;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::shared::Diverted;
use backend::{Cluster, Lease, Server};
use config::Consistency;
use route::consistency::{Slots, Token, TokenError};
use route::view::NodeIndex;
use route::{Decision, RoleReason, RoleSource, ShardIndex, Target, TargetRole};
use sql::facts::{Access, Facts, HintConsistency};
use wire::{ErrorReport, SqlState};

use crate::book::Book;
use crate::core::Core;
use crate::own;
use crate::request::Request;
use crate::session::{End, Held, Session};
use crate::work::Work;

/// How long `SHOW pgweir.lsn` may take.
const POSITION_WAIT: Duration = Duration::from_secs(2);

/// No node.
const NOWHERE: NodeIndex = NodeIndex(u16::MAX);

/// What a session saw last on one shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeenLast {
    shard: ShardIndex,
    /// Where, and when the answer came.
    node: NodeIndex,
    at: Instant,
    /// The round that another node must have covered to be no older.
    elsewhere: u64,
    /// The same for one of which time alone says what it has covered.
    by_time: u64,
    /// It reads from replicas.
    on_replicas: bool,
}

/// What the read in hand must have seen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// A node must have covered this round …
    need: u64,
    /// … and any but the last one this one.
    elsewhere: u64,
    by_time: u64,
    /// Where the session saw something last, and when.
    last: Option<(NodeIndex, Instant)>,
}

/// A read goes to the primary because no replica has caught up. It may have a place among the bounded number of those.
#[derive(Debug)]
pub(crate) struct Diversion(pub(crate) Option<Diverted>);

impl Sight {
    /// Whether a node may have the read, as far as is known of the node. The primary has covered everything.
    #[inline]
    pub(crate) fn may(&self, cluster: &Cluster, node: NodeIndex) -> bool {
        let covered = cluster.positions.covered(node);
        let same = self.last.is_some_and(|(last, _)| last == node);
        (covered >= self.need && (same || covered >= self.elsewhere))
            || is_primary(cluster, node)
            || (covered >= self.need.max(self.by_time) && cluster.positions.goes_by_time(node))
    }

    /// Whether a node isn't known to have what every node must have for this read.
    pub(crate) fn lacks(&self, cluster: &Cluster, node: NodeIndex) -> bool {
        cluster.positions.covered(node) < self.need && !is_primary(cluster, node)
    }

    /// Whether the server behind this very connection may: the node may have been started again since.
    #[inline]
    fn fits(&self, server: &Server) -> bool {
        let (node, opened) = (server.handle.pool.node.id.node, server.handle.opened);
        let same = self.last.is_some_and(|(last, at)| last == node && opened <= at);
        let round = if same { self.need } else { self.need.max(self.elsewhere) };
        let cluster = &server.handle.pool.cluster;
        let positions = &cluster.positions;
        round == 0
            || positions.has_covered(node, round, opened)
            || is_primary(cluster, node)
            || (positions.goes_by_time(node)
                && positions.has_covered(node, self.need.max(self.by_time), opened))
    }
}

#[cold]
fn is_primary(cluster: &Cluster, node: NodeIndex) -> bool {
    cluster.view().primary() == Ok(node)
}

impl Book {
    /// Notes what a text reads that may go to a replica.
    #[inline]
    pub(crate) fn note_reads(&mut self, facts: &Facts, decision: &Decision) {
        if let Some(Target { shard, role: TargetRole::Replica }) = decision.target() {
            if facts.hint.consistency.is_some() {
                self.hinted = facts.hint.consistency.map(said_by_hint);
            }
            let catalog = self.catalogs().get(usize::from(shard.0));
            let reads = catalog.map_or(Slots::ANY, |catalog| catalog.tables_read(facts));
            self.reads = self.reads.and(reads);
        }
    }

    /// Notes what a text that is being sent may write.
    #[inline]
    pub(crate) fn note_writes(&mut self, server: &Server, facts: &Facts) {
        let writes = server.handle.pool.catalog.writes(|catalog| catalog.tables_written(facts));
        self.wrote = self.wrote.and(writes);
    }

    /// Likewise of a text that looks like a read and is sent to the primary: something may write that it runs without
    /// naming it, or under the name of something that reads.
    #[inline]
    pub(crate) fn note_hidden_writes(
        &mut self,
        core: &Core,
        target: Target,
        server: &Server,
        facts: &Arc<Facts>,
    ) {
        if facts.access == Access::Write || target.role == TargetRole::Replica {
            return;
        }
        if facts.access == Access::Read {
            self.note_writes(server, facts);
        }
        if core.learned.knows(facts, self.catalogs.version) {
            self.wrote = Slots::ANY;
        }
    }

    /// No transaction is open: what was written may be seen by anyone once the client knows of it.
    pub(crate) fn tell_written(&mut self, core: &Core, server: &Server) {
        let pool = &server.handle.pool;
        if !self.wanted.is_empty() && self.wanted.get("synchronous_commit").is_some_and(|on| on == "off") {
            pool.cluster.positions.note_early_commits();
        }
        pool.catalog.wrote(self.wrote);
        if pool.cluster.is_retired() {
            tell_successor(core, &pool.cluster);
        }
        if server.owed == 0 {
            self.wrote = Slots::NONE;
        }
    }

    /// The client was answered: what it has seen it must not miss elsewhere.
    #[inline]
    pub(crate) fn note_seen(&mut self, server: &Server, target: Target, at: Instant) {
        let pool = &server.handle.pool;
        if pool.cluster.nodes.len() < 2 {
            return;
        }
        let (node, elsewhere) = (pool.node.id.node, pool.cluster.positions.next_round());
        let on_replicas = target.role == TargetRole::Replica;
        let diverted = matches!(&self.last, Some(last) if matches!(last.reason.role, RoleReason::Behind));
        match self.last_seen.iter_mut().find(|seen| seen.shard == target.shard) {
            Some(seen) => {
                let on_replicas = on_replicas || seen.on_replicas;
                // Where nothing but time says what replicas have, a session that reads all the time would never come
                // back to one if each such read counted.
                let by_time = if diverted { seen.by_time } else { elsewhere };
                *seen = SeenLast { shard: target.shard, node, at, elsewhere, by_time, on_replicas };
                if on_replicas && target.role == TargetRole::Primary {
                    // It will want to read from a replica again.
                    pool.cluster.positions.suggest();
                }
            }
            None => {
                let by_time = if diverted { 0 } else { elsewhere };
                self.last_seen.push(SeenLast {
                    shard: target.shard,
                    node,
                    at,
                    elsewhere,
                    by_time,
                    on_replicas,
                });
            }
        }
    }

    /// `SET pgweir.lsn`: from now on reads must have seen what these tokens stand for, one for each shard.
    ///
    /// # Errors
    /// 22023 if it is no such list.
    pub(crate) fn take_position(&mut self, value: &str) -> Result<(), ErrorReport> {
        let tokens = value.split(',').map(str::trim).filter(|token| !token.is_empty()).map(str::parse);
        let tokens: Vec<Token> = tokens.collect::<Result<_, TokenError>>().map_err(|error| {
            let message = format!("invalid value for parameter \"pgweir.lsn\": \"{value}\"");
            ErrorReport::error(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(error.to_string())
        })?;
        self.tokens.extend(tokens);
        Ok(())
    }

    /// What `SHOW pgweir.lsn` tells.
    ///
    /// # Errors
    /// 55000: it wasn't found out.
    pub(crate) fn shown_position(&self) -> Result<String, ErrorReport> {
        self.position.as_ref().map(|position| position.to_string()).ok_or_else(|| {
            ErrorReport::error(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "the position isn't known")
                .with_detail(
                    "The primary hasn't told it, or it was asked for within a transaction or a pipeline.",
                )
                .with_hint("Ask for it by itself, behind the COMMIT that it is to cover.")
        })
    }

    /// A reload may have put other clusters in the place of those that it has read from, with rounds of their own.
    pub(crate) fn read_anew(&mut self, clusters: &[Arc<Cluster>]) {
        for seen in &mut self.last_seen {
            if let Some(cluster) = clusters.get(usize::from(seen.shard.0)) {
                let next = cluster.positions.next_round();
                (seen.node, seen.elsewhere, seen.by_time) = (NOWHERE, next, next);
            }
        }
        for (floor, cluster) in self.floors.iter_mut().zip(clusters) {
            *floor = cluster.positions.next_round();
        }
    }

    /// Its tokens don't count any more.
    pub(crate) fn forget_positions(&mut self) {
        self.floors.clear();
        self.tokens.clear();
    }

    /// What the request in hand says of what it must have seen, else the session.
    fn consistency(&self) -> (Consistency, bool) {
        let by_begin = self.begun.as_ref().and_then(|begun| begun.hint.consistency).map(said_by_hint);
        match self.hinted.or(by_begin) {
            Some(hinted) => (hinted, true),
            None => {
                let said = matches!(self.routing.consistency_from, RoleSource::Set | RoleSource::Options);
                (self.routing.consistency, said)
            }
        }
    }
}

impl Session {
    /// What the read in hand must have seen; `None`: whatever there is.
    #[inline]
    pub(crate) fn find_sight(&mut self, target: Target) -> Option<Sight> {
        if !self.book.tokens.is_empty() {
            self.redeem_tokens();
        }
        if self.book.listening.is_some() {
            self.heed_notifications();
        }
        let (consistency, said) = self.book.consistency();
        if target.role == TargetRole::Primary || consistency == Consistency::Eventual {
            return None;
        }
        let cluster = self.group.shared.clusters.get(usize::from(target.shard.0))?;
        if cluster.nodes.len() < 2 {
            return None;
        }
        let reason = self.book.last.as_ref().map(|last| &last.reason.role);
        // Who asks for a replica gets one as it is, unless the session says otherwise.
        if !said && matches!(reason, Some(RoleReason::Hint(_) | RoleReason::Setting(..))) {
            return None;
        }
        let need = match consistency {
            Consistency::Database => {
                // What its transaction reads next isn't known. One that reads until it writes is open: it is asked
                // again.
                let begins = self.book.begun.is_some()
                    || matches!(reason, Some(RoleReason::ReadOnlyTransaction | RoleReason::UntilWrite))
                        && self.book.until_write.is_none();
                let reads = if begins { Slots::ANY } else { self.book.reads };
                self.group.shared.catalog(target.shard)?.need(reads)
            }
            Consistency::Strong => cluster.positions.next_round(),
            Consistency::Session | Consistency::Eventual => 0,
        };
        let floor = self.book.floors.get(usize::from(target.shard.0)).copied().unwrap_or(0);
        let seen = self.book.last_seen.iter().find(|seen| seen.shard == target.shard);
        Some(Sight {
            need: need.max(floor),
            elsewhere: seen.map_or(0, |seen| seen.elsewhere),
            by_time: seen.map_or(0, |seen| seen.by_time),
            last: seen.map(|seen| (seen.node, seen.at)),
        })
    }

    /// Finds the rounds that tokens stand for. One of another system, or of a timeline that was left, can't be compared:
    /// it stands for all that there is now.
    #[cold]
    fn redeem_tokens(&mut self) {
        let tokens = std::mem::take(&mut self.book.tokens);
        let clusters = &self.group.shared.clusters;
        self.book.floors.resize(clusters.len(), 0);
        for (floor, cluster) in self.book.floors.iter_mut().zip(clusters) {
            let system = cluster.positions.latest().map(|(_, token)| token.system);
            let of_it = tokens.iter().filter(|token| Some(token.system) == system);
            let rounds = of_it.map(|token| cluster.positions.round_of(token));
            *floor = (*floor).max(rounds.max().unwrap_or_else(|| cluster.positions.next_round()));
        }
    }

    /// Who was told of a commit by a notification must see it, though the writer may not have its own answer yet.
    #[cold]
    fn heed_notifications(&mut self) {
        if self.book.listening.as_ref().is_some_and(|listening| listening.told.take()) {
            let clusters = &self.group.shared.clusters;
            self.book.floors.resize(clusters.len(), 0);
            for (floor, cluster) in self.book.floors.iter_mut().zip(clusters) {
                *floor = cluster.positions.next_round();
            }
        }
    }

    /// `SHOW pgweir.lsn`: a position of each shard that covers all that was acknowledged before it.
    pub(crate) async fn answer_position(&mut self, work: &mut Work, request: Request) -> Result<(), End> {
        self.book.asks_position = false;
        let until = Instant::now() + POSITION_WAIT;
        let clusters = self.group.shared.clusters.clone();
        let mut tokens = Vec::new();
        for cluster in clusters.iter().filter(|cluster| cluster.nodes.len() > 1) {
            let positions = &cluster.positions;
            let (round, mut changes) = (positions.next_round(), positions.changes());
            let token = loop {
                changes.mark_unchanged();
                let known = positions.latest().filter(|(known, _)| *known >= round);
                if known.is_some() || Instant::now() >= until {
                    break known;
                }
                if let Err(report) = self.next_round_of(work, cluster, &mut changes, until).await? {
                    self.answer_with_error(work, request, &report);
                    return Ok(());
                }
            };
            tokens.push(token.map(|(_, token)| token.to_string()));
        }
        let tokens: Option<Vec<String>> = tokens.into_iter().collect();
        self.book.position = tokens.map(|tokens| tokens.join(",").into());
        let answered = own::answer_request(self, work, request);
        self.book.position = None;
        answered
    }

    /// The connection in hand is left in the middle of a transaction: what was read there isn't to be missed elsewhere.
    #[cold]
    pub(crate) fn note_left(&mut self, held: &Held) {
        if self.book.routing.consistency != Consistency::Eventual {
            self.book.note_seen(&held.lease, held.target, Instant::now());
        }
    }

    /// Whether the read in hand may have this connection.
    #[inline]
    pub(crate) fn may_use(&self, lease: &Lease) -> bool {
        self.book.sight.is_none_or(|sight| sight.fits(lease))
    }
}

/// What was written by way of a cluster that a reload has replaced, those who read by way of the new one must see.
#[cold]
fn tell_successor(core: &Core, old: &Cluster) {
    let directory = core.context.directory.load();
    let new = directory.clusters().iter().filter(|cluster| cluster.config.name == old.config.name);
    new.for_each(|cluster| cluster.wrote_anything());
}

pub(crate) fn said_by_hint(hint: HintConsistency) -> Consistency {
    match hint {
        HintConsistency::Database => Consistency::Database,
        HintConsistency::Session => Consistency::Session,
        HintConsistency::Strong => Consistency::Strong,
        HintConsistency::Eventual => Consistency::Eventual,
    }
}
