//! The shard that a text belongs to: told by a hint or a setting, or proved from every relation that it names.
//!
//! Nothing is guessed. What isn't proved is refused, with what would make it provable.

mod catalog;
mod key;
pub(crate) mod refuse;
#[cfg(test)]
mod tests;
mod value;

use sql::facts::{Access, Because, Hint, Kind, Relation, Statement};

use crate::decision::{Refusal, Request, SessionRouting, ShardIndex};
use crate::map::{DatabaseMap, TablePlace, Tables};
use crate::reason::{ShardReason, is_session_kind};
use value::Canonical;

/// A shard and why.
pub(crate) type Place = (ShardIndex, ShardReason);

/// A shard that was told or proved, or the error for the client.
pub(crate) type Proved = Result<Place, Box<Refusal>>;

/// What the decision is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Execute,
    /// Only to describe: the values of keys aren't known yet, nor needed.
    Describe,
}

/// Proves the shard of one request.
pub(crate) struct Prover<'a> {
    pub(crate) map: &'a DatabaseMap,
    pub(crate) tables: &'a Tables,
    pub(crate) request: &'a Request<'a>,
    pub(crate) purpose: Purpose,
}

const FIRST: ShardIndex = ShardIndex(0);

impl Prover<'_> {
    /// The shard of the whole text in this session.
    pub(crate) fn shard(&self, session: &SessionRouting) -> Proved {
        if let Some(transaction) = session.transaction
            && self.request.facts.statements.iter().all(belongs_to_transaction)
        {
            return Ok((transaction.shard, ShardReason::InTransaction));
        }
        let place = match told_by_hint(self.map, &self.request.facts.hint)? {
            Some(told) => told,
            None => match session.shard {
                Some(shard) => (shard, ShardReason::Setting),
                None => self.prove()?,
            },
        };
        match session.transaction {
            None => Ok(place),
            Some(transaction) if place.1.is_free() => Ok((transaction.shard, ShardReason::InTransaction)),
            Some(transaction) if place.0 == transaction.shard => Ok(place),
            Some(transaction) => Err(refuse::transaction_elsewhere(self.map, transaction.shard, place.0)),
        }
    }

    fn prove(&self) -> Proved {
        let mut place = (FIRST, ShardReason::NoRelation);
        for statement in &self.request.facts.statements {
            place = join(self.map, place, self.statement(statement)?)?;
        }
        Ok(place)
    }

    fn statement(&self, statement: &Statement) -> Proved {
        match statement.kind {
            // Listeners are on the first shard, wherever the rest of the session is.
            Kind::Notify => Ok((FIRST, ShardReason::First)),
            kind if is_session_kind(kind) => Ok((FIRST, ShardReason::NoRelation)),
            Kind::Unknown => Err(refuse::not_understood(statement)),
            Kind::Utility => Err(refuse::every_shard(statement)),
            Kind::TwoPhase => Err(refuse::command("prepared transactions are each shard's own")),
            Kind::Procedure => Err(refuse::command("a DO block or procedure may use any table")),
            Kind::Prepare | Kind::Execute => {
                Err(refuse::command("SQL-level PREPARE and EXECUTE don't say the values of keys together"))
            }
            _ => self.relations(statement),
        }
    }

    /// Every relation has a say; those that live everywhere go along.
    fn relations(&self, statement: &Statement) -> Proved {
        // An unlisted relation explains more than what else wasn't understood.
        for relation in &statement.relations {
            self.listed(relation)?;
        }
        if statement.access == Access::Unknown || !statement.relations_complete {
            return Err(refuse::not_understood(statement));
        }
        let mut place = match &statement.because {
            // Sent where the listeners are, or nowhere.
            Some(Because::Function(name)) if &**name == "pg_notify" => (FIRST, ShardReason::First),
            // Sequences, advisory locks and their kind are each shard's own.
            Some(_) if statement.relations.is_empty() => (FIRST, ShardReason::First),
            _ => (self.map.nearest(), ShardReason::NoRelation),
        };
        for (index, relation) in statement.relations.iter().enumerate() {
            let next = match self.listed(relation)? {
                Listed::Catalog => (FIRST, ShardReason::Catalog),
                Listed::Table(TablePlace::Reference) => (self.map.nearest(), ShardReason::Reference),
                Listed::Table(TablePlace::Single(table, shard)) => (shard, ShardReason::Single { table }),
                Listed::Table(TablePlace::Sharded(table)) => self.key(statement, index, table)?,
            };
            place = join(self.map, place, next)?;
        }
        Ok(place)
    }

    /// Where a relation lives, if the configuration lists it and the statement may use it so.
    fn listed(&self, relation: &Relation) -> Result<Listed, Box<Refusal>> {
        match self.tables.find(relation.schema.as_deref(), &relation.name) {
            Some(TablePlace::Reference) if relation.written => Err(refuse::reference_written(relation)),
            Some(place) => Ok(Listed::Table(place)),
            None if catalog::is_catalog(relation) && !relation.written => Ok(Listed::Catalog),
            None => Err(refuse::unlisted(relation)),
        }
    }
}

enum Listed {
    Table(TablePlace),
    Catalog,
}

/// Statements that an open transaction keeps to itself, whatever else the session has said meanwhile.
fn belongs_to_transaction(statement: &Statement) -> bool {
    is_session_kind(statement.kind) && statement.kind != Kind::Notify
}

/// What the hint says of the shard, if anything.
pub(crate) fn told_by_hint(map: &DatabaseMap, hint: &Hint) -> Result<Option<Place>, Box<Refusal>> {
    let Some(tables) = map.tables() else { return Ok(None) };
    let by_name = match &hint.shard {
        Some(name) => Some(map.shard_named(name).ok_or_else(|| refuse::unknown_shard(map, name))?),
        None => None,
    };
    let by_key = match (&hint.key, tables.schemes.as_slice()) {
        (None, _) => None,
        (Some(key), [scheme]) => {
            let shard = Canonical::from_text(scheme.of, key.as_bytes())
                .and_then(|value| scheme.shard_of(value.as_bytes()))
                .ok_or_else(|| refuse::hint_key(key))?;
            Some(shard.0)
        }
        (Some(_), _) => return Err(refuse::hint_key_ambiguous()),
    };
    match (by_name, by_key) {
        (None, None) => Ok(None),
        (Some(shard), None) => Ok(Some((shard, ShardReason::Hint))),
        (None, Some(shard)) => Ok(Some((shard, ShardReason::HintKey))),
        (Some(name), Some(key)) if name == key => Ok(Some((name, ShardReason::Hint))),
        (Some(name), Some(key)) => Err(refuse::hint_contradicts(map, name, key)),
    }
}

/// The shard of both, if they agree or one of them doesn't mind.
pub(crate) fn join(map: &DatabaseMap, first: Place, next: Place) -> Proved {
    match (first.1.is_free(), next.1.is_free()) {
        (true, _) if first.1 == ShardReason::NoRelation || !next.1.is_free() => Ok(next),
        (_, true) => Ok(first),
        _ if first.0 == next.0 => Ok(first),
        _ => Err(refuse::two_shards(map, first.0, next.0)),
    }
}
