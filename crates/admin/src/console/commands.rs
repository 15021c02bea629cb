//! The table of the console's commands: a row each with who may run it, and how a text finds its row.

use ::wire::{ErrorReport, SqlState};
use config::Admin as Listed;

use super::text::{Command, Token};
use crate::show::{configured, listeners, nodes, pools, positions, process, routes, sockets, stats};
use crate::snapshot::{Detail, Snapshot};
use crate::value::{self, Column, text};

/// A command.
#[derive(Debug)]
pub(super) struct Row {
    /// Its words.
    pub(super) name: &'static str,
    /// Who may run it.
    pub(super) may: May,
    /// Whether something may follow the words.
    pub(super) takes_more: bool,
    /// What it does, for SHOW HELP; empty: not listed there.
    pub(super) what: &'static str,
    pub(super) action: Action,
}

/// Who may run a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// `admin.users` and `admin.stats_users`.
    Look,
    /// `admin.users`.
    Administer,
}

/// What a command does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// Rows of a snapshot.
    Show {
        columns: &'static [Column],
        detail: Detail,
        rows: fn(&Snapshot) -> Vec<value::Row>,
    },
    Help,
    Reload,
    Shutdown,
    /// Accepted without effect, with this tag: what drivers send by themselves.
    Nothing(&'static str),
    /// Opens a transaction block, which means nothing but that the client is told so.
    Begin(&'static str),
    /// Ends it.
    End(&'static str),
    /// PgBouncer has it, pgweir doesn't.
    NotYet,
}

pub(super) const HELP: &[Column] = &[text("command"), text("who"), text("what")];

const fn show(
    name: &'static str,
    what: &'static str,
    detail: Detail,
    columns: &'static [Column],
    rows: fn(&Snapshot) -> Vec<value::Row>,
) -> Row {
    let action = Action::Show { columns, detail, rows };
    Row { name, may: May::Look, takes_more: false, what, action }
}

const fn administer(name: &'static str, what: &'static str, action: Action) -> Row {
    Row { name, may: May::Administer, takes_more: false, what, action }
}

const fn later(name: &'static str) -> Row {
    Row { name, may: May::Administer, takes_more: true, what: "", action: Action::NotYet }
}

const fn of_drivers(name: &'static str, action: Action) -> Row {
    Row { name, may: May::Look, takes_more: true, what: "", action }
}

pub(super) const TABLE: &[Row] = &[
    show("SHOW POOLS", "pools by database and user", Detail::Pools, pools::POOLS, pools::pools),
    show("SHOW NODE_POOLS", "pools by node", Detail::Pools, pools::NODE_POOLS, pools::node_pools),
    show("SHOW CLIENTS", "each client", Detail::Everything, sockets::CLIENTS, sockets::clients),
    show("SHOW SERVERS", "each server connection", Detail::Everything, sockets::SERVERS, sockets::servers),
    show("SHOW NODES", "servers, their roles and health", Detail::Counters, nodes::NODES, nodes::nodes),
    show(
        "SHOW LISTENERS",
        "connections that listen for sessions",
        Detail::Counters,
        listeners::LISTENERS,
        listeners::listeners,
    ),
    show(
        "SHOW POSITIONS",
        "rounds of sampled positions, and reads that waited for one",
        Detail::Counters,
        positions::POSITIONS,
        positions::positions,
    ),
    show(
        "SHOW ROUTES",
        "where the most used shapes of statements went, and why",
        Detail::Routes,
        routes::ROUTES,
        routes::routes,
    ),
    show("SHOW STATS", "counters and averages by database", Detail::Counters, stats::STATS, stats::stats),
    show("SHOW STATS_TOTALS", "counters by database", Detail::Counters, stats::PART, stats::stats_totals),
    show(
        "SHOW STATS_AVERAGES",
        "averages of the last minute by database",
        Detail::Counters,
        stats::PART,
        stats::stats_averages,
    ),
    show(
        "SHOW TOTALS",
        "counters and averages of everything",
        Detail::Counters,
        stats::TOTALS,
        stats::totals,
    ),
    show("SHOW LISTS", "how many there are of what", Detail::Pools, process::LISTS, process::lists),
    show(
        "SHOW DATABASES",
        "databases, their nodes and limits",
        Detail::Pools,
        configured::DATABASES,
        configured::databases,
    ),
    show("SHOW USERS", "users and what they override", Detail::Pools, configured::USERS, configured::users),
    show(
        "SHOW CONFIG",
        "settings, and which need a restart",
        Detail::Counters,
        configured::CONFIG,
        configured::config,
    ),
    show("SHOW STATE", "whether pgweir takes clients", Detail::Counters, process::STATE, process::state),
    show("SHOW VERSION", "the version", Detail::Counters, process::VERSION, process::version),
    Row { name: "SHOW HELP", may: May::Look, takes_more: false, what: "this list", action: Action::Help },
    administer("RELOAD", "apply the configuration file, all of it or nothing", Action::Reload),
    administer("SHUTDOWN", "let transactions end, then stop", Action::Shutdown),
    administer("SHUTDOWN WAIT_FOR_SERVERS", "the same", Action::Shutdown),
    later("SHUTDOWN WAIT_FOR_CLIENTS"),
    later("PAUSE"),
    later("RESUME"),
    later("SUSPEND"),
    later("DISABLE"),
    later("ENABLE"),
    later("KILL"),
    later("KILL_CLIENT"),
    later("RECONNECT"),
    later("WAIT_CLOSE"),
    later("SHOW FDS"),
    later("SHOW SOCKETS"),
    later("SHOW ACTIVE_SOCKETS"),
    later("SHOW MEM"),
    later("SHOW DNS_HOSTS"),
    later("SHOW DNS_ZONES"),
    later("SHOW PEERS"),
    later("SHOW PEER_POOLS"),
    of_drivers("BEGIN", Action::Begin("BEGIN")),
    of_drivers("START TRANSACTION", Action::Begin("START TRANSACTION")),
    of_drivers("COMMIT", Action::End("COMMIT")),
    of_drivers("END", Action::End("COMMIT")),
    of_drivers("ROLLBACK", Action::End("ROLLBACK")),
    of_drivers("ABORT", Action::End("ROLLBACK")),
    of_drivers("DISCARD ALL", Action::Nothing("DISCARD ALL")),
    of_drivers("RESET ALL", Action::Nothing("RESET")),
];

/// Settings that drivers set by themselves when they connect.
const OF_DRIVERS: &[&str] = &[
    "APPLICATION_NAME",
    "BYTEA_OUTPUT",
    "CLIENT_ENCODING",
    "CLIENT_MIN_MESSAGES",
    "DATESTYLE",
    "EXTRA_FLOAT_DIGITS",
    "IDLE_IN_TRANSACTION_SESSION_TIMEOUT",
    "INTERVALSTYLE",
    "LOCK_TIMEOUT",
    "NAMES",
    "SEARCH_PATH",
    "SESSION",
    "STANDARD_CONFORMING_STRINGS",
    "STATEMENT_TIMEOUT",
    "TIME",
    "TIMEZONE",
    "TRANSACTION",
];

const SET: Row = of_drivers("SET", Action::Nothing("SET"));

/// The row of a command.
///
/// # Errors
/// 42601: there is none. 0A000: it would change pgweir's settings.
pub(super) fn find(command: &Command) -> Result<&'static Row, ErrorReport> {
    if let Some(row) = TABLE.iter().filter(|row| row.matches(command)).max_by_key(|row| row.name.len()) {
        return Ok(row);
    }
    if let [Token::Word(set), Token::Word(name), ..] = &command[..]
        && set == "SET"
    {
        if OF_DRIVERS.contains(&&**name) {
            return Ok(&SET);
        }
        return Err(ErrorReport::error(
            SqlState::FEATURE_NOT_SUPPORTED,
            "settings can't be changed on the console",
        )
        .with_hint("Change the configuration file, then RELOAD."));
    }
    Err(ErrorReport::error(SqlState::SYNTAX_ERROR, "the console has no such command")
        .with_hint("SHOW HELP lists the commands."))
}

/// Whether a user of the console may run a command.
///
/// # Errors
/// 42501.
pub(super) fn allow(row: &Row, user: &str, listed: &Listed) -> Result<(), ErrorReport> {
    let is_in = |names: &[String]| names.iter().any(|name| name == user);
    let allowed = match row.may {
        May::Look => is_in(&listed.users) || is_in(&listed.stats_users),
        May::Administer => is_in(&listed.users),
    };
    if allowed {
        return Ok(());
    }
    let message = format!("user \"{user}\" may not run {}", row.name);
    Err(ErrorReport::error(SqlState::INSUFFICIENT_PRIVILEGE, message)
        .with_hint(format!("It is for the users of {}.", row.may.as_str())))
}

impl Row {
    fn matches(&self, command: &Command) -> bool {
        let mut tokens = command.iter();
        let same = self.name.split(' ').all(|word| tokens.next() == Some(&Token::Word(word.to_owned())));
        same && (self.takes_more || tokens.next().is_none())
    }
}

impl May {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Look => "admin.users and admin.stats_users",
            Self::Administer => "admin.users",
        }
    }
}

#[cfg(test)]
mod tests;
