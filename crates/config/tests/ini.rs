//! A pgbouncer.ini means what PgBouncer would make of it, and the same again as YAML.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use pgweir_config::{AuthMethod, Config, Errors, Placement, PoolMode, TlsMode, import_ini, load, parse_yaml};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/pgbouncer.ini")
}

/// Loads text as a file in a folder of its own, which holds a users file too.
fn load_text(text: &str) -> (Result<Config, Errors>, Result<String, Errors>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgbouncer.ini");
    std::fs::write(&path, text).unwrap();
    std::fs::write(folder.path().join("users.txt"), "\"app\" \"hunter2\"\n").unwrap();
    let loaded = load(&path);
    if let (Ok(config), Ok(yaml)) = (&loaded, import_ini(&path)) {
        let again = parse_yaml(&yaml, "y", &|_| None, folder.path())
            .unwrap_or_else(|errors| panic!("{errors}\n{yaml}"));
        assert_eq!(without_warnings(config), without_warnings(&again), "{yaml}");
    }
    (loaded, import_ini(&path))
}

fn without_warnings(config: &Config) -> Config {
    Config { warnings: Vec::new(), ..config.clone() }
}

fn errors(text: &str) -> String {
    let errors = load_text(text).0.unwrap_err();
    let lines: Vec<String> = errors
        .iter()
        .map(|error| {
            let line = error.to_string();
            let start = line.find("pgbouncer.ini").unwrap();
            line[start..].to_owned()
        })
        .collect();
    assert!(!lines.join("\n").contains("hunter2"));
    lines.join("\n")
}

