//! The words of the file that stand for one of several meanings.

use crate::model::{
    AuthMethod, Balance, Consistency, KeyType, OnLoss, PoolMode, ReadsOnPrimary, RoleSetting, TlsMode,
    Transactions,
};
use crate::scalar::Choices;

/// How a key's value says the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemeType {
    /// By a list of values.
    List,
}

/// What a node is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SaidRole {
    Auto,
    Primary,
    Replica,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

macro_rules! choices {
    ($($type:ident: $expected:literal, [$($word:literal => $variant:ident),*] $(, later [$($later:literal),*])?;)*) => { $(
        impl Choices for $type {
            const ASK: &'static str = concat!("$scalar:", $expected);
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $type::$variant)),*];
            $(const LATER: &'static [&'static str] = &[$($later),*];)?
        }
    )* };
}

choices! {
    PoolMode: "session, transaction or statement",
        ["session" => Session, "transaction" => Transaction, "statement" => Statement];
    RoleSetting: "auto, primary, replica or observe",
        ["auto" => Auto, "primary" => Primary, "replica" => Replica, "observe" => Observe];
    Balance: "least_connections, round_robin, random, weighted or peak_ewma",
        ["least_connections" => LeastConnections, "round_robin" => RoundRobin, "random" => Random,
         "weighted" => Weighted, "peak_ewma" => PeakEwma];
    ReadsOnPrimary: "if_no_replica, always or never",
        ["if_no_replica" => IfNoReplica, "always" => Always, "never" => Never];
    OnLoss: "close or keep", ["close" => Close, "keep" => Keep];
    TlsMode: "disable, allow, prefer, require, verify-ca or verify-full",
        ["disable" => Disable, "allow" => Allow, "prefer" => Prefer, "require" => Require,
         "verify-ca" => VerifyCa, "verify-full" => VerifyFull];
    AuthMethod: "trust, md5, scram-sha-256 or reject",
        ["trust" => Trust, "md5" => Md5, "scram-sha-256" => ScramSha256, "reject" => Reject],
        later ["cert", "peer"];
    KeyType: "text, bigint or uuid",
        ["text" => Text, "bigint" => Bigint, "uuid" => Uuid, "varchar" => Text, "integer" => Bigint,
         "int" => Bigint, "smallint" => Bigint],
        later ["date", "timestamp", "timestamptz"];
    Consistency: "database, session, strong or eventual",
        ["database" => Database, "session" => Session, "strong" => Strong, "eventual" => Eventual];
    Transactions: "primary or replica_until_write",
        ["primary" => Primary, "replica_until_write" => ReplicaUntilWrite];
    SchemeType: "list", ["list" => List], later ["hash", "range", "lookup"];
    SaidRole: "auto (found), primary or replica", ["auto" => Auto, "primary" => Primary, "replica" => Replica];
    LogFormat: "text or json", ["text" => Text, "json" => Json];
    LogLevel: "error, warn, info, debug or trace",
        ["error" => Error, "warn" => Warn, "info" => Info, "debug" => Debug, "trace" => Trace];
}

/// The mode that libpq's `sslmode` names.
pub(crate) fn tls_mode(word: &str) -> Option<TlsMode> {
    TlsMode::WORDS.iter().find(|(known, _)| *known == word).map(|(_, mode)| *mode)
}
