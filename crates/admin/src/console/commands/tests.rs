use super::*;
use crate::console::text::commands;
use crate::show::testing;

fn found(text: &str) -> Result<&'static str, String> {
    let mut parsed = commands(text).unwrap();
    assert_eq!(parsed.len(), 1, "{text}");
    find(&parsed.remove(0)).map(|row| row.name).map_err(|report| report.code.to_string())
}

#[test]
fn every_row_is_found_by_its_name_and_no_other() {
    for row in TABLE {
        assert_eq!(found(&row.name.to_lowercase()), Ok(row.name));
        let more = found(&format!("{} more", row.name));
        assert_eq!(more.is_ok(), row.takes_more, "{}", row.name);
    }
}

#[test]
fn what_is_not_in_the_table_is_refused() {
    for text in
        ["SELECT 1", "SHOW", "SHOW POOL", "SHOW POOLS x", "POOLS", "SHOW \"POOLS\"", "SHOW 'pools'", "= ="]
    {
        assert_eq!(found(text), Err("42601".to_owned()), "{text}");
    }
    for text in ["SET max_client_conn = 5", "set pool_mode to 'session'"] {
        assert_eq!(found(text), Err("0A000".to_owned()), "{text}");
    }
}

#[test]
fn what_drivers_send_by_themselves_is_accepted() {
    for (text, name) in [
        ("SET extra_float_digits = 3", "SET"),
        ("SET application_name = 'PostgreSQL JDBC Driver'", "SET"),
        ("set datestyle to 'ISO'", "SET"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SET"),
        ("begin", "BEGIN"),
        ("BEGIN READ ONLY", "BEGIN"),
        ("rollback", "ROLLBACK"),
        ("DISCARD ALL", "DISCARD ALL"),
    ] {
        assert_eq!(found(text), Ok(name), "{text}");
    }
}

#[test]
fn who_may_look_may_not_administer() {
    let snapshot = testing::snapshot();
    let listed = &snapshot.directory.config.admin;
    let mut administering = Vec::new();
    for row in TABLE {
        assert!(allow(row, "ops", listed).is_ok(), "{}", row.name);
        match allow(row, "monitor", listed) {
            Ok(()) => assert!(row.name.starts_with("SHOW") || row.what.is_empty(), "{}", row.name),
            Err(report) => {
                assert_eq!(report.code, SqlState::INSUFFICIENT_PRIVILEGE);
                administering.push(row.name);
            }
        }
        assert!(allow(row, "app", listed).is_err(), "{}", row.name);
    }
    for name in ["RELOAD", "SHUTDOWN", "PAUSE", "KILL", "SHOW FDS"] {
        assert!(administering.contains(&name), "{name}");
    }
}

#[test]
fn rows_have_as_many_values_as_columns() {
    let mut snapshot = testing::snapshot();
    snapshot.pools.push(testing::pool(&snapshot, "app", "app", 0));
    for row in TABLE {
        if let Action::Show { columns, rows, .. } = row.action {
            for values in rows(&snapshot) {
                assert_eq!(values.len(), columns.len(), "{}", row.name);
            }
        }
    }
}

/// Names and types as PgBouncer describes them (its 1.18 was asked; what 1.20 to 1.24 added is from its
/// documentation): exporters and dashboards go by them.
#[test]
fn columns_are_pgbouncers_where_it_has_the_command() {
    let expected = [
        (
            "SHOW POOLS",
            "database:25 user:25 cl_active:23 cl_waiting:23 cl_active_cancel_req:23 cl_waiting_cancel_req:23 \
             sv_active:23 sv_active_cancel:23 sv_being_canceled:23 sv_idle:23 sv_used:23 sv_tested:23 sv_login:23 \
             maxwait:23 maxwait_us:23 pool_mode:25 load_balance_hosts:25",
        ),
        (
            "SHOW CLIENTS",
            "type:25 user:25 database:25 replication:25 state:25 addr:25 port:23 local_addr:25 local_port:23 \
             connect_time:25 request_time:25 wait:23 wait_us:23 close_needed:23 ptr:25 link:25 remote_pid:23 tls:25 \
             application_name:25 prepared_statements:23 id:23",
        ),
        (
            "SHOW SERVERS",
            "type:25 user:25 database:25 replication:25 state:25 addr:25 port:23 local_addr:25 local_port:23 \
             connect_time:25 request_time:25 wait:23 wait_us:23 close_needed:23 ptr:25 link:25 remote_pid:23 tls:25 \
             application_name:25 prepared_statements:23 id:23",
        ),
        (
            "SHOW STATS",
            "database:25 total_xact_count:1700 total_query_count:1700 total_received:1700 total_sent:1700 \
             total_xact_time:1700 total_query_time:1700 total_wait_time:1700 avg_xact_count:1700 \
             avg_query_count:1700 avg_recv:1700 avg_sent:1700 avg_xact_time:1700 avg_query_time:1700 \
             avg_wait_time:1700",
        ),
        (
            "SHOW STATS_TOTALS",
            "database:25 xact_count:1700 query_count:1700 bytes_received:1700 bytes_sent:1700 xact_time:1700 \
             query_time:1700 wait_time:1700",
        ),
        (
            "SHOW STATS_AVERAGES",
            "database:25 xact_count:1700 query_count:1700 bytes_received:1700 bytes_sent:1700 xact_time:1700 \
             query_time:1700 wait_time:1700",
        ),
        ("SHOW TOTALS", "name:25 value:1700"),
        ("SHOW LISTS", "list:25 items:23"),
        (
            "SHOW DATABASES",
            "name:25 host:25 port:23 database:25 force_user:25 pool_size:23 min_pool_size:23 reserve_pool_size:23 \
             server_lifetime:23 pool_mode:25 load_balance_hosts:25 max_connections:23 current_connections:23 \
             max_client_connections:23 current_client_connections:23 paused:23 disabled:23",
        ),
        (
            "SHOW USERS",
            "name:25 pool_size:25 reserve_pool_size:25 pool_mode:25 max_user_connections:23 current_connections:23 \
             max_user_client_connections:23 current_client_connections:23",
        ),
        ("SHOW CONFIG", "key:25 value:25 default:25 changeable:25"),
        ("SHOW STATE", "key:25 value:25"),
        ("SHOW VERSION", "version:25"),
    ];
    for (name, columns) in expected {
        let row = TABLE.iter().find(|row| row.name == name).unwrap();
        let ours: Vec<String> = row
            .action
            .columns()
            .unwrap()
            .iter()
            .map(|column| format!("{}:{}", column.name, column.kind.oid()))
            .collect();
        let ours = ours.join(" ");
        assert!(ours == columns || ours.starts_with(&format!("{columns} ")), "{name}: {ours}");
    }
}
