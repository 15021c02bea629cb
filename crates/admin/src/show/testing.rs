//! A snapshot of a small configuration, for the tests of the rows.

use std::sync::Arc;
use std::time::Duration;

use backend::{Directory, Remote};

use crate::snapshot::{ClientCounts, PoolState, Snapshot};
use crate::value::{Column, Row, Value};

const CONFIG: &str = "
admin: {users: [ops], stats_users: [monitor]}
users: {app: {password: app, pool: {mode: transaction}}, eve: {password: e}, ops: {password: o}, monitor: {password: m}}
pool: {size: 8}
clusters:
  us:
    region: us-east
    server_connections: 20
    nodes:
      us-1: {host: 10.0.0.1, role: primary, zone: a}
      us-2: {host: 10.0.0.2, role: replica, zone: b}
databases:
  app: {cluster: us, dbname: app_production}
  other: {cluster: us, pool: {mode: session, size: 3}}
  '*': {cluster: us}
";

/// A directory of two databases, and any other, in a cluster of a primary and a replica.
pub(crate) fn directory() -> Arc<Directory> {
    let config = config::parse_yaml(CONFIG, "test.yaml", &|_| None, std::path::Path::new("")).unwrap();
    Arc::new(Directory::new(Arc::new(config), 1, Remote::new(|_, _| {})).unwrap())
}

/// Nothing has happened yet.
pub(crate) fn snapshot() -> Snapshot {
    Snapshot::empty(directory())
}

/// An empty pool of a node.
pub(crate) fn pool(snapshot: &Snapshot, database: &str, user: &str, node: usize) -> PoolState {
    let group = snapshot.directory.group(database, user).unwrap();
    PoolState {
        shared: Arc::clone(&group.pools[0][node]),
        idle: 0,
        leased: 0,
        held: 0,
        cancels: 0,
        opening: 0,
        waiting: 0,
        longest_wait: Duration::ZERO,
    }
}

pub(crate) fn counts(idle: usize, active: usize, idle_in_transaction: usize) -> ClientCounts {
    ClientCounts { idle, active, idle_in_transaction, ..ClientCounts::default() }
}

/// The values of a row by their columns' names, as text; NULL is `NULL`.
pub(crate) fn named<'a>(columns: &'a [Column], row: &'a Row) -> impl Fn(&str) -> &'static str + 'a {
    assert_eq!(columns.len(), row.len());
    |name| {
        let at = columns.iter().position(|column| column.name == name).expect(name);
        let text = match &row[at] {
            Value::Null => "NULL".to_owned(),
            Value::Text(text) => text.to_string(),
            Value::Number(number) => number.to_string(),
        };
        // A test may leak what makes its assertions short.
        text.leak()
    }
}
