//! Every file of the top-level `config` folder loads.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::path::{Path, PathBuf};

use pgweir_config::{
    Config, Placement, PoolMode, RoleSetting, Scheme, StoredPassword, TlsMode, from_url, parse_yaml,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn load(name: &str) -> Config {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    let env = |variable: &str| variable.ends_with("PASSWORD").then(|| format!("secret of {variable}"));
    parse_yaml(&text, name, &env, &folder()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn minimal_is_a_primary_its_replicas_and_a_user() {
    let config = load("minimal.yaml");
    let cluster = config.cluster_by_name("app").unwrap();
    let nodes: Vec<_> = cluster.nodes.iter().map(|node| (node.name.as_str(), node.port, node.role)).collect();
    assert_eq!(nodes, [("db1", 5432, None), ("db2", 5432, None), ("db3", 5432, None)]);
    let Placement::Single { cluster: id, dbname } = &config.database("app").unwrap().placement else {
        panic!()
    };
    assert_eq!(
        (config.cluster(*id).unwrap().name.as_str(), dbname.as_deref()),
        ("app", Some("app_production"))
    );
    let [StoredPassword::Plain(secret)] = config.users["app"].passwords.as_slice() else { panic!() };
    assert_eq!(secret.reveal(), "secret of APP_PASSWORD");
    assert_eq!(cluster.control.as_ref().unwrap().user, "app");
    assert_eq!(config.warnings, Vec::<String>::new());
    assert!(config.database("other").is_none());
}

#[test]
fn replicas_overrides_lie_on_defaults() {
    let config = load("replicas.yaml");
    let (app, report) = (&config.users["app"], &config.users["report"]);
    let analytics = config.database("analytics").unwrap();
    assert_eq!(config.pool_settings(analytics, Some(app)).size, Some(5));
    assert_eq!(config.pool_settings(analytics, Some(report)).size, Some(4));
    assert_eq!(config.pool_settings(analytics, Some(report)).mode, PoolMode::Session);
    assert_eq!(config.route_settings(analytics, Some(report)).role, RoleSetting::Replica);
    assert_eq!(config.pool_settings(config.database("app").unwrap(), None).size, Some(20));
    assert_eq!(app.passwords.len(), 1, "an empty password is none");
    let cluster = config.cluster_by_name("main").unwrap();
    assert_eq!(config.node_budget(cluster, &cluster.nodes[0]), 60);
}

#[test]
fn sharded_has_its_regions() {
    let config = load("sharded.yaml");
    let Placement::Sharded(sharding) = &config.database("saas").unwrap().placement else { panic!() };
    let Scheme::List { values, default, .. } = &sharding.schemes["by_region"];
    assert_eq!((values["MX"], values["NO"], values["IN"], *default), (0, 1, 2, None));
    assert_eq!(sharding.shards[2].dbname.as_deref(), Some("saas"));
    assert_eq!(sharding.tables[2].table.schema.as_deref(), Some("billing"));
    assert_eq!(sharding.single, [(0, sharding.single[0].1.clone())]);
    assert_eq!(sharding.reference_tables.len(), 2);
}

#[test]
fn tls_is_required_on_both_sides() {
    let config = load("tls.yaml");
    assert_eq!(config.listen.tls.mode, TlsMode::Require);
    assert_eq!(config.listen.tls.key.as_deref(), Some(folder().join("server.key").as_path()));
    assert_eq!(config.clusters[0].tls.mode, TlsMode::VerifyFull);
    assert_eq!(config.auth_method(None, "app", "app"), pgweir_config::AuthMethod::ScramSha256);
    assert_eq!(
        config.auth_method(Some([192, 168, 0, 1].into()), "app", "app"),
        pgweir_config::AuthMethod::Reject
    );
}

#[test]
fn full_says_every_setting_and_nothing_is_warned_of() {
    let config = load("full.yaml");
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(config.pool, load("minimal.yaml").pool, "its values are the defaults");
    assert_eq!(config.route, load("minimal.yaml").route);
    assert_eq!(config.limits, load("minimal.yaml").limits);
    assert_eq!(config.health, load("minimal.yaml").health);
    assert!(matches!(config.users["ops"].passwords[..], [StoredPassword::Scram(_)]));
    assert!(matches!(config.users["monitor"].passwords[..], [StoredPassword::Md5(_)]));
    let tenant = config.server_login(config.database("app").unwrap(), "tenant");
    assert_eq!(
        (tenant.user.as_str(), tenant.password.unwrap().reveal()),
        ("shared_app", "secret of SHARED_PASSWORD")
    );
    let legacy = config.server_login(config.database("legacy").unwrap(), "tenant");
    assert_eq!(legacy.user, "legacy");
    assert_eq!(
        config.server_login(config.database("app").unwrap(), "report").password.unwrap().reveal(),
        "change-me"
    );
    assert_eq!(config.database("whatever").unwrap().name, "*");
    let Placement::Sharded(sharding) = &config.database("saas").unwrap().placement else { panic!() };
    let Scheme::List { values, default, .. } = &sharding.schemes["by_tenant"];
    assert_eq!((values["3"], *default), (1, Some(1)));
    assert_eq!(sharding.shards[1].dbname.as_deref(), Some("saas_eu"));
    assert!(!format!("{config:?}").contains("secret of"), "Debug shows no secret");
}

#[test]
fn a_url_serves_its_database_to_its_user() {
    let config = from_url("postgres://app:hunter2@db1,[::1]:5433/shop?sslmode=require").unwrap();
    assert_eq!(config.listen.tcp[0].to_string(), "127.0.0.1:6432");
    assert_eq!((config.databases.len(), config.databases[0].name.as_str()), (1, "shop"));
    assert_eq!(config.clusters[0].nodes[1].host, "::1");
    assert_eq!(config.clusters[0].tls.mode, TlsMode::Require);
    assert_eq!(config.server_login(&config.databases[0], "app").password.unwrap().reveal(), "hunter2");
    assert_eq!(from_url("postgres://app@db1").unwrap().database("any").unwrap().name, "*");
    let error = from_url("postgres://app:hunter2@db1:0/x").unwrap_err().to_string();
    assert_eq!(error, "--url: not a port in the URL; expected 1 to 65535");
}

#[test]
fn describe_says_what_a_file_means() {
    let config = load("replicas.yaml");
    let text = config.describe();
    for line in [
        "listens on 0.0.0.0:6432, without TLS",
        "listens on 0.0.0.0:6433, without TLS: replicas alone",
        "listens on /tmp/.s.PGSQL.6432",
        "clients: scram-sha-256",
        "user app: a password",
        "administrators: app",
        "cluster main: TLS prefer, probed as pgweir_control",
        "  db2 at 10.0.1.2:5432, role found: up to 60 connections",
        "database analytics: on cluster main as app_analytics; transaction pooling, up to 5 connections for each user \
         and node, clients wait up to 30s; reads to replicas by least_connections, the rest to the primary; \
         a read sees what was acknowledged to anyone in the database",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
    }
    let text = load("full.yaml").describe();
    for line in [
        "clients from 127.0.0.1/32, the Unix socket, users any, databases any: scram-sha-256",
        "user tenant: a password, on the servers shared_app",
        "  us-1 at 10.0.1.1:5432, role found, zone us-east-1a: up to 16 connections",
        "  scheme by_tenant: a list of 3 integers, any other on eu",
        "  table billing.invoices: by region (by_region)",
        "  table feature_flags: on us alone",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
    }
    assert!(!text.contains("secret of") && !text.contains("change-me"));
}
