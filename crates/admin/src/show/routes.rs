//! SHOW ROUTES: where each shape of statement went, how often and why.

use config::Placement;
use route::TargetRole;
use session::routes::Routed;

use crate::snapshot::Snapshot;
use crate::value::{Column, Row, numeric, text};

/// So many rows, the most used shapes.
pub(crate) const MOST: usize = 1_000;

pub(crate) const ROUTES: &[Column] = &[
    text("database"),
    text("shape"),
    numeric("count"),
    text("shard"),
    text("role"),
    text("reason"),
    text("why"),
];

pub(crate) fn routes(snapshot: &Snapshot) -> Vec<Row> {
    let mut sorted: Vec<_> = snapshot.routes.iter().collect();
    sorted.sort_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
    sorted.truncate(MOST);
    sorted.into_iter().map(|(routed, count)| row(snapshot, routed, *count)).collect()
}

fn row(snapshot: &Snapshot, routed: &Routed, count: u64) -> Row {
    vec![
        routed.database.as_deref().map(str::to_owned).into(),
        routed.shape.clone().into(),
        count.into(),
        shard(snapshot, routed).into(),
        routed.target.map_or("several", |(role, _)| name(role)).into(),
        routed.why.map_or("several", |why| why.as_label()).into(),
        routed.why.map_or("went to several places for several reasons", |why| why.in_words()).into(),
    ]
}

pub(crate) const fn name(role: TargetRole) -> &'static str {
    match role {
        TargetRole::Primary => "primary",
        TargetRole::Replica => "replica",
    }
}

/// The shard's name, where the database has shards.
fn shard(snapshot: &Snapshot, routed: &Routed) -> Option<String> {
    let databases = &snapshot.directory.config.databases;
    let name = routed.database.as_deref()?;
    let named = |name: &str| databases.iter().find(|database| database.name == name);
    let database = named(name).or_else(|| named("*"))?;
    match &database.placement {
        Placement::Sharded(sharding) => {
            Some(sharding.shards.get(usize::from(routed.target?.1.0))?.name.clone())
        }
        Placement::Single { .. } => None,
    }
}
