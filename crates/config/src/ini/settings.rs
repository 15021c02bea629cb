//! PgBouncer's settings and what each is here: one row for each.

/// What becomes of a setting.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// The same, at a path.
    Is(&'static [&'static str], Kind),
    /// Handled by name, together with others.
    Special,
    /// Not needed here, so nothing is lost.
    NotNeeded,
    /// Would change what happens: refused unless it has the value that changes nothing.
    Refused(&'static str),
    /// Left out, with a warning.
    NoCounterpart,
}

/// How a value is written there and here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it is.
    Word,
    /// Text; empty is none.
    Text,
    /// A whole number.
    Number,
    /// Seconds; 0 is no bound.
    SecondsOrNone,
    /// Seconds, more than 0.
    Seconds,
    /// Seconds; 0 is at once.
    SecondsFromZero,
    /// Bytes; 0 is no bound of its own.
    Bytes,
    /// 0 or 1, and the words for it.
    OnOff,
}

use Fate::{Is, NoCounterpart, NotNeeded, Refused, Special};
use Kind::{Bytes, Number, OnOff, Seconds, SecondsFromZero, SecondsOrNone, Text, Word};

/// Settings of a pool, which a database or a user may have too.
pub(crate) const POOL: &[(&str, &str, Kind)] = &[
    ("pool_mode", "mode", Word),
    ("pool_size", "size", Number),
    ("default_pool_size", "size", Number),
    ("min_pool_size", "min_pool_size", Number),
    ("reserve_pool", "reserve_pool_size", Number),
    ("reserve_pool_size", "reserve_pool_size", Number),
    ("reserve_pool_timeout", "reserve_pool_timeout", Seconds),
    ("server_lifetime", "server_lifetime", SecondsOrNone),
    ("query_timeout", "query_timeout", SecondsOrNone),
    ("transaction_timeout", "transaction_timeout", SecondsOrNone),
    ("idle_transaction_timeout", "idle_transaction_timeout", SecondsOrNone),
];

