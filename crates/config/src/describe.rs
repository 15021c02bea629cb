//! A configuration in plain words: what `pgweir check` prints.

use std::fmt::Write;

use crate::model::{
    Cluster, Config, Consistency, Database, KeyType, NodeRole, Placement, PoolSettings, RoleSetting,
    RouteSettings, Scheme, Sharding, Source, StoredPassword, TableName, TlsMode, User,
};
use crate::scalar::word;
use crate::units::{write_duration, write_optional};

impl Config {
    /// What the configuration means, for a person; without secrets. Ends with a line break.
    pub fn describe(&self) -> String {
        let mut out = String::new();
        self.describe_listeners(&mut out);
        self.describe_auth(&mut out);
        for cluster in &self.clusters {
            self.describe_cluster(cluster, &mut out);
        }
        for database in &self.databases {
            self.describe_database(database, &mut out);
        }
        for warning in &self.warnings {
            line(&mut out, format_args!("warning: {warning}"));
        }
        out
    }

    fn describe_listeners(&self, out: &mut String) {
        let instance = &self.instance;
        let place: Vec<String> = [("region", &instance.region), ("zone", &instance.zone)]
            .into_iter()
            .filter_map(|(what, name)| name.as_ref().map(|name| format!(", {what} {name}")))
            .collect();
        let fleet = if instance.fleet > 1 {
            format!(", one of {} of its fleet", instance.fleet)
        } else {
            String::new()
        };
        let (name, place, workers) = (&instance.name, place.concat(), instance.workers);
        line(
            out,
            format_args!("pgweir `{name}`{place}{fleet}, relays on {workers} {}", plural(workers, "core")),
        );
        let tls = match self.listen.tls.mode {
            TlsMode::Disable => "without TLS",
            TlsMode::Allow | TlsMode::Prefer => "with TLS for clients that ask for it",
            TlsMode::Require => "with TLS alone",
            TlsMode::VerifyCa | TlsMode::VerifyFull => "with TLS and a client certificate alone",
        };
        for address in &self.listen.tcp {
            line(out, format_args!("listens on {address}, {tls}"));
        }
        for extra in &self.listen.extra {
            let role = extra.role.map_or_else(String::new, |role| format!(": {}", role_in_words(role)));
            line(out, format_args!("listens on {}, {tls}{role}", extra.tcp));
        }
        if let Some(folder) = &self.listen.unix_dir {
            let port = self.listen.tcp.first().map_or(6432, std::net::SocketAddr::port);
            line(out, format_args!("listens on {}", folder.join(format!(".s.PGSQL.{port}")).display()));
        }
        if let Some(address) = self.listen.http {
            line(out, format_args!("serves metrics and health on http://{address}"));
        }
        let limits = &self.limits;
        let of_user = limits
            .max_client_conn_per_user
            .map_or_else(String::new, |most| format!(", {most} for each user"));
        line(out, format_args!("takes up to {} clients{of_user}", limits.max_client_conn));
    }

    fn describe_auth(&self, out: &mut String) {
        for rule in &self.auth.rules {
            let from: Vec<String> = rule.from.iter().map(source_in_words).collect();
            line(
                out,
                format_args!(
                    "clients from {}, users {}, databases {}: {}",
                    or_any(&from),
                    or_any(&rule.users),
                    or_any(&rule.databases),
                    word(rule.method)
                ),
            );
        }
        let others = if self.auth.rules.is_empty() { "clients" } else { "other clients" };
        line(out, format_args!("{others}: {}", word(self.auth.method)));
        for user in self.users.values() {
            line(out, format_args!("user {}", user_in_words(user)));
        }
        for (names, what) in
            [(&self.admin.users, "administrators"), (&self.admin.stats_users, "may look at the console")]
        {
            if !names.is_empty() {
                line(out, format_args!("{what}: {}", names.join(", ")));
            }
        }
    }

    fn describe_cluster(&self, cluster: &Cluster, out: &mut String) {
        let region = cluster.region.as_ref().map_or_else(String::new, |region| format!(", region {region}"));
        let control = match &cluster.control {
            Some(control) => format!("probed as {}", control.user),
            None => "probed as the first user with a password".to_owned(),
        };
        let tls = word(cluster.tls.mode);
        line(out, format_args!("cluster {}{region}: TLS {tls}, {control}", cluster.name));
        for node in &cluster.nodes {
            let role = match node.role {
                None => "role found",
                Some(NodeRole::Primary) => "primary",
                Some(NodeRole::Replica) => "replica",
            };
            let zone = node.zone.as_ref().map_or_else(String::new, |zone| format!(", zone {zone}"));
            let budget = self.node_budget(cluster, node);
            line(
                out,
                format_args!(
                    "  {} at {}:{}, {role}{zone}: up to {budget} {}",
                    node.name,
                    node.host,
                    node.port,
                    plural(budget, "connection")
                ),
            );
        }
    }

