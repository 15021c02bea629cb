//! Facts and maps by hand, for this crate's own tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::{ClusterId, KeyType, Placement, Scheme, Shard, ShardedTable, Sharding, TableName};
use sql::LexSettings;
use sql::facts::{Access, Because, Facts, KeyEquality, Keys, Kind, Relation, Statement, Value};

use crate::decision::{Decision, ParameterValue, Parameters, Request, SessionRouting};
use crate::map::DatabaseMap;

/// Shards us and eu; `customers` by text `region`, `orders` by bigint `tenant`, `billing.invoices` by uuid `owner`;
/// `countries` everywhere; `flags` on eu.
pub(crate) fn sharded() -> DatabaseMap {
    let list = |of, values: &[(&str, u16)], default| Scheme::List {
        of,
        values: values.iter().map(|(text, shard)| ((*text).to_owned(), *shard)).collect(),
        default,
    };
    let table = |schema: Option<&str>, name: &str, column: &str, scheme: &str| ShardedTable {
        table: TableName { schema: schema.map(str::to_owned), name: name.into() },
        column: column.into(),
        scheme: scheme.into(),
    };
    let shard = |name: &str, cluster| Shard { name: name.into(), cluster: ClusterId(cluster), dbname: None };
    DatabaseMap::new(
        &[],
        &Placement::Sharded(Sharding {
            shards: vec![shard("us", 0), shard("eu", 1)],
            schemes: BTreeMap::from([
                (
                    "by_owner".into(),
                    list(KeyType::Uuid, &[("00000000-0000-0000-0000-0000000000ff", 1)], None),
                ),
                ("by_region".into(), list(KeyType::Text, &[("DE", 1), ("US", 0)], None)),
                ("by_tenant".into(), list(KeyType::Bigint, &[("-7", 1), ("7", 0)], Some(1))),
            ]),
            tables: vec![
                table(None, "customers", "region", "by_region"),
                table(None, "orders", "tenant", "by_tenant"),
                table(Some("billing"), "invoices", "owner", "by_owner"),
            ],
            reference_tables: vec![TableName { schema: None, name: "countries".into() }],
            single: vec![(1, TableName { schema: None, name: "flags".into() })],
        }),
    )
}

/// One cluster, no shards.
pub(crate) fn unsharded() -> DatabaseMap {
    DatabaseMap::new(&[], &Placement::Single { cluster: ClusterId(0), dbname: None })
}

pub(crate) fn read(name: &str) -> Relation {
    Relation { schema: None, name: name.into(), written: false }
}

pub(crate) fn written(name: &str) -> Relation {
    Relation { written: true, ..read(name) }
}

pub(crate) fn select(relations: Vec<Relation>) -> Statement {
    Statement { relations, ..Statement::read(Kind::Select) }
}

/// A statement that writes to its first relation.
pub(crate) fn writes(kind: Kind, relations: Vec<Relation>) -> Statement {
    let mut statement = Statement { relations, ..Statement::read(kind) };
    statement.worsen(Access::Write, Because::Command("UPDATE"));
    statement
}

/// `relation.column = $parameter`.
pub(crate) fn equals(relation: usize, column: &str, parameter: u16) -> KeyEquality {
    KeyEquality { relation, column: column.into(), value: Value::Parameter(parameter) }
}

pub(crate) fn keyed(mut statement: Statement, equalities: Vec<KeyEquality>) -> Statement {
    statement.keys = Keys::Equal(equalities);
    statement
}

pub(crate) fn facts(statements: Vec<Statement>) -> Facts {
    let access = statements.iter().map(|statement| statement.access).max().unwrap_or_default();
    Facts { statements, access, ..Facts::default() }
}

/// Parameters in text format, of types left to the server.
pub(crate) struct Texts<'a>(pub(crate) &'a [Option<&'a str>]);

impl Parameters for Texts<'_> {
    fn value(&self, number: u16) -> Option<ParameterValue<'_>> {
        let value = self.0.get(usize::from(number).checked_sub(1)?)?;
        Some(ParameterValue { bytes: value.map(str::as_bytes), binary: false, type_oid: 0 })
    }
}

/// Decides for these facts, bound to these values.
pub(crate) fn decided(
    map: &DatabaseMap,
    session: SessionRouting,
    facts: Facts,
    values: &[Option<&str>],
) -> Decision {
    let facts = Arc::new(facts);
    let parameters = Texts(values);
    let request = Request {
        facts: &facts,
        sql: b"",
        literals: &[],
        parameters: Some(&parameters),
        lex: LexSettings::default(),
        catalogs: &[],
    };
    crate::decide(map, &session, &request)
}

/// The same in words.
pub(crate) fn explained(
    map: &DatabaseMap,
    session: SessionRouting,
    facts: Facts,
    values: &[Option<&str>],
) -> String {
    crate::explain(map, &decided(map, session, facts, values))
}
