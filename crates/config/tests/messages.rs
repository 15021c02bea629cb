//! What is wrong is said with its file, line, column and key, all of it at once, and without secrets.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

use std::path::Path;
use std::time::Duration;

use pgweir_config::{Errors, MaxLag, parse_yaml};

fn errors(text: &str) -> Vec<String> {
    let env = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
    let errors: Errors = parse_yaml(text, "pgweir.yaml", &env, Path::new("/nonexistent")).unwrap_err();
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.to_string(), lines.join("\n"));
    assert!(!errors.to_string().contains("hunter2"), "{errors}");
    lines
}

/// A file that is right but for `extra` lines.
fn with(extra: &str) -> Vec<String> {
    errors(&format!(
        "databases: {{app: {{cluster: us}}}}\nclusters: {{us: {{nodes: {{a: {{host: a}}}}}}}}\n{extra}"
    ))
}

#[test]
fn an_unknown_key() {
    assert_eq!(
        with("pool:\n  mode: session\n  query_wait_timout: 5s\n"),
        [
            "pgweir.yaml:5:3: pool.query_wait_timout: unknown key `query_wait_timout`; did you mean `query_wait_timeout`?"
        ]
    );
    assert_eq!(
        with("health: {banana: 1}\n"),
        [
            "pgweir.yaml:3:10: health.banana: unknown key `banana`; expected one of interval, timeout, failures, slow_start, assumed_lag"
        ]
    );
}

#[test]
fn a_duplicate_key() {
    assert_eq!(
        with("pool:\n  size: 5\n  mode: session\n  size: 6\n"),
        ["pgweir.yaml:6:3: pool.size: the key `size` is here twice (first in line 4)"]
    );
}

#[test]
fn a_wrong_type() {
    assert_eq!(
        with("limits: {max_client_conn: many}\nadmin: [a]\npool: {size: [1], mode: 5}\n"),
        [
            "pgweir.yaml:3:27: limits.max_client_conn: found `many`; expected a whole number from 1 to 10000000",
            "pgweir.yaml:4:8: admin: found a list; expected a mapping",
            "pgweir.yaml:5:14: pool.size: found a list; expected auto, or a whole number from 1 to 10000000",
            "pgweir.yaml:5:25: pool.mode: found `5`; expected session, transaction or statement",
        ]
    );
    assert_eq!(
        with("instance: {region: 5}\n"),
        ["pgweir.yaml:3:20: instance.region: found a number, which in quotes would be text; expected text"]
    );
}

#[test]
fn a_dangling_name() {
    let text = "\
clusters:
  us: {nodes: {a: {host: a}}}
users: {app: {password: x}}
admin: {users: [ap]}
databases:
  one: {cluster: uss}
  two:
    shards: {east: {cluster: us}, west: {cluster: nowhere}}
  three:
    shards: {east: {cluster: us}}
    sharding:
      schemes: {s: {type: list, of: text, values: {weast: [A]}, default: west}}
      tables: {t: {key: k, scheme: z}}
      single: {far: [f]}
";
    assert_eq!(
        errors(text),
        [
            "pgweir.yaml:4:17: admin.users[0]: no user `ap`; did you mean `app`?",
            "pgweir.yaml:6:18: databases.one.cluster: no cluster `uss`; did you mean `us`?",
            "pgweir.yaml:8:51: databases.two.shards.west.cluster: no cluster `nowhere`; expected a name under clusters: us",
            "pgweir.yaml:12:52: databases.three.sharding.schemes.s.values.weast: no shard `weast`; did you mean `east`?",
            "pgweir.yaml:12:74: databases.three.sharding.schemes.s.default: no shard `west`; expected a name under shards: east",
            "pgweir.yaml:13:36: databases.three.sharding.tables.t.scheme: no scheme `z`; expected a name under schemes: s",
            "pgweir.yaml:14:16: databases.three.sharding.single.far: no shard `far`; expected a name under shards: east",
        ]
        .map(|line| line.to_owned())
    );
}

