//! Where a read goes whose node has no connection to give: to another replica that has, before it waits.

use std::rc::Rc;
use std::time::Instant;

use backend::local::LocalPool;
use route::view::NodeIndex;
use route::{Target, TargetRole};

use crate::session::Session;

impl Session {
    /// The pool to wait in: the one that was chosen, unless it is full and a replica that would do as well isn't. A
    /// replica in another zone is nearer than the end of a queue; the primary isn't asked, nor another region.
    #[cold]
    pub(crate) fn with_room(&self, target: Target, chosen: &Rc<LocalPool>, now: Instant) -> Rc<LocalPool> {
        let shard = usize::from(target.shard.0);
        let pools = &self.group.pools[shard];
        // With a primary and one replica there is no other.
        if target.role == TargetRole::Primary || pools.len() < 3 || chosen.has_room() {
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
        Rc::clone(other.map_or(chosen, |node| &pools[usize::from(node.0)]))
    }
}