/// Settings of `[pgbouncer]`.
pub(crate) const GLOBAL: &[(&str, Fate)] = &[
    ("listen_addr", Special),
    ("listen_port", Special),
    ("unix_socket_dir", Is(&["listen", "unix_dir"], Text)),
    ("auth_type", Special),
    ("auth_file", Is(&["auth", "users_file"], Text)),
    ("auth_hba_file", Refused("")),
    ("auth_ident_file", Refused("")),
    ("auth_user", Refused("")),
    ("auth_query", Special),
    ("auth_dbname", Refused("")),
    ("pool_mode", Is(&["pool", "mode"], Word)),
    ("default_pool_size", Is(&["pool", "size"], Number)),
    ("min_pool_size", Is(&["pool", "min_pool_size"], Number)),
    ("reserve_pool_size", Is(&["pool", "reserve_pool_size"], Number)),
    ("reserve_pool_timeout", Is(&["pool", "reserve_pool_timeout"], Seconds)),
    ("max_prepared_statements", Is(&["pool", "max_prepared_statements"], Number)),
    ("server_round_robin", Is(&["pool", "server_round_robin"], OnOff)),
    ("server_idle_timeout", Is(&["pool", "server_idle_timeout"], SecondsOrNone)),
    ("server_lifetime", Is(&["pool", "server_lifetime"], SecondsOrNone)),
    ("server_connect_timeout", Is(&["pool", "server_connect_timeout"], Seconds)),
    ("server_login_retry", Is(&["pool", "server_login_retry"], SecondsFromZero)),
    ("query_wait_timeout", Is(&["pool", "query_wait_timeout"], SecondsOrNone)),
    ("query_timeout", Is(&["pool", "query_timeout"], SecondsOrNone)),
    ("transaction_timeout", Is(&["pool", "transaction_timeout"], SecondsOrNone)),
    ("idle_transaction_timeout", Is(&["pool", "idle_transaction_timeout"], SecondsOrNone)),
    ("max_client_conn", Is(&["limits", "max_client_conn"], Number)),
    ("max_db_connections", Special),
    ("client_idle_timeout", Is(&["limits", "client_idle_timeout"], SecondsOrNone)),
    ("client_login_timeout", Is(&["limits", "client_login_timeout"], Seconds)),
    ("max_packet_size", Is(&["limits", "max_message"], Bytes)),
    ("admin_users", Special),
    ("stats_users", Special),
    ("client_tls_sslmode", Is(&["listen", "tls", "mode"], Word)),
    ("client_tls_key_file", Is(&["listen", "tls", "key"], Text)),
    ("client_tls_cert_file", Is(&["listen", "tls", "certificate"], Text)),
    ("client_tls_ca_file", Is(&["listen", "tls", "client_ca"], Text)),
    ("server_tls_sslmode", Special),
    ("server_tls_ca_file", Special),
    ("server_tls_key_file", Refused("")),
    ("server_tls_cert_file", Refused("")),
    ("tcp_keepidle", Special),
    ("tcp_keepintvl", Special),
    ("tcp_keepcnt", Special),
    ("tcp_keepalive", Refused("1")),
    ("server_reset_query", Special),
    ("server_reset_query_always", NotNeeded),
    ("server_check_query", NotNeeded),
    ("server_check_delay", NotNeeded),
    ("ignore_startup_parameters", NotNeeded),
    ("track_extra_parameters", NotNeeded),
    ("disable_pqexec", Refused("0")),
    ("conffile", NotNeeded),
    ("service_name", NotNeeded),
    ("job_name", NotNeeded),
    ("server_fast_close", NoCounterpart),
    ("application_name_add_host", NoCounterpart),
    ("logfile", NoCounterpart),
    ("pidfile", NoCounterpart),
    ("syslog", NoCounterpart),
    ("syslog_ident", NoCounterpart),
    ("syslog_facility", NoCounterpart),
    ("log_connections", NoCounterpart),
    ("log_disconnections", NoCounterpart),
    ("log_pooler_errors", NoCounterpart),
    ("log_stats", NoCounterpart),
    ("stats_period", NoCounterpart),
    ("verbose", NoCounterpart),
    ("user", NoCounterpart),
    ("resolv_conf", NoCounterpart),
    ("dns_max_ttl", NoCounterpart),
    ("dns_nxdomain_ttl", NoCounterpart),
    ("dns_zone_check_period", NoCounterpart),
    ("unix_socket_mode", NoCounterpart),
    ("unix_socket_group", NoCounterpart),
    ("max_user_connections", NoCounterpart),
    ("max_db_client_connections", NoCounterpart),
    ("max_user_client_connections", NoCounterpart),
    ("autodb_idle_timeout", NoCounterpart),
    ("suspend_timeout", NoCounterpart),
    ("cancel_wait_timeout", NoCounterpart),
    ("query_wait_notify", NoCounterpart),
    ("pkt_buf", NoCounterpart),
    ("sbuf_loopcnt", NoCounterpart),
    ("listen_backlog", NoCounterpart),
    ("so_reuseport", NoCounterpart),
    ("peer_id", NoCounterpart),
    ("tcp_defer_accept", NoCounterpart),
    ("tcp_socket_buffer", NoCounterpart),
    ("tcp_user_timeout", NoCounterpart),
    ("scram_iterations", NoCounterpart),
    ("client_tls_protocols", NoCounterpart),
    ("client_tls_ciphers", NoCounterpart),
    ("client_tls13_ciphers", NoCounterpart),
    ("client_tls_ecdhcurve", NoCounterpart),
    ("client_tls_dheparams", NoCounterpart),
    ("server_tls_protocols", NoCounterpart),
    ("server_tls_ciphers", NoCounterpart),
    ("server_tls13_ciphers", NoCounterpart),
];

/// What PgBouncer does where its file is silent and pgweir's default differs.
pub(crate) const DEFAULTS: &[(&[&str], &str)] = &[
    (&["auth", "method"], "md5"),
    (&["pool", "mode"], "session"),
    (&["pool", "size"], "20"),
    (&["pool", "reserve_pool_timeout"], "5s"),
    (&["pool", "query_wait_timeout"], "120s"),
    (&["pool", "server_connect_timeout"], "15s"),
    (&["pool", "server_login_retry"], "15s"),
    (&["pool", "max_prepared_statements"], "200"),
    (&["limits", "max_client_conn"], "100"),
    (&["limits", "client_login_timeout"], "60s"),
];
