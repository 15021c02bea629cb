//! The settings as SHOW CONFIG tells them, and which of them a reload cannot apply. A setting is one row.

use crate::choices::{LogFormat, LogLevel};
use crate::listen::{DEFAULT_SHAPES, DEFAULT_TCP};
use crate::model::{Config, Keepalive, PoolSettings, Share};
use crate::pool::{default_pool, default_route};
use crate::scalar::word;
use crate::units::{write_bytes, write_duration, write_lag, write_optional};

/// A row of SHOW CONFIG: its key, its value now, its default, and whether a reload may change it.
pub type ShownSetting = (String, String, String, bool);

/// What a row is made of: the key, whether a reload may change it, the default, and the value.
type Row = (&'static str, bool, fn() -> String, fn(&Config) -> String);

/// All settings outside the named sections (users, clusters, databases); no secret is among them.
const ROWS: &[Row] = &[
    ("instance.name", true, || "pgweir".into(), |c| c.instance.name.clone()),
    ("instance.region", true, null, |c| optional(c.instance.region.as_deref())),
    ("instance.zone", true, null, |c| optional(c.instance.zone.as_deref())),
    ("instance.fleet", true, || "1".into(), |c| c.instance.fleet.to_string()),
    ("instance.workers", false, || "auto".into(), |c| c.instance.workers.to_string()),
    ("instance.shapes", false, || DEFAULT_SHAPES.to_string(), |c| c.instance.shapes.to_string()),
    ("listen.tcp", false, || DEFAULT_TCP.to_string(), |c| list(&c.listen.tcp)),
    ("listen.unix_dir", false, || "/tmp".into(), |c| path(c.listen.unix_dir.as_deref())),
    (
        "listen.http",
        false,
        || "127.0.0.1:9632".into(),
        |c| c.listen.http.map_or_else(null, |address| address.to_string()),
    ),
    (
        "listen.tcp_keepalive",
        false,
        || write_keepalive(crate::clusters::TO_CLIENTS),
        |c| write_keepalive(c.listen.keepalive),
    ),
    ("listen.extra", false, String::new, |c| {
        let extra: Vec<String> = c
            .listen
            .extra
            .iter()
            .map(|extra| match extra.role {
                Some(role) => format!("{} ({})", extra.tcp, word(role)),
                None => extra.tcp.to_string(),
            })
            .collect();
        extra.join(", ")
    }),
    ("listen.tls.mode", true, || "disable".into(), |c| word(c.listen.tls.mode).to_owned()),
    ("listen.tls.certificate", true, null, |c| path(c.listen.tls.certificate.as_deref())),
    ("listen.tls.key", true, null, |c| path(c.listen.tls.key.as_deref())),
    ("listen.tls.client_ca", true, null, |c| path(c.listen.tls.client_ca.as_deref())),
    ("admin.users", true, String::new, |c| c.admin.users.join(", ")),
    ("admin.stats_users", true, String::new, |c| c.admin.stats_users.join(", ")),
    (
        "log.format",
        false,
        || word(LogFormat::Text).into(),
        |c| word(if c.log.json { LogFormat::Json } else { LogFormat::Text }).to_owned(),
    ),
    ("log.level", true, || word(LogLevel::Info).into(), |c| c.log.level.clone()),
    ("log.slow_statement", true, null, |c| write_optional(c.log.slow_statement)),
    ("auth.method", true, || "scram-sha-256".into(), |c| word(c.auth.method).to_owned()),
    ("limits.max_client_conn", true, || "10000".into(), |c| c.limits.max_client_conn.to_string()),
    ("limits.max_client_conn_per_user", true, null, |c| number(c.limits.max_client_conn_per_user, "null")),
    (
        "limits.unauthenticated_connections",
        true,
        || "1000".into(),
        |c| c.limits.unauthenticated_connections.to_string(),
    ),
    ("limits.client_login_timeout", true, || "15s".into(), |c| write_duration(c.limits.client_login_timeout)),
    ("limits.client_idle_timeout", true, null, |c| write_optional(c.limits.client_idle_timeout)),
    ("limits.max_message", true, || "1GiB".into(), |c| write_bytes(c.limits.max_message)),
    ("route.role", true, || word(default_route().role).into(), |c| word(c.route.role).to_owned()),
    (
        "route.transactions",
        true,
        || word(default_route().transactions).into(),
        |c| word(c.route.transactions).to_owned(),
    ),
    (
        "route.consistency",
        true,
        || word(default_route().consistency).into(),
        |c| word(c.route.consistency).to_owned(),
    ),
    ("route.replica_wait", true, || "5ms".into(), |c| write_duration(c.route.replica_wait)),
    ("route.balance", true, || word(default_route().balance).into(), |c| word(c.route.balance).to_owned()),
    ("route.max_lag", true, || write_lag(default_route().max_lag), |c| write_lag(c.route.max_lag)),
    (
        "route.reads_on_primary",
        true,
        || word(default_route().reads_on_primary).into(),
        |c| word(c.route.reads_on_primary).to_owned(),
    ),
    ("health.interval", true, || "5s".into(), |c| write_duration(c.health.interval)),
    ("health.timeout", true, || "2s".into(), |c| write_duration(c.health.timeout)),
    ("health.failures", true, || "3".into(), |c| c.health.failures.to_string()),
    ("health.slow_start", true, || "30s".into(), |c| write_duration(c.health.slow_start)),
    ("health.assumed_lag", true, || "10s".into(), |c| write_duration(c.health.assumed_lag)),
    ("failover.wait", true, || "1m".into(), |c| write_duration(c.failover_wait)),
    ("failover.resolve_commits", true, || "false".into(), |c| c.resolve_commits.to_string()),
];

/// The same for `pool`, whose default is a whole `PoolSettings`.
type PoolRow = (&'static str, fn(&PoolSettings) -> String);

const POOL_ROWS: &[PoolRow] = &[
    ("mode", |p| word(p.mode).to_owned()),
    ("size", |p| number(p.size, "auto")),
    ("min_pool_size", |p| p.min_pool_size.to_string()),
    ("reserve_pool_size", |p| p.reserve_pool_size.to_string()),
    ("reserve_pool_timeout", |p| write_duration(p.reserve_pool_timeout)),
    ("pinned", |p| match p.pinned {
        Share::Count(count) => count.to_string(),
        Share::Percent(percent) => format!("{percent}%"),
    }),
    ("query_wait_timeout", |p| write_optional(p.query_wait_timeout)),
    ("server_connect_timeout", |p| write_duration(p.server_connect_timeout)),
    ("server_login_retry", |p| write_duration(p.server_login_retry)),
    ("server_idle_timeout", |p| write_optional(p.server_idle_timeout)),
    ("server_lifetime", |p| write_optional(p.server_lifetime)),
    ("query_timeout", |p| write_optional(p.query_timeout)),
    ("transaction_timeout", |p| write_optional(p.transaction_timeout)),
    ("idle_transaction_timeout", |p| write_optional(p.idle_transaction_timeout)),
    ("max_prepared_statements", |p| p.max_prepared_statements.to_string()),
    ("server_round_robin", |p| p.server_round_robin.to_string()),
    ("listen_on_loss", |p| word(p.listen_on_loss).to_owned()),
];

fn null() -> String {
    "null".into()
}

fn optional(text: Option<&str>) -> String {
    text.unwrap_or("null").to_owned()
}

fn path(path: Option<&std::path::Path>) -> String {
    path.map_or_else(null, |path| path.display().to_string())
}

fn number(number: Option<usize>, none: &str) -> String {
    number.map_or_else(|| none.to_owned(), |number| number.to_string())
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

impl Config {
    /// Settings for SHOW CONFIG: key, value, default, whether a reload may change it. Sorted by key, without secrets.
    pub fn show(&self) -> Vec<ShownSetting> {
        let defaults = default_pool();
        let rows = ROWS.iter().map(|(key, changeable, default, value)| {
            ((*key).to_owned(), value(self), default(), *changeable)
        });
        let pool = POOL_ROWS
            .iter()
            .map(|(key, value)| (format!("pool.{key}"), value(&self.pool), value(&defaults), true));
        let mut shown: Vec<ShownSetting> = rows.chain(pool).collect();
        shown.sort();
        shown
    }
}

/// Names of settings that differ and that a reload cannot apply.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let value_of = |(key, changeable, _, value): &Row| {
        (!changeable && value(old) != value(new)).then(|| (*key).to_owned())
    };
    ROWS.iter().filter_map(value_of).collect()
}

fn write_keepalive(keepalive: Keepalive) -> String {
    let [idle, interval, user_timeout] =
        [keepalive.idle, keepalive.interval, keepalive.user_timeout].map(write_duration);
    let count = keepalive.count;
    format!("{{idle: {idle}, interval: {interval}, count: {count}, user_timeout: {user_timeout}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("databases: {{a: 'postgres://u:hunter2@h/a'}}\n{text}");
        crate::parse_yaml(&text, "f", &|_| None, std::path::Path::new("")).unwrap()
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        for (key, value, default, _) in config("").show() {
            if key != "instance.workers" {
                assert_eq!(value, default, "{key}");
            }
        }
        let shown = config("pool: {size: 7, query_timeout: 90s}").show();
        let of = |wanted: &str| shown.iter().find(|row| row.0 == wanted).unwrap().1.clone();
        assert_eq!((of("pool.size"), of("pool.query_timeout")), ("7".to_owned(), "90s".to_owned()));
        assert!(shown.is_sorted() && !format!("{shown:?}").contains("hunter2"));
    }

    #[test]
    fn only_listeners_and_threads_need_a_restart() {
        let old = config("");
        assert!(needs_restart(&old, &config("pool: {size: 7}\nlimits: {max_client_conn: 5}")).is_empty());
        let new =
            config("listen: {tcp: ['127.0.0.1:1'], extra: [{tcp: '127.0.0.1:2'}]}\ninstance: {workers: 77}");
        assert_eq!(needs_restart(&old, &new), ["instance.workers", "listen.tcp", "listen.extra"]);
    }
}