    fn describe_database(&self, database: &Database, out: &mut String) {
        let name = if database.name == "*" {
            "any other database".to_owned()
        } else {
            format!("database {}", database.name)
        };
        let pool = pool_in_words(&self.pool_settings(database, None));
        let route = route_in_words(&self.route_settings(database, None));
        let login =
            database.server.as_ref().map_or_else(String::new, |login| format!(", as user {}", login.user));
        match &database.placement {
            Placement::Single { cluster, dbname } => {
                let there = dbname
                    .as_ref()
                    .map_or_else(|| "under the same name".to_owned(), |dbname| format!("as {dbname}"));
                let cluster = self.cluster(*cluster).map_or("", |cluster| &cluster.name);
                line(out, format_args!("{name}: on cluster {cluster} {there}{login}; {pool}; {route}"));
            }
            Placement::Sharded(sharding) => {
                let count = sharding.shards.len();
                line(
                    out,
                    format_args!("{name}: on {count} {}{login}; {pool}; {route}", plural(count, "shard")),
                );
                self.describe_sharding(sharding, out);
            }
        }
    }

    fn describe_sharding(&self, sharding: &Sharding, out: &mut String) {
        for shard in &sharding.shards {
            let cluster = self.cluster(shard.cluster).map_or("", |cluster| &cluster.name);
            let dbname = shard.dbname.as_ref().map_or_else(String::new, |dbname| format!(" as {dbname}"));
            line(out, format_args!("  shard {}: on cluster {cluster}{dbname}", shard.name));
        }
        let shard_name =
            |index: u16| sharding.shards.get(usize::from(index)).map_or("", |shard| shard.name.as_str());
        for (name, scheme) in &sharding.schemes {
            let Scheme::List { of, values, default } = scheme;
            let (count, of) = (values.len(), key_type_in_words(*of));
            let rest = default.map_or_else(
                || "any other is refused".to_owned(),
                |shard| format!("any other on {}", shard_name(shard)),
            );
            line(out, format_args!("  scheme {name}: a list of {count} {of}, {rest}"));
        }
        for table in &sharding.tables {
            line(
                out,
                format_args!("  table {}: by {} ({})", table_name(&table.table), table.column, table.scheme),
            );
        }
        let reference: Vec<String> = sharding.reference_tables.iter().map(table_name).collect();
        if !reference.is_empty() {
            line(out, format_args!("  the same on every shard: {}", reference.join(", ")));
        }
        for (shard, table) in &sharding.single {
            line(out, format_args!("  table {}: on {} alone", table_name(table), shard_name(*shard)));
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn or_any(names: &[String]) -> String {
    if names.is_empty() { "any".to_owned() } else { names.join(", ") }
}

fn source_in_words(source: &Source) -> String {
    match source {
        Source::Unix => "the Unix socket".to_owned(),
        Source::Network(address, bits) => format!("{address}/{bits}"),
    }
}

fn user_in_words(user: &User) -> String {
    let kinds: Vec<&str> = user
        .passwords
        .iter()
        .map(|stored| match stored {
            StoredPassword::Plain(_) => "a password",
            StoredPassword::Md5(_) => "an MD5 secret",
            StoredPassword::Scram(_) => "a SCRAM secret",
        })
        .collect();
    let kinds = if kinds.is_empty() { "no password".to_owned() } else { kinds.join(" or ") };
    let there = user.server_user.as_ref().map_or_else(String::new, |name| format!(", on the servers {name}"));
    format!("{}: {kinds}{there}", user.name)
}

fn pool_in_words(pool: &PoolSettings) -> String {
    let size = match pool.size {
        Some(size) => format!("up to {size} {} for each user and node", plural(size, "connection")),
        None => "as many connections as its nodes have free".to_owned(),
    };
    let reserve = match pool.reserve_pool_size {
        0 => String::new(),
        more => format!(" and {more} more after {}", write_duration(pool.reserve_pool_timeout)),
    };
    let wait = pool.query_wait_timeout.map_or_else(
        || "clients wait for as long as it takes".to_owned(),
        |_| format!("clients wait up to {}", write_optional(pool.query_wait_timeout)),
    );
    format!("{} pooling, {size}{reserve}, {wait}", word(pool.mode))
}

fn route_in_words(route: &RouteSettings) -> String {
    match route.role {
        RoleSetting::Auto => {
            let seen = match route.consistency {
                Consistency::Database => "what was acknowledged to anyone in the database",
                Consistency::Session => "what was acknowledged to its session",
                Consistency::Strong => "every commit before it",
                Consistency::Eventual => "what its replica has (eventual)",
            };
            format!(
                "reads to replicas by {}, the rest to the primary; a read sees {seen}",
                word(route.balance)
            )
        }
        role => role_in_words(role).to_owned(),
    }
}

fn role_in_words(role: RoleSetting) -> &'static str {
    match role {
        RoleSetting::Auto => "reads to replicas, the rest to the primary",
        RoleSetting::Primary => "everything to the primary",
        RoleSetting::Replica => "replicas alone",
        RoleSetting::Observe => "everything to the primary, with what a split would do recorded",
    }
}

fn key_type_in_words(of: KeyType) -> &'static str {
    match of {
        KeyType::Text => "texts",
        KeyType::Bigint => "integers",
        KeyType::Uuid => "uuids",
    }
}

fn table_name(table: &TableName) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}
