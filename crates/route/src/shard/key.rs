//! The shard of one use of a sharded table, by the value of its key.

use std::fmt::Write;

use sql::facts::{Keys, Kind, Name, Statement, Value};

use super::value::{Canonical, Problem};
use super::{Place, Proved, Prover, Purpose, refuse};
use crate::decision::Refusal;
use crate::map::{KeyedTable, in_words};
use crate::reason::ShardReason;

impl Prover<'_> {
    /// The shard of the relation with this index in the statement, which is the sharded table with that index in
    /// the map.
    pub(super) fn key(&self, statement: &Statement, relation: usize, table_index: u16) -> Proved {
        let Some(table) = self.tables.sharded.get(usize::from(table_index)) else {
            return Err(refuse::not_understood(statement));
        };
        let written = statement.relations.get(relation).is_some_and(|relation| relation.written);
        if written && statement.assigned.iter().any(|column| **column == *table.column) {
            return Err(refuse::key_assigned(table));
        }
        match (statement.kind, &statement.keys) {
            (Kind::CopyIn | Kind::CopyServer, _) | (Kind::CopyOut, Keys::None) => Err(refuse::copy(table)),
            (Kind::Merge, _) => Err(refuse::merge(table)),
            (_, Keys::Rows { columns, rows }) if written => {
                self.rows(table_index, table, columns.as_deref(), rows)
            }
            (Kind::Insert, _) if written => Err(refuse::rows_of_a_query(table)),
            (_, Keys::Equal(equalities)) => {
                let equality = equalities
                    .iter()
                    .find(|equality| equality.relation == relation && *equality.column == *table.column);
                match equality {
                    Some(equality) => self.value(table_index, table, equality.value),
                    None => Err(refuse::key_unnamed(table)),
                }
            }
            (_, Keys::None | Keys::Rows { .. }) => Err(refuse::key_unnamed(table)),
        }
    }

    /// INSERT … VALUES: all rows have to be of the same shard.
    fn rows(
        &self,
        table_index: u16,
        table: &KeyedTable,
        columns: Option<&[Name]>,
        rows: &[Vec<Option<Value>>],
    ) -> Proved {
        let Some(columns) = columns else { return Err(refuse::columns_unnamed(table)) };
        let Some(position) = columns.iter().position(|column| **column == *table.column) else {
            return Err(refuse::key_left_out(table));
        };
        let mut place: Option<Place> = None;
        for row in rows {
            let Some(Some(value)) = row.get(position) else { return Err(refuse::key_expression(table)) };
            let next = self.value(table_index, table, *value)?;
            match place {
                None => place = Some(next),
                Some(place) if place.0 == next.0 => {}
                Some(place) => return Err(refuse::rows_of_two_shards(self.map, table, place.0, next.0)),
            }
        }
        place.ok_or_else(|| refuse::key_left_out(table))
    }

    fn value(&self, table_index: u16, table: &KeyedTable, value: Value) -> Proved {
        if self.purpose == Purpose::Describe {
            return Ok((self.map.nearest(), ShardReason::Described));
        }
        let Some(scheme) = self.tables.schemes.get(table.scheme) else {
            return Err(refuse::key_unnamed(table));
        };
        let canonical = Canonical::of(self.request, scheme.of, value)
            .map_err(|problem| self.bad_value(table, value, problem))?;
        match scheme.shard_of(canonical.as_bytes()) {
            Some((shard, listed)) => Ok((shard, ShardReason::Key { table: table_index, value: listed })),
            None => Err(refuse::value_unlisted(table, canonical.as_bytes())),
        }
    }

    fn bad_value(&self, table: &KeyedTable, value: Value, problem: Problem) -> Box<Refusal> {
        let mut what = format!("{}.{}", in_words(&table.table), table.column);
        if let Value::Parameter(number) = value {
            // Writing to a String can't fail.
            let _ = write!(what, " (${number})");
        }
        refuse::value(&what, problem)
    }
}
