//! The values of `pgweir.*`: what they mean, their names, and what is said of one that there isn't.

use config::{Consistency, RoleSetting, Transactions};
use route::DatabaseMap;
use wire::{ErrorReport, SqlState};

/// The role that a setting's value names.
///
/// # Errors
/// 22023 with the roles that there are.
pub(crate) fn role_of(value: &str) -> Result<RoleSetting, ErrorReport> {
    match value.to_ascii_lowercase().as_str() {
        "auto" => Ok(RoleSetting::Auto),
        "primary" => Ok(RoleSetting::Primary),
        "replica" => Ok(RoleSetting::Replica),
        "observe" => Ok(RoleSetting::Observe),
        _ => Err(ErrorReport::error(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"pgweir.role\": \"{value}\""),
        )
        .with_hint("Available values: auto, primary, replica, observe.")),
    }
}

/// The meaning of a value of `pgweir.transactions`.
///
/// # Errors
/// 22023 with the values that there are.
pub(crate) fn transactions_of(value: &str) -> Result<Transactions, ErrorReport> {
    match value.to_ascii_lowercase().as_str() {
        "primary" => Ok(Transactions::Primary),
        "replica_until_write" => Ok(Transactions::ReplicaUntilWrite),
        _ => Err(ErrorReport::error(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"pgweir.transactions\": \"{value}\""),
        )
        .with_hint("Available values: primary, replica_until_write.")),
    }
}

pub(super) fn transactions_name(transactions: Transactions) -> &'static str {
    match transactions {
        Transactions::Primary => "primary",
        Transactions::ReplicaUntilWrite => "replica_until_write",
    }
}

/// The consistency that a setting's value names.
///
/// # Errors
/// 22023 with those that there are.
pub(crate) fn consistency_of(value: &str) -> Result<Consistency, ErrorReport> {
    match value.to_ascii_lowercase().as_str() {
        "database" => Ok(Consistency::Database),
        "session" => Ok(Consistency::Session),
        "strong" => Ok(Consistency::Strong),
        "eventual" => Ok(Consistency::Eventual),
        _ => Err(ErrorReport::error(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"pgweir.consistency\": \"{value}\""),
        )
        .with_hint("Available values: database, session, strong, eventual.")),
    }
}

pub(super) fn consistency_name(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Database => "database",
        Consistency::Session => "session",
        Consistency::Strong => "strong",
        Consistency::Eventual => "eventual",
    }
}

pub(super) fn role_name(role: RoleSetting) -> &'static str {
    match role {
        RoleSetting::Auto => "auto",
        RoleSetting::Primary => "primary",
        RoleSetting::Replica => "replica",
        RoleSetting::Observe => "observe",
    }
}

pub(crate) fn no_such_shard(map: &DatabaseMap, value: &str) -> ErrorReport {
    let names: Vec<_> = map.shard_indexes().map(|shard| map.shard_name(shard)).collect();
    ErrorReport::error(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"pgweir.shard\": \"{value}\""),
    )
    .with_hint(format!("Available values: {}.", names.join(", ")))
}

pub(super) fn unknown(name: &str) -> ErrorReport {
    ErrorReport::error(
        SqlState::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"pgweir.{name}\""),
    )
    .with_hint(
        "There are pgweir.role, pgweir.shard, pgweir.transactions, pgweir.consistency, pgweir.lsn, pgweir.route and pgweir.version.",
    )
}
