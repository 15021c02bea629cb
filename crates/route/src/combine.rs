//! The decisions of several messages up to a Sync, folded into one: they all go to the same server.

use crate::decision::{Decision, Target, TargetRole};
use crate::map::DatabaseMap;
use crate::reason::{Reason, RoleReason};
use crate::shard;

/// Two decisions of the same pipeline as one: a replica only if both may, the primary otherwise; two shards are
/// refused, and so is all that follows a refusal.
///
/// Fold a pipeline with it from the first decision on. (Several statements in one text need no folding: [`decide`]
/// has judged the text whole.)
///
/// [`decide`]: crate::decide
pub fn combine(map: &DatabaseMap, first: Decision, next: Decision) -> Decision {
    let (first, next) = match (first, next) {
        (refused @ Decision::Refuse(_), _) | (_, refused @ Decision::Refuse(_)) => return refused,
        (
            Decision::Go { target, reason, would },
            Decision::Go { target: next, reason: next_reason, would: next_would },
        ) => ((target, reason, would), (next, next_reason, next_would)),
    };
    let (shard, shard_reason) =
        match shard::join(map, (first.0.shard, first.1.shard), (next.0.shard, next.1.shard)) {
            Ok(shard) => shard,
            Err(refusal) => return Decision::Refuse(refusal),
        };
    let role = worse(first.0.role, next.0.role);
    let reason = match (role, first.0.role) {
        (TargetRole::Replica, _) => both_read(first.1.role, next.1.role),
        (TargetRole::Primary, TargetRole::Primary) => primary_in_pipeline(first.1.role),
        (TargetRole::Primary, TargetRole::Replica) => primary_in_pipeline(next.1.role),
    };
    let would = match (first.2, next.2) {
        (None, None) => None,
        (first_would, next_would) => {
            Some(worse(first_would.unwrap_or(first.0.role), next_would.unwrap_or(next.0.role)))
        }
    };
    Decision::Go {
        target: Target { shard, role },
        reason: Reason { role: reason, shard: shard_reason },
        would,
    }
}

fn worse(one: TargetRole, other: TargetRole) -> TargetRole {
    match (one, other) {
        (TargetRole::Replica, TargetRole::Replica) => TargetRole::Replica,
        _ => TargetRole::Primary,
    }
}

/// What was told, or a transaction, stays the reason; plain reads become a pipeline that reads.
fn both_read(first: RoleReason, next: RoleReason) -> RoleReason {
    match (first, next) {
        (
            RoleReason::Reads | RoleReason::Empty | RoleReason::PipelineReads,
            RoleReason::Reads | RoleReason::Empty,
        ) => RoleReason::PipelineReads,
        (RoleReason::Reads | RoleReason::Empty, next) => next,
        (first, _) => first,
    }
}

fn primary_in_pipeline(reason: RoleReason) -> RoleReason {
    match reason {
        RoleReason::Writes(culprit) | RoleReason::Session(culprit) => RoleReason::PipelineWrites(culprit),
        told => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{SessionRouting, ShardIndex};
    use crate::explain;
    use crate::testing::{decided, equals, facts, keyed, read, select, sharded, unsharded, writes};
    use config::RoleSetting;
    use sql::facts::{Kind, Statement};

    fn one(map: &DatabaseMap, session: SessionRouting, statement: Statement) -> Decision {
        decided(map, session, facts(vec![statement]), &[Some("DE"), Some("US")])
    }

    fn folded(map: &DatabaseMap, session: SessionRouting, statements: Vec<Statement>) -> Decision {
        let decisions = statements.into_iter().map(|statement| one(map, session, statement));
        decisions.reduce(|first, next| combine(map, first, next)).unwrap()
    }

    #[test]
    fn a_pipeline_reads_only_if_all_of_it_does() {
        let map = unsharded();
        let plain = || select(vec![read("t")]);
        let words = |statements| explain(&map, &folded(&map, SessionRouting::default(), statements));
        assert_eq!(words(vec![plain()]), "replica: reads only");
        assert_eq!(words(vec![plain(), plain(), plain()]), "replica: pipeline reads only");
        let update = || writes(Kind::Update, vec![]);
        let written = "primary: in the pipeline: UPDATE writes";
        assert_eq!(words(vec![plain(), update(), plain()]), written);
        assert_eq!(words(vec![update(), plain()]), written);
    }

    #[test]
    fn observing_folds_what_would_have_been() {
        let map = unsharded();
        let session = SessionRouting { role: RoleSetting::Observe, ..SessionRouting::default() };
        let would = |statements| match folded(&map, session, statements) {
            Decision::Go { target, would, .. } => (target.role, would),
            Decision::Refuse(refusal) => panic!("{refusal}"),
        };
        let plain = || select(vec![read("t")]);
        let update = || writes(Kind::Update, vec![]);
        assert_eq!(would(vec![plain(), plain()]), (TargetRole::Primary, Some(TargetRole::Replica)));
        assert_eq!(would(vec![plain(), update()]), (TargetRole::Primary, Some(TargetRole::Primary)));
    }

    #[test]
    fn a_pipeline_has_one_shard() {
        let map = sharded();
        let customers =
            |parameter| keyed(select(vec![read("customers")]), vec![equals(0, "region", parameter)]);
        let shard = |statements| {
            folded(&map, SessionRouting::default(), statements).target().map(|target| target.shard)
        };
        let any = || select(vec![read("countries")]);
        assert_eq!(shard(vec![any(), customers(1), any()]), Some(ShardIndex(1)));
        assert_eq!(shard(vec![customers(1), any(), customers(1)]), Some(ShardIndex(1)));
        assert_eq!(shard(vec![customers(1), any(), customers(2)]), None);
        assert_eq!(shard(vec![customers(1), select(vec![read("a_view")]), customers(1)]), None);
    }
}
