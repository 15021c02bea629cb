//! The decision itself: role and shard, each with its reason.

use crate::catalog::Catalog;
use crate::decision::{Decision, Request, SessionRouting, ShardIndex, Target};
use crate::map::DatabaseMap;
use crate::reason::{Reason, ShardReason};
use crate::role::role_of;
use crate::shard::{Prover, Purpose, refuse};

/// Where a text goes, all of its statements together. On an unsharded database this allocates nothing, but for an
/// invalid hint.
pub fn decide(database: &DatabaseMap, session: &SessionRouting, request: &Request) -> Decision {
    decide_for(Purpose::Execute, database, session, request)
}

/// Where a statement goes that is described before its values are bound (Parse, Describe, Sync): on a sharded
/// database every shard can tell a statement's columns, so that no key's value is needed. Nothing may be executed
/// there by this decision.
pub fn describe(database: &DatabaseMap, session: &SessionRouting, request: &Request) -> Decision {
    decide_for(Purpose::Describe, database, session, request)
}

fn decide_for(
    purpose: Purpose,
    database: &DatabaseMap,
    session: &SessionRouting,
    request: &Request,
) -> Decision {
    if let Some(invalid) = &request.facts.hint.invalid {
        return Decision::Refuse(refuse::invalid_hint(invalid));
    }
    // An unsharded database passes over hints that name shards: the same application may run on both kinds.
    let shard = match database.tables() {
        None => Ok((ShardIndex(0), ShardReason::Unsharded)),
        Some(tables) => Prover { map: database, tables, request, purpose }.shard(session),
    };
    match shard {
        Err(refusal) => Decision::Refuse(refusal),
        Ok((shard, why)) => {
            let catalog =
                request.catalogs.get(usize::from(shard.0)).unwrap_or_else(|| Catalog::unavailable());
            let choice = role_of(session, request.facts, catalog);
            Decision::Go {
                target: Target { shard, role: choice.role },
                reason: Reason { role: choice.reason, shard: why },
                would: choice.would,
            }
        }
    }
}