#[test]
fn the_example_is_read() {
    let config = load(&example()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(
        config.listen.tcp.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["127.0.0.1:6432", "[::1]:6432"]
    );
    assert_eq!(config.auth.method, AuthMethod::ScramSha256);
    assert_eq!(config.pool.query_wait_timeout, Some(Duration::from_secs(120)));
    assert_eq!((config.pool.query_timeout, config.pool.size), (None, Some(20)));
    assert_eq!(config.admin.stats_users, ["monitor", "ops"]);
    let app = config.database("app").unwrap();
    let reports = config.database("reports").unwrap();
    let cluster = |database: &pgweir_config::Database| match &database.placement {
        Placement::Single { cluster, .. } => config.cluster(*cluster).unwrap().clone(),
        Placement::Sharded(_) => panic!("{database:?}"),
    };
    assert_eq!(cluster(app), cluster(reports), "one cluster for the same servers");
    assert_eq!((cluster(app).nodes.len(), cluster(app).server_connections), (2, Some(50)));
    assert_eq!(config.pool_settings(app, config.users.get("monitor")).size, Some(2));
    assert_eq!(
        (config.pool_settings(app, None).size, config.pool_settings(reports, None).mode),
        (Some(15), PoolMode::Session)
    );
    let legacy = config.database("legacy").unwrap();
    assert_eq!((cluster(legacy).nodes[0].port, cluster(legacy).tls.mode), (5433, TlsMode::Prefer));
    let login = config.server_login(legacy, "ops");
    assert_eq!((login.user.as_str(), login.password.unwrap().reveal()), ("legacy", "it's old"));
    assert_eq!(config.database("anything").unwrap().name, "*");
}

#[test]
fn the_example_as_yaml_is_the_same() {
    let yaml = import_ini(&example()).unwrap();
    let again = parse_yaml(&yaml, "y", &|_| None, example().parent().unwrap())
        .unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    assert_eq!(again, load(&example()).unwrap(), "{yaml}");
}

#[test]
fn silence_means_what_it_means_to_pgbouncer() {
    let config = load_text("[databases]\na =\n[pgbouncer]\nlisten_addr = *\n").0.unwrap();
    assert_eq!((config.pool.mode, config.pool.size), (PoolMode::Session, Some(20)));
    assert_eq!((config.auth.method, config.limits.max_client_conn), (AuthMethod::Md5, 100));
    assert_eq!(config.listen.tcp[0].to_string(), "0.0.0.0:6432");
    assert_eq!(
        (config.clusters[0].nodes[0].host.as_str(), config.clusters[0].server_connections),
        ("/tmp", Some(20))
    );
    assert!(
        config
            .warnings
            .iter()
            .any(|w| w.contains("databases.a: no max_db_connections bounds its servers: 20 connections"))
    );
}

#[test]
fn passwords_and_names_survive_being_written() {
    let text = "[databases]\n\"we\"\"ird: name\" = host=h user='a b' password='${NOT} \\ \" '' #: {x}'\n[pgbouncer]\nlisten_addr=::1\n";
    let (config, yaml) = load_text(text);
    let config = config.unwrap();
    let login = config.server_login(config.database("we\"ird: name").unwrap(), "x");
    assert_eq!(login.password.unwrap().reveal(), "${NOT} \\ \" ' #: {x}");
    assert!(yaml.unwrap().contains("$${NOT}"));
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_the_ini() {
    let text = "\
[databases]
a = host=h pool_sise=5
b = host=h port=0
c = host
d = host=h password=hunter2
a = host=h
e = host=h auth_user=x pool_size=0
[pgbuncer]
[pgbouncer]
pool_mod = session
pool_mode = never
max_client_conn = many
query_timeout = 5m
server_connect_timeout = 0
auth_type = hba
auth_hba_file = x
listen_addr = 127.0.0.1
nonsense
";
    assert_eq!(
        errors(text),
        "\
pgbouncer.ini:2:12: databases.a.pool_sise: unknown parameter of a database; did you mean `pool_size`?
pgbouncer.ini:3:17: databases.b.port: found `0`; expected a port from 1 to 65535
pgbouncer.ini:4:5: databases.c: not a connection string; expected key=value key='value'
pgbouncer.ini:5:21: databases.d.password: a password without a user; expected `user` beside it
pgbouncer.ini:6:1: databases.a: `a` is here twice
pgbouncer.ini:7:22: databases.e.auth_user: is not supported by this version
pgbouncer.ini:7:34: databases.e.pool_size: found `0`; expected auto, or a whole number from 1 to 10000000
pgbouncer.ini:8:1: pgbuncer: unknown section; expected [databases], [users] or [pgbouncer]; did you mean `pgbouncer`?
pgbouncer.ini:10:1: pgbouncer.pool_mod: unknown setting; did you mean `pool_mode`?
pgbouncer.ini:11:13: pgbouncer.pool_mode: found `never`; expected session, transaction or statement
pgbouncer.ini:12:19: pgbouncer.max_client_conn: found `many`; expected a whole number
pgbouncer.ini:13:17: pgbouncer.query_timeout: found `5m`; expected seconds
pgbouncer.ini:14:26: pgbouncer.server_connect_timeout: found `0`; expected seconds, more than 0
pgbouncer.ini:15:13: pgbouncer.auth_type: `hba` is not supported by this version; expected trust, md5 or scram-sha-256
pgbouncer.ini:16:17: pgbouncer.auth_hba_file: is not supported by this version
pgbouncer.ini:18:1: not a setting; expected name = value"
    );
}

#[test]
fn what_is_left_out_is_warned_of() {
    let text = "[databases]\na = host=h max_db_connections=3\n[pgbouncer]\nlisten_addr=127.0.0.1\nlogfile = /x\nserver_reset_query = SELECT 1\n\
                auth_file = users.txt\nadmin_users = app, ghost\nclient_tls_sslmode = require\nclient_tls_cert_file = c\nclient_tls_key_file = k\n";
    let config = load_text(text).0.unwrap();
    let warned: Vec<&str> =
        config.warnings.iter().map(|line| line.split_once("pgbouncer.ini:").unwrap().1).collect();
    assert_eq!(
        warned,
        [
            "5:11: pgbouncer.logfile: has no counterpart and is left out",
            "6:22: pgbouncer.server_reset_query: is left out: a connection in doubt is reset with DISCARD ALL, or closed",
            "8:15: pgbouncer.admin_users: `ghost` is not in auth_file, so it is left out",
        ]
    );
    assert_eq!((config.admin.users, config.listen.tls.mode), (vec!["app".to_owned()], TlsMode::Require));
}
