//! Where a read goes whose node has no connection to give: to another replica that has, before it waits.

use std::rc::Rc;
use std::time::{Duration, Instant};

use backend::local::LocalPool;
use route::view::NodeIndex;
use route::{Target, TargetRole};

use crate::session::Session;

/// Where no replica had room, nobody of this core looks at what other cores have for so long.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Session {
    /// The pool to wait in: the one that was chosen, unless it is full and a replica that would do as well isn't. A
    /// replica in another zone is nearer than the end of a queue; the primary isn't asked, nor another region.
    #[cold]
    pub(crate) fn with_room(&self, target: Target, chosen: &Rc<LocalPool>, now: Instant) -> Rc<LocalPool> {
        let shard = usize::from(target.shard.0);
        let pools = &self.group.pools[shard];
        // With a primary and one replica there is no other.
        if target.role == TargetRole::Primary
            || pools.len() < 3
            || self.are_all_full(shard, chosen, now)
            || chosen.has_room()
        {
            return Rc::clone(chosen);
        }
        let view = self.group.shared.clusters[shard].view();
        let settings = &self.group.shared.route;
        let (sight, cluster) = (self.book.sight, &self.group.shared.clusters[shard]);
        let may = |node| sight.is_none_or(|sight| sight.may(cluster, node));
        let has_room = |node: NodeIndex| pools[usize::from(node.0)].has_room() && may(node);
        let cost = |node: NodeIndex| pools[usize::from(node.0)].cost(settings.balance, now);
        let mut turn = self.group.turn.get();
        let other = route::choose(&view, target.role, settings, has_room, cost, &mut turn, now);
        self.group.turn.set(turn);
        if other.is_err() {
            chosen.full_beside.set(Some(now + LOOK_AGAIN));
        }
        Rc::clone(other.map_or(chosen, |node| &pools[usize::from(node.0)]))
    }

    /// Whether no replica had room a moment ago, and none has an idle connection on this core now.
    #[inline]
    fn are_all_full(&self, shard: usize, chosen: &LocalPool, now: Instant) -> bool {
        let primary = || self.group.shared.clusters[shard].view().primary();
        let replica_with_room =
            |(node, pool): (u16, &Rc<LocalPool>)| pool.has_room_here() && primary() != Ok(NodeIndex(node));
        chosen.full_beside.get().is_some_and(|until| now < until)
            && !(0..).zip(&self.group.pools[shard]).any(replica_with_room)
    }
}
