//! The demo's data, made by the servers themselves: the same each time, and plausible enough to play with.

use anyhow::Context;
use localpg::Cluster;

/// What is loaded, in words.
pub(super) const SUMMARY: &str = "shop (20,000 customers, 500 products, 60,000 orders), \
                                  saas (10,000 customers and 30,000 orders in each region)";

/// A region's shard of `saas`: its regions, and where its ids begin.
pub(super) struct Shard {
    regions: &'static str,
    first_id: u32,
}

pub(super) const US: Shard = Shard { regions: "US,CA,MX", first_id: 1 };
pub(super) const EU: Shard = Shard { regions: "DE,FR,ES", first_id: 1_000_001 };

/// `shop`: one database on one cluster.
pub(super) const SHOP: &str = include_str!("shop.sql");

/// `saas` on one shard, with what psql puts into it.
pub(super) fn saas(shard: &Shard) -> String {
    let Shard { regions, first_id } = shard;
    format!("\\set regions {regions}\n\\set first_id {first_id}\n{}", include_str!("saas.sql"))
}

/// Runs each script in its database on the primary, as the demo's user, and waits until the replicas have it all.
pub(super) fn load(cluster: &Cluster, scripts: &[(&str, String)]) -> anyhow::Result<()> {
    for (database, script) in scripts {
        let script = format!("BEGIN;\n{script}\nCOMMIT;\nANALYZE;\n");
        cluster
            .psql_as(cluster.primary().index(), super::USER, database, &script)
            .with_context(|| format!("{database} in region {} could not be loaded", cluster.name()))?;
    }
    cluster.wait_all_caught_up().with_context(|| format!("region {}", cluster.name()))
}
