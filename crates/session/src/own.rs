//! Statements that pgweir answers itself: `SHOW`, `SET` and `RESET` of `pgweir.*`.

mod request;
mod transaction;
mod values;

use config::{PoolMode, RoleSetting};
use route::{DatabaseMap, RoleSource, ShardIndex};
use sql::facts::{Effect, Facts, Kind};
use wire::ErrorReport;
use wire::encode::{self, Column};

use crate::book::Book;

pub(crate) use request::answer_request;
pub(crate) use transaction::{answer_transaction, deallocate, in_failed_transaction};
use values::{consistency_name, role_name, transactions_name, unknown};
pub(crate) use values::{consistency_of, no_such_shard, role_of, transactions_of};

/// What a statement of our own answers.
#[derive(Debug, Default)]
pub(crate) struct OwnAnswer {
    /// The columns; empty: it gives no rows.
    pub(crate) columns: Vec<&'static str>,
    /// The only row.
    pub(crate) row: Vec<Option<String>>,
    /// The command tag.
    pub(crate) tag: &'static str,
}

/// Whether this text is one statement of our own.
#[inline]
pub(crate) fn is_own(facts: &Facts) -> bool {
    let [statement] = &facts.statements[..] else { return false };
    matches!(statement.kind, Kind::Set | Kind::Show | Kind::Reset)
        && statement.effects.iter().any(|effect| own_name(effect).is_some())
}

/// Whether it asks for the position, which isn't known yet.
pub(crate) fn asks_position(facts: &Facts) -> bool {
    facts
        .statements
        .iter()
        .flat_map(|s| &s.effects)
        .any(|effect| matches!(effect, Effect::Show(name) if &**name == "pgweir.lsn"))
}

fn own_name(effect: &Effect) -> Option<&str> {
    match effect {
        Effect::Set { name, .. } | Effect::Reset(name) | Effect::Show(name) => name.strip_prefix("pgweir."),
        _ => None,
    }
}

impl OwnAnswer {
    /// RowDescription, or NoData where a Describe asks for it.
    pub(crate) fn describe(columns: &[&'static str], out: &mut Vec<u8>, by_describe: bool) {
        if columns.is_empty() {
            if by_describe {
                encode::no_data(out);
            }
            return;
        }
        let columns: Vec<_> = columns.iter().map(|name| Column::text(name)).collect();
        // A handful of short names always fits.
        encode::row_description(out, &columns).unwrap_or_default();
    }

    /// The row and CommandComplete.
    pub(crate) fn rows(&self, out: &mut Vec<u8>) {
        if !self.columns.is_empty() {
            let row: Vec<_> = self.row.iter().map(|v| v.as_deref().map(str::as_bytes)).collect();
            encode::data_row(out, &row).unwrap_or_default();
        }
        encode::command_complete(out, self.tag);
    }
}

/// The columns of an own statement's answer, without running it.
pub(crate) fn columns(facts: &Facts) -> Vec<&'static str> {
    let effect = facts.statements.iter().flat_map(|s| &s.effects).find(|effect| own_name(effect).is_some());
    match effect {
        Some(Effect::Show(name)) => match &**name {
            "pgweir.route" => vec!["database", "shard", "role", "node", "reason", "statement"],
            "pgweir.role" => vec!["pgweir.role"],
            "pgweir.shard" => vec!["pgweir.shard"],
            "pgweir.transactions" => vec!["pgweir.transactions"],
            "pgweir.consistency" => vec!["pgweir.consistency"],
            "pgweir.lsn" => vec!["pgweir.lsn"],
            "pgweir.version" => vec!["pgweir.version"],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

impl Book {
    /// Runs a statement of our own.
    ///
    /// # Errors
    /// A name or value that isn't known: 42704, 22023.
    pub(crate) fn run_own(
        &mut self,
        facts: &Facts,
        map: &DatabaseMap,
        database: &str,
        in_transaction: bool,
    ) -> Result<OwnAnswer, ErrorReport> {
        let effects = facts.statements.iter().flat_map(|s| &s.effects);
        let Some(effect) = effects.into_iter().find(|effect| own_name(effect).is_some()) else {
            return Ok(OwnAnswer::default());
        };
        if in_transaction && !matches!(effect, Effect::Show(_)) {
            self.keep_routing();
        }
        match (effect, own_name(effect).unwrap_or_default()) {
            (Effect::Show(_), name) => self.show(facts, name, map, database),
            (Effect::Set { value, .. }, "role") => {
                self.routing.role = match role_of(value)? {
                    // A session that keeps its connection for life keeps it where it can write.
                    RoleSetting::Auto if self.mode == PoolMode::Session => RoleSetting::Primary,
                    role => role,
                };
                self.routing.role_from = RoleSource::Set;
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Set { value, .. }, "shard") => {
                self.routing.shard = Some(map.shard_named(value).ok_or_else(|| no_such_shard(map, value))?);
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Set { value, .. }, "transactions") => {
                self.routing.transactions = transactions_of(value)?;
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "transactions") => {
                self.routing.transactions = self.routing_at_startup.transactions;
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (Effect::Set { value, .. }, "consistency") => {
                self.routing.consistency = consistency_of(value)?;
                self.routing.consistency_from = RoleSource::Set;
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Set { value, .. }, "lsn") => {
                self.take_position(value)?;
                Ok(OwnAnswer { tag: "SET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "lsn") => {
                self.forget_positions();
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "consistency") => {
                self.routing.consistency = self.routing_at_startup.consistency;
                self.routing.consistency_from = self.routing_at_startup.consistency_from;
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "role") => {
                self.routing.role = self.routing_at_startup.role;
                self.routing.role_from = self.routing_at_startup.role_from;
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (Effect::Reset(_), "shard") => {
                self.routing.shard = self.routing_at_startup.shard;
                Ok(OwnAnswer { tag: "RESET", ..OwnAnswer::default() })
            }
            (_, name) => Err(unknown(name)),
        }
    }

    fn show(
        &self,
        facts: &Facts,
        name: &str,
        map: &DatabaseMap,
        database: &str,
    ) -> Result<OwnAnswer, ErrorReport> {
        let columns = columns(facts);
        let row = match name {
            "route" => match &self.last {
                None => {
                    vec![Some(database.to_owned()), None, None, None, Some("no statement yet".into()), None]
                }
                Some(last) => {
                    let shard = map.is_sharded().then(|| map.shard_name(last.target.shard).to_owned());
                    let mut reason = route::reason_in_words(map, &last.reason);
                    if let Some(would) = last.would {
                        reason = format!("{reason}; observed: would go to the {would}");
                    }
                    let statement = String::from_utf8_lossy(&last.statement).into_owned();
                    let node = last.node.as_ref().map(|node| node.name.clone());
                    let role = last.target.role.to_string();
                    vec![Some(database.to_owned()), shard, Some(role), node, Some(reason), Some(statement)]
                }
            },
            "role" => vec![Some(role_name(self.routing.role).to_owned())],
            "shard" => {
                vec![Some(self.routing.shard.map_or("", |s: ShardIndex| map.shard_name(s)).to_owned())]
            }
            "transactions" => vec![Some(transactions_name(self.routing.transactions).to_owned())],
            "consistency" => vec![Some(consistency_name(self.routing.consistency).to_owned())],
            "lsn" => vec![Some(self.shown_position()?)],
            "version" => vec![Some(env!("CARGO_PKG_VERSION").to_owned())],
            other => return Err(unknown(other)),
        };
        Ok(OwnAnswer { columns, row, tag: "SHOW" })
    }
}