#[test]
fn nonsense_values() {
    let cases = [
        (
            "pool: {query_wait_timeout: 30}",
            "3:28: pool.query_wait_timeout: found `30`, a number without a unit; expected a duration such as 500ms, 5s, 10m, 1h or 1d, more than zero",
        ),
        ("pool: {query_timeout: 0s}", "3:23: pool.query_timeout: found `0s`; expected"),
        ("pool: {size: 0}", "3:14: pool.size: found `0`; expected auto, or"),
        ("pool: {pinned: 101%}", "3:16: pool.pinned: found `101%`; expected a percentage from 0% to 100%"),
        (
            "pool: {size: 3, min_pool_size: 5}",
            "3:32: pool.min_pool_size: 5 is more than the pool's size; expected at most 3",
        ),
        (
            "limits: {max_message: 5}",
            "3:23: limits.max_message: found `5`, a number without a unit; expected a size",
        ),
        ("limits: {max_message: 3GiB}", "3:23: limits.max_message: found `3GiB`; expected a size"),
        ("listen: {tcp: ['127.0.0.1:0']}", "3:16: listen.tcp[0]: found `127.0.0.1:0`; expected an address"),
        ("listen: {tcp: []}", "3:15: listen.tcp: an empty list; expected"),
        (
            "listen: {tcp: ['127.0.0.1:6432', '127.0.0.1:6432']}",
            "3:34: listen.tcp[1]: 127.0.0.1:6432 is listened on twice",
        ),
        ("listen: {tls: {mode: require}}", "3:22: listen.tls.mode: require without a certificate"),
        ("instance: {fleet: 0}", "3:19: instance.fleet: found `0`; expected a whole number from 1"),
        ("instance: {fleet: -1}", "3:19: instance.fleet: found `-1`; expected"),
        ("log: {level: loud}", "3:14: log.level: found `loud`; expected error, warn, info, debug or trace"),
        (
            "auth: {rules: [{from: [10.0.0.0/40], method: trust}]}",
            "3:24: auth.rules[0].from[0]: found `10.0.0.0/40`",
        ),
        ("auth: {rules: [{from: []}]}", "3:16: auth.rules[0]: has no `method`"),
        (
            "users: {a: {password: 123}}",
            "3:23: users.a.password: found a number, not in quotes; expected a password",
        ),
        ("users: {a: {password: SCRAM-SHA-256$hunter2}}", "3:23: users.a.password: a malformed SCRAM secret"),
        (
            "users: {a: {password: x, password_file: y}}",
            "3:41: users.a.password_file: password and password_file are both there",
        ),
        (
            "users: {a: {password_file: nothing}}",
            "3:28: users.a.password_file: /nonexistent/nothing cannot be read",
        ),
        ("auth: {users_file: nothing}", "3:20: auth.users_file: /nonexistent/nothing cannot be read"),
        (
            "instance: {name: \"${NOT_SET}\"}",
            "3:18: instance.name: the environment variable `NOT_SET` is not set",
        ),
        (
            "limits: {max_client_conn: \"${SECRET}\"}",
            "3:27: limits.max_client_conn: found the value from the environment; expected",
        ),
    ];
    for (line, expected) in cases {
        let found = with(line);
        assert!(found[0].starts_with(&format!("pgweir.yaml:{expected}")), "{line}: {found:?}");
    }
}

