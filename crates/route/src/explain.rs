//! A decision in words, for `pgweir explain` and `SHOW pgweir.route`.

use std::fmt::Write;

use crate::decision::{Decision, TargetRole};
use crate::map::DatabaseMap;
use crate::reason::Reason;

/// A reason in words, with that of the shard: `reads only; customers.region = 'US'`. The map is the one that decided.
pub fn reason_in_words(map: &DatabaseMap, reason: &Reason) -> String {
    match map.shard_reason_in_words(reason.shard) {
        shard if shard.is_empty() => reason.to_string(),
        shard => format!("{reason}; {shard}"),
    }
}

/// A decision in words, on one line: `primary: INSERT writes`, or on a sharded database
/// `shard us, replica: reads only; customers.region = 'US'`. A refusal takes a line each for its error, DETAIL and
/// HINT. The map is the one that decided.
pub fn explain(map: &DatabaseMap, decision: &Decision) -> String {
    let mut words = String::new();
    // Writing to a String can't fail.
    let _ = match decision {
        Decision::Go { target, reason, would } => {
            if map.is_sharded() {
                let _ = write!(words, "shard {}, ", map.shard_name(target.shard));
            }
            let _ = match would {
                Some(TargetRole::Replica) => {
                    write!(words, "{} (observing; a replica otherwise): ", target.role)
                }
                Some(TargetRole::Primary) | None => write!(words, "{}: ", target.role),
            };
            words.write_str(&reason_in_words(map, reason))
        }
        Decision::Refuse(refusal) => {
            let _ = write!(words, "refused: {} (SQLSTATE {})", refusal.message, refusal.sqlstate);
            if let Some(detail) = &refusal.detail {
                let _ = write!(words, "\nDETAIL: {detail}");
            }
            match &refusal.hint {
                Some(hint) => write!(words, "\nHINT: {hint}"),
                None => Ok(()),
            }
        }
    };
    words
}
