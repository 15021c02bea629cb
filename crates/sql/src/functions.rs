//! What is known of functions: which write, which must have the primary, which change the session.

use crate::builtins::{INFORMATION_SCHEMA, STEADY, VOLATILE};
use crate::facts::{Effect, PinReason};

/// What calling a function means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It reads nothing but its arguments and the catalogs.
    Reads,
    /// It reads tables that are named by its arguments.
    ReadsUnknownTables,
    /// It writes, or a replica's answer would be another.
    Primary,
    /// Nothing is known of it.
    Unknown,
}

/// Volatile, but the same on any node as far as a client can tell, and without effect.
const HARMLESS: [&str; 15] = [
    "bernoulli",
    "clock_timestamp",
    "current_query",
    "gen_random_uuid",
    "pg_collation_actual_version",
    "pg_database_collation_actual_version",
    "pg_jit_available",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "random",
    "system",
    "timeofday",
];

/// Stable, but the primary's: transaction ids, statistics, settings, what belongs to a session.
const PRIMARY: [&str; 16] = [
    "pg_conf_load_time",
    "pg_current_snapshot",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "pg_cursor",
    "pg_get_replication_slots",
    "pg_is_other_temp_schema",
    "pg_listening_channels",
    "pg_my_temp_schema",
    "pg_postmaster_start_time",
    "pg_prepared_statement",
    "pg_sequence_parameters",
    "pg_show_all_settings",
    "txid_current",
    "txid_current_if_assigned",
    "txid_current_snapshot",
];

/// What looks like a call but is the grammar's own; only without quotes.
const GRAMMAR: [&str; 25] = [
    "array",
    "coalesce",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "greatest",
    "grouping",
    "least",
    "localtime",
    "localtimestamp",
    "nullif",
    "row",
    "session_user",
    "user",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlparse",
    "xmlpi",
    "xmlroot",
];

/// What this function of `pg_catalog` does, by its name as the catalog has it.
#[must_use]
pub fn built_in(name: &str) -> Verdict {
    verdict(Some("pg_catalog"), name, true)
}

/// What this function does, by its name (folded) and schema, if one was written.
pub(crate) fn verdict(schema: Option<&str>, name: &str, quoted: bool) -> Verdict {
    match schema {
        None | Some("pg_catalog") => {}
        Some("information_schema") if INFORMATION_SCHEMA.binary_search(&name).is_ok() => {
            return Verdict::Reads;
        }
        Some(_) => return Verdict::Unknown,
    }
    if STEADY.binary_search(&name).is_ok() {
        return if PRIMARY.contains(&name) || name.starts_with("pg_stat_get_") {
            Verdict::Primary
        } else if reads_unknown_tables(name) {
            Verdict::ReadsUnknownTables
        } else {
            Verdict::Reads
        };
    }
    if HARMLESS.contains(&name) {
        Verdict::Reads
    } else if VOLATILE.binary_search(&name).is_ok() {
        Verdict::Primary
    } else if !quoted && schema.is_none() && GRAMMAR.contains(&name) {
        Verdict::Reads
    } else {
        Verdict::Unknown
    }
}

/// Whether this built-in reads tables, or runs a query, that its arguments name.
pub(crate) fn reads_unknown_tables(name: &str) -> bool {
    const READERS: [&str; 7] = [
        "table_to_xml",
        "schema_to_xml",
        "database_to_xml",
        "query_to_xml",
        "cursor_to_xml",
        "ts_stat",
        "ts_rewrite",
    ];
    READERS.iter().any(|reader| name.starts_with(reader))
}

/// Whether the facts of a call depend on the values of its arguments, so that they stay in the shape.
#[inline]
pub(crate) fn argument_decides(name: &[u8]) -> bool {
    // Asked of every name of every text: the length sorts most out.
    if !(6..=27).contains(&name.len()) {
        return false;
    }
    matches!(name[0] | 0x20, b's' | b'n' | b'c' | b'p' | b'd' | b'q' | b't')
        && [
            "set_config",
            "setval",
            "nextval",
            "currval",
            "current_setting",
            "pg_notify",
            "dblink",
            "dblink_exec",
            "dblink_connect",
            "query_to_xml",
            "query_to_xmlschema",
            "query_to_xml_and_xmlschema",
            "ts_stat",
            "table_to_xml",
        ]
        .iter()
        .any(|decider| name.eq_ignore_ascii_case(decider.as_bytes()))
}

/// What a call of this built-in does to the session; `set_config` is looked at by its arguments.
pub(crate) fn effect(name: &str) -> Option<Effect> {
    match name {
        "pg_advisory_lock"
        | "pg_advisory_lock_shared"
        | "pg_try_advisory_lock"
        | "pg_try_advisory_lock_shared" => Some(Effect::Pin(PinReason::AdvisoryLock)),
        "pg_advisory_unlock" | "pg_advisory_unlock_shared" | "pg_advisory_unlock_all" => {
            Some(Effect::MayUnpin(PinReason::AdvisoryLock))
        }
        "currval" | "lastval" => Some(Effect::Currval),
        "pg_listening_channels" => Some(Effect::Channels),
        "setseed" => Some(Effect::Pin(PinReason::Setseed)),
        "pg_replication_origin_session_setup" | "dblink_connect" | "dblink_connect_u" => {
            Some(Effect::Pin(PinReason::Doubt))
        }
        _ => None,
    }
}

/// Settings that a replica answers otherwise than the primary.
pub(crate) fn is_primary_setting(name: &str) -> bool {
    ["in_hot_standby", "transaction_read_only", "default_transaction_read_only"]
        .iter()
        .any(|setting| name.eq_ignore_ascii_case(setting))
}

/// Whether only the primary has this relation of `pg_catalog` right.
#[must_use]
pub fn is_primary_relation(schema: Option<&str>, name: &str) -> bool {
    match schema {
        None | Some("pg_catalog") => {
            name.starts_with("pg_stat_")
                || name.starts_with("pg_statio_")
                || [
                    "pg_locks",
                    "pg_settings",
                    "pg_file_settings",
                    "pg_hba_file_rules",
                    "pg_ident_file_mappings",
                    "pg_prepared_statements",
                    "pg_prepared_xacts",
                    "pg_cursors",
                    "pg_replication_slots",
                    "pg_replication_origin_status",
                    "pg_sequences",
                    "pg_shmem_allocations",
                    "pg_backend_memory_contexts",
                    "pg_aios",
                    "pg_wait_events",
                ]
                .contains(&name)
        }
        // Temporary tables are nowhere else.
        Some(schema) => schema.starts_with("pg_temp"),
    }
}
