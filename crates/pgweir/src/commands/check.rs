//! `pgweir check`: what a configuration means, or what is wrong with it.

use std::io::Write;

use config::{
    Cluster, Config, Database, NodeRole, Placement, PoolMode, RoleSetting, Scheme, Sharding, TableName,
    TlsMode,
};

use crate::cli::CheckArguments;
use crate::source;

mod live;

pub(super) fn run(arguments: &CheckArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = source::load(&arguments.config)?;
    writeln!(out, "{} is a valid configuration.", arguments.config.display())?;
    describe(&config, out)?;
    for warning in &config.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    if arguments.live {
        live::run(&config, out)?;
    }
    Ok(())
}

fn describe(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let instance = &config.instance;
    writeln!(out, "\ninstance {}", instance.name)?;
    writeln!(out, "  {} relaying threads, in a fleet of {}", instance.workers, instance.fleet)?;
    for (what, place) in [("region", &instance.region), ("zone", &instance.zone)] {
        if let Some(place) = place {
            writeln!(out, "  {what} {place}")?;
        }
    }
    describe_listeners(config, out)?;
    writeln!(out, "\nclusters")?;
    for cluster in &config.clusters {
        describe_cluster(config, cluster, out)?;
    }
    writeln!(out, "\ndatabases")?;
    for database in &config.databases {
        describe_database(config, database, out)?;
    }
    Ok(())
}

fn describe_listeners(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let listen = &config.listen;
    writeln!(out, "\nlistens on")?;
    for address in &listen.tcp {
        writeln!(out, "  {address}, TLS {}", tls(listen.tls.mode))?;
    }
    if let (Some(folder), Some(first)) = (&listen.unix_dir, listen.tcp.first()) {
        writeln!(out, "  {}/.s.PGSQL.{}", folder.display(), first.port())?;
    }
    for extra in &listen.extra {
        let meaning = extra.role.map_or_else(String::new, |role| format!(", role {}", role_setting(role)));
        writeln!(out, "  {}{meaning}", extra.tcp)?;
    }
    if let Some(http) = listen.http {
        writeln!(out, "  http://{http} for /metrics and /healthz")?;
    }
    Ok(())
}

fn describe_cluster(config: &Config, cluster: &Cluster, out: &mut dyn Write) -> anyhow::Result<()> {
    let region = cluster.region.as_ref().map_or_else(String::new, |region| format!(", region {region}"));
    writeln!(out, "  {}{region}, TLS {}", cluster.name, tls(cluster.tls.mode))?;
    for node in &cluster.nodes {
        let role = match node.role {
            None => "role to be found",
            Some(NodeRole::Primary) => "primary",
            Some(NodeRole::Replica) => "replica",
        };
        let budget = config.node_budget(cluster, node);
        writeln!(
            out,
            "    {} at {}:{}, {role}, {budget} server connections",
            node.name, node.host, node.port
        )?;
    }
    Ok(())
}

fn describe_database(config: &Config, database: &Database, out: &mut dyn Write) -> anyhow::Result<()> {
    let pool = config.pool_settings(database, None);
    let mode = match pool.mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
        PoolMode::Statement => "statement",
    };
    let size =
        pool.size.map_or_else(|| "as large as the node's budget allows".to_owned(), |n| format!("of {n}"));
    let role = role_setting(config.route_settings(database, None).role);
    let name = if database.name == "*" { "any other" } else { &database.name };
    writeln!(out, "  {name}: {mode} mode, pools {size}, role {role}")?;
    match &database.placement {
        Placement::Single { cluster, dbname } => {
            let cluster = cluster_name(config, *cluster);
            match dbname {
                Some(dbname) => writeln!(out, "    cluster {cluster}, database {dbname}")?,
                None => writeln!(out, "    cluster {cluster}, database of the same name")?,
            }
        }
        Placement::Sharded(sharding) => describe_sharding(config, sharding, out)?,
    }
    Ok(())
}

fn describe_sharding(config: &Config, sharding: &Sharding, out: &mut dyn Write) -> anyhow::Result<()> {
    for shard in &sharding.shards {
        let dbname = shard.dbname.as_deref().unwrap_or("of the same name");
        let cluster = cluster_name(config, shard.cluster);
        writeln!(out, "    shard {}: cluster {cluster}, database {dbname}", shard.name)?;
    }
    for keyed in &sharding.tables {
        writeln!(out, "    {}.{} says the shard, by {}", table(&keyed.table), keyed.column, keyed.scheme)?;
    }
    for (name, Scheme::List { values, default, .. }) in &sharding.schemes {
        let shard = |index: u16| sharding.shards.get(usize::from(index)).map_or("?", |shard| &shard.name);
        for (index, of) in (0u16..).zip(&sharding.shards) {
            let values: Vec<&str> =
                values.iter().filter(|(_, at)| **at == index).map(|(value, _)| value.as_str()).collect();
            writeln!(out, "    {name}: {} → {}", values.join(", "), of.name)?;
        }
        if let Some(default) = default {
            writeln!(out, "    {name}: any other value → {}", shard(*default))?;
        }
    }
    for reference in &sharding.reference_tables {
        writeln!(out, "    {} is the same on every shard", table(reference))?;
    }
    for (index, single) in &sharding.single {
        let shard = sharding.shards.get(usize::from(*index)).map_or("?", |shard| &shard.name);
        writeln!(out, "    {} is on shard {shard} alone", table(single))?;
    }
    Ok(())
}

fn cluster_name(config: &Config, id: config::ClusterId) -> &str {
    config.cluster(id).map_or("?", |cluster| &cluster.name)
}

fn table(name: &TableName) -> String {
    match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    }
}

fn role_setting(role: RoleSetting) -> &'static str {
    match role {
        RoleSetting::Auto => "auto (reads to replicas, the rest to the primary)",
        RoleSetting::Primary => "primary",
        RoleSetting::Replica => "replica",
        RoleSetting::Observe => "observe (all to the primary, decisions recorded)",
    }
}

fn tls(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Disable => "disable",
        TlsMode::Allow => "allow",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    }
}