#[test]
fn clusters_and_databases_make_sense() {
    let cases = [
        ("", "pgweir.yaml: databases: has no databases"),
        ("databases:\n", "pgweir.yaml:1:10: databases: has no databases"),
        ("databases: {app: {}}", "pgweir.yaml:1:13: databases.app: has no `cluster`"),
        (
            "databases: {pgweir: 'postgres://a@b/c'}",
            "pgweir.yaml:1:13: databases.pgweir: this name is the console's",
        ),
        (
            "databases: {app: 'postgres://a:${SECRET}@b:x/c'}",
            "pgweir.yaml:1:18: databases.app: not a port in the URL",
        ),
        (
            "databases: {app: 'mysql://a:hunter2@b/c'}",
            "pgweir.yaml:1:18: databases.app: not a URL of Postgres",
        ),
        ("databases: {app: [1]}", "pgweir.yaml:1:18: databases.app: found a list; expected a mapping"),
        (
            "databases: {a: 'postgres://u:x@h/a', b: 'postgres://u:y@h/b'}",
            "pgweir.yaml:1:41: databases.b: user `u` has another password",
        ),
        ("clusters: {a: {nodes: {}}}", "pgweir.yaml:1:12: clusters.a: has no `nodes`"),
        ("clusters: {a: {nodes: {x: {port: 1}}}}", "pgweir.yaml:1:24: clusters.a.nodes.x: has no `host`"),
        (
            "clusters: {a: {nodes: {x: {host: h, port: 70000}}}}",
            "pgweir.yaml:1:43: clusters.a.nodes.x.port: found `70000`; expected a port from 1 to 65535",
        ),
        (
            "clusters: {a: {nodes: {x: {host: 'h:5'}}}}",
            "pgweir.yaml:1:34: clusters.a.nodes.x.host: a host with a port",
        ),
        (
            "clusters: {a: {nodes: {x: {host: h}, y: {host: h}}}}",
            "pgweir.yaml:1:38: clusters.a.nodes.y: the same host and port as `x`",
        ),
        (
            "clusters: {a: {nodes: {x: {host: h, role: primary}, y: {host: i, role: primary}}}}",
            "pgweir.yaml:1:53: clusters.a.nodes.y: `x` is the primary already",
        ),
        (
            "clusters: {a: {tls: {mode: verify-full}, nodes: {x: {host: h}}}}",
            "pgweir.yaml:1:28: clusters.a.tls.mode: verify-full without `ca`",
        ),
    ];
    for (text, expected) in cases {
        let found = errors(text);
        assert!(found.iter().any(|line| line.starts_with(expected)), "{text}: {found:?}");
    }
}

