//! The text of a node's postgresql.conf and pg_hba.conf.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::sql_text::setting;

/// How clients prove who they are (pg_hba.conf's method).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// No password is asked.
    Trust,
    /// MD5, and passwords are stored so.
    Md5,
    /// SCRAM-SHA-256.
    #[default]
    ScramSha256,
    /// A clear-text password.
    Password,
}

impl Auth {
    fn method(self) -> &'static str {
        match self {
            Auth::Trust => "trust",
            Auth::Md5 => "md5",
            Auth::ScramSha256 => "scram-sha-256",
            Auth::Password => "password",
        }
    }

    /// `password_encryption`.
    pub(crate) fn storage(self) -> &'static str {
        if self == Auth::Md5 { "md5" } else { "scram-sha-256" }
    }
}

/// Settings by name: a later one replaces an earlier one.
pub(crate) type Settings = BTreeMap<String, String>;

/// What every node has unless the builder says otherwise. Nothing here outlives its cluster, so nothing is
/// synced to disk; a killed server still recovers, since the operating system keeps what was written.
const DEFAULTS: [(&str, &str); 19] = [
    ("listen_addresses", "127.0.0.1"),
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "32MB"),
    ("max_connections", "100"),
    ("wal_level", "replica"),
    ("hot_standby", "on"),
    ("max_wal_senders", "10"),
    ("max_replication_slots", "10"),
    ("wal_keep_size", "256MB"),
    ("wal_retrieve_retry_interval", "100ms"),
    // Its segments are files of the data folder then, removed with it also after a SIGKILL.
    ("dynamic_shared_memory_type", "mmap"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("datestyle", "iso, mdy"),
];

pub(crate) fn defaults() -> Settings {
    DEFAULTS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// postgresql.conf.
pub(crate) fn postgresql_conf(settings: &Settings) -> String {
    settings.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String doesn't fail.
        let _ = writeln!(text, "{name} = {}", setting(value));
        text
    })
}

/// pg_hba.conf: the extra lines first, then everybody from this machine by `auth`.
pub(crate) fn pg_hba_conf(extra: &[String], auth: Auth) -> String {
    let method = auth.method();
    let mut lines = extra.to_vec();
    for database in ["all", "replication"] {
        lines.push(format!("local {database} all {method}"));
        lines.push(format!("host {database} all 127.0.0.1/32 {method}"));
        lines.push(format!("host {database} all ::1/128 {method}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_lines_come_first_since_the_first_match_wins() {
        let text = pg_hba_conf(&["hostssl all app all cert".to_owned()], Auth::Md5);
        assert!(text.starts_with("hostssl all app all cert\nlocal all all md5\n"), "{text}");
        assert!(text.contains("host replication all 127.0.0.1/32 md5\n"), "{text}");
    }

    #[test]
    fn values_are_quoted() {
        let settings = Settings::from([("search_path".to_owned(), "a, 'b'".to_owned())]);
        assert_eq!(postgresql_conf(&settings), "search_path = 'a, ''b'''\n");
    }
}