#[test]
fn what_this_version_cannot_obey_is_an_error_with_its_place() {
    let cases = [
        ("auth: {method: cert}", "3:16: auth.method: `cert` is not supported by this version"),
        ("auth: {rules: [{method: peer}]}", "3:25: auth.rules[0].method: `peer` is not supported"),
        ("auth: {hba_file: x}", "3:18: auth.hba_file: is not supported by this version"),
        ("auth: {query: {cluster: us, user: a, sql: b, ttl: 30s}}", "3:15: auth.query: is not supported"),
        (
            "users: {a: {server: {user: b, password_command: c}}}",
            "3:49: users.a.server.password_command: is not supported",
        ),
        (
            "listen: {extra: [{tcp: '*:1', proxy_protocol_from: [10.0.0.0/8]}]}",
            "3:52: listen.extra[0].proxy_protocol_from: is not supported",
        ),
    ];
    for (line, expected) in cases {
        let found = with(line);
        assert!(found[0].starts_with(&format!("pgweir.yaml:{expected}")), "{line}: {found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }
    let sharded = |rest: &str| {
        errors(&format!(
            "clusters: {{us: {{nodes: {{a: {{host: a}}}}}}}}\ndatabases: {{d: {{shards: {{us: {{cluster: us}}}}, {rest}}}}}"
        ))
    };
    let table = |key: &str| {
        format!(
            "sharding: {{schemes: {{s: {{type: list, of: text, values: {{us: [A]}}}}}}, tables: {{t: {{key: {key}, scheme: s}}}}}}"
        )
    };
    for (rest, expected) in [
        ("coordinator: us".to_owned(), "2:59: databases.d.coordinator: is not supported"),
        (
            "sharding: {schemes: {s: {type: hash, of: bigint, modulus: 3}}}".to_owned(),
            "schemes.s.type: `hash` is not supported",
        ),
        (
            "sharding: {schemes: {s: {type: range, of: date, ranges: {us: {to: 2026-01-01}}}}}".to_owned(),
            "`range` is not supported",
        ),
        (
            "sharding: {schemes: {s: {type: lookup, of: uuid, cluster: us, sql: x}}}".to_owned(),
            "`lookup` is not supported",
        ),
        (table("[a, b]"), "tables.t.key: a key of several columns is not supported"),
    ] {
        let found = sharded(&rest);
        assert!(found[0].contains(expected), "{rest}: {found:?}");
    }
}

#[test]
fn harmless_settings_without_effect_are_warned_of() {
    let text = "users: {u: {password: x}}\nclusters: {us: {nodes: {a: {host: a, weight: 2}}}}\ndatabases: {app: {cluster: us, max_pools: 5, two_phase: true}}\n\
                health: {slow_start: 30s}\nroute: {consistency: strong, replica_wait: 5ms, max_lag: 10s}\n";
    let config = parse_yaml(text, "f.yaml", &|_| None, Path::new("")).unwrap();
    let mut warnings = config.warnings;
    warnings.sort();
    assert_eq!(
        warnings,
        [
            "f.yaml:3:43: databases.app.max_pools: has no effect in this version",
            "f.yaml:3:57: databases.app.two_phase: has no effect in this version",
        ]
    );
}

#[test]
fn aliases_are_read_and_bombs_are_not() {
    let text = "clusters:\n  a: {tcp_keepalive: &k {idle: 5s}, nodes: {x: {host: h}}}\n  b: {tcp_keepalive: *k, nodes: {x: {host: i}}}\n\
                databases: {d: {cluster: a}}\n";
    let config = parse_yaml(text, "f.yaml", &|_| None, Path::new("")).unwrap();
    assert_eq!(config.clusters[0].keepalive, config.clusters[1].keepalive);
    // 6,000 tables that each name a list of 6,000 keys: 36 million values from 100 kB.
    let keys = vec!["k"; 6000].join(",");
    let tables: String = (0..6000).map(|n| format!("t{n}: *t,")).collect();
    let bomb = format!(
        "databases: {{d: {{sharding: {{tables: {{t: &t {{key: [{keys}], scheme: s}}, {tables}}}}}}}}}"
    );
    let found = errors(&bomb);
    assert!(found.iter().any(|line| line.contains("too large")), "{}", found.len());
}

/// Every key of the file format, also those that this version cannot obey: nothing is unknown, and each of the
/// latter is an error that says so.
#[test]
fn every_key_of_the_format_is_known() {
    let text = r#"
instance: {name: a, region: us, zone: us-1, fleet: 2, workers: 4}
listen:
  tcp: ["127.0.0.1:6432"]
  unix_dir: null
  http: null
  tls: {mode: prefer, certificate: c, key: k, client_ca: a}
  extra: [{tcp: "127.0.0.1:6433", role: replica}, {tcp: "0.0.0.0:6434", proxy_protocol_from: [10.0.0.0/8]}]
admin: {users: [app], stats_users: [app]}
log: {format: json, level: debug, slow_statement: 500ms}
auth:
  method: cert
  rules: [{from: [127.0.0.1/32, unix], users: all, databases: all, method: peer}]
  hba_file: pg_hba.conf
  query: {cluster: us, user: a, sql: "SELECT 1", ttl: 30s}
users:
  app: {password: x, server: {user: y, password_command: z}}
limits: {max_client_conn: 1, max_client_conn_per_user: null, unauthenticated_connections: 1, client_login_timeout: 1s, client_idle_timeout: null, max_message: 1GiB}
pool: {mode: statement, size: auto, min_pool_size: 0, reserve_pool_size: 0, reserve_pool_timeout: 3s, pinned: 3, query_wait_timeout: null, server_connect_timeout: 5s, server_login_retry: 1s, server_idle_timeout: null, server_lifetime: null, query_timeout: 1s, transaction_timeout: 1s, idle_transaction_timeout: 1s, max_prepared_statements: 5, server_round_robin: true, listen_on_loss: keep}
route: {role: observe, consistency: session, transactions: replica_until_write, balance: weighted, max_lag: 10s, replica_wait: 5ms, reads_on_primary: never}
health: {interval: 5s, timeout: 2s, failures: 3, slow_start: 30s}
failover: {wait: 60s}
clusters:
  us:
    region: us
    dbname: d
    control: {user: c, password: p}
    tls: {mode: verify-full, ca: ca.crt}
    tcp_keepalive: {idle: 30s, interval: 10s, count: 3, user_timeout: 30s}
    server_connections: auto
    nodes: {us-1: {host: h, port: 5432, role: auto, cores: 8, zone: z, weight: 1}}
databases:
  app: {cluster: us, dbname: d, max_pools: 500, pool: {size: 3}, route: {role: primary}}
  saas:
    shards: {us: {cluster: us, dbname: d}}
    coordinator: us
    two_phase: true
    sharding:
      schemes:
        l: {type: list, of: text, values: {us: [A]}, default: null}
        h: {type: hash, of: bigint, modulus: 3, shards: [us]}
        r: {type: range, of: date, ranges: {us: {from: 2025-01-01, to: 2026-01-01}}}
        q: {type: lookup, of: uuid, cluster: us, sql: "SELECT 1"}
      tables: {t: {key: [a, b], scheme: l}}
      reference_tables: [u]
      single: {us: [v]}
"#;
    let found = errors(text);
    let keys: Vec<&str> = found
        .iter()
        .map(|line| {
            assert!(line.contains("not supported by this version"), "{line}");
            line.split(": ").nth(1).unwrap()
        })
        .collect();
    assert_eq!(
        keys,
        [
            "listen.extra[1].proxy_protocol_from",
            "auth.method",
            "auth.rules[0].method",
            "auth.hba_file",
            "auth.query",
            "users.app.server.password_command",
            "databases.saas.coordinator",
            "databases.saas.sharding.schemes.h.type",
            "databases.saas.sharding.schemes.r.type",
            "databases.saas.sharding.schemes.r.of",
            "databases.saas.sharding.schemes.q.type",
            "databases.saas.sharding.tables.t.key",
        ]
    );
}

#[test]
fn lag_is_bounded_in_time_or_in_bytes() {
    let file = |route: &str| {
        format!(
            "users: {{u: {{password: x}}}}\nclusters: {{us: {{nodes: {{a: {{host: a}}}}}}}}\ndatabases: {{app: {{cluster: us}}}}\nroute: {{{route}}}\n"
        )
    };
    let parsed = |route: &str| parse_yaml(&file(route), "f.yaml", &|_| None, Path::new(""));
    let limit = |route: &str| parsed(route).unwrap().route.max_lag;
    assert_eq!(limit(""), Some(MaxLag::Time(Duration::from_secs(10))));
    assert_eq!(limit("max_lag: 1.5s"), Some(MaxLag::Time(Duration::from_millis(1500))));
    assert_eq!(limit("max_lag: 16MB"), Some(MaxLag::Bytes(16 << 20)));
    assert_eq!(limit("max_lag: null"), None);
    for nonsense in ["0s", "0MB", "10", "ten", "16 MBit"] {
        let errors = parsed(&format!("max_lag: {nonsense}")).unwrap_err().to_string();
        assert!(errors.contains("4:18: route.max_lag: found"), "{nonsense}: {errors}");
        assert!(errors.contains("or a size such as 16MB"), "{nonsense}: {errors}");
    }
}

#[test]
fn a_patroni_is_an_address_and_the_only_source_of_roles() {
    let with = |discover: &str| {
        format!(
            "clusters:\n  us:\n    discover: {discover}\n    nodes: {{us-1: {{host: h}}}}\ndatabases:\n  app: {{cluster: us}}\n"
        )
    };
    for (discover, wrong) in [
        ("{patroni: [\"https://10.0.0.1:8008\"]}", "expected http://host:port"),
        ("{patroni: []}", "an empty list"),
        ("{consul: [\"http://10.0.0.1:8500\"]}", "expected patroni"),
    ] {
        let found = errors(&with(discover));
        assert!(matches!(&found[..], [one] if one.contains(wrong)), "{discover}: {found:?}");
    }
}

#[test]
fn a_detection_that_takes_longer_than_the_wait_is_warned_of() {
    let warned = |rest: &str| {
        let text = format!(
            "clusters: {{us: {{nodes: {{a: {{host: a}}}}}}}}\ndatabases: {{app: {{cluster: us}}}}\n{rest}"
        );
        let config = parse_yaml(&text, "pgweir.yaml", &|_| None, Path::new("/nonexistent")).unwrap();
        config.warnings.iter().any(|line| line.contains("is noticed after up to"))
    };
    // Ten seconds to the next probe, three of five seconds each, two pauses.
    let health = "health: {interval: 10s, timeout: 5s, failures: 3}";
    assert!(warned(&format!("{health}\nfailover: {{wait: 27s}}")));
    assert!(!warned(&format!("{health}\nfailover: {{wait: 28s}}")));
    assert!(warned("failover: {wait: 13s}"));
}
