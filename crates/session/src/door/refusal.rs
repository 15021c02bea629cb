//! The home of the reasons for which a client doesn't come in: what it is told, and what only the log is told.

use std::io;

use thiserror::Error;
use wire::frame::{FrameError, MessageError};
use wire::scram::ScramError;
use wire::startup::StartupError;
use wire::{ErrorReport, SqlState};

use crate::context::Full;

/// Why a client is turned away. `Display` is for the log; what the client is told is [`Refusal::report`].
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("{0}")]
    Startup(#[from] StartupError),
    #[error("received unencrypted data after SSL request")]
    PlainAfterTlsRequest,
    #[error("a direct TLS connection, but TLS is not configured")]
    NoDirectTls,
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("TLS is required")]
    TlsRequired,
    #[error("replication connections are not supported")]
    Replication,
    #[error("invalid value for parameter \"replication\": \"{0}\"")]
    InvalidReplication(String),
    #[error("the authentication rules reject it")]
    Rejected { user: String, database: String },
    #[error("expected password response, got message type {0}")]
    NotAnAnswer(u8),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Message(#[from] MessageError),
    #[error("{0}")]
    Scram(ScramError),
    #[error("{why}")]
    Password { user: String, why: Unproven },
    #[error("may not use the console")]
    NotForConsole { user: String, database: String },
    #[error("no such database")]
    NoDatabase(String),
    #[error("too many clients")]
    Full { full: Full, limit: usize, user: String },
    #[error("shutting down")]
    Stopping,
    #[error("{0} is not running")]
    NotRunning(&'static str),
}

/// Why a client hasn't proved who it is. The client must not be able to tell one from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unproven {
    #[error("wrong password")]
    WrongPassword,
    #[error("no such user")]
    UnknownUser,
    #[error("the user has no password")]
    NoPassword,
    #[error("the user has an MD5 secret only, which cannot prove anything by SCRAM")]
    OnlyMd5,
}

impl Refusal {
    /// What the client is told before the connection ends; `None`: nothing.
    pub(super) fn report(&self) -> Option<ErrorReport> {
        use SqlState as S;
        let fatal = |code, message: String| Some(ErrorReport::fatal(code, message));
        match self {
            // Before or in the middle of a handshake nothing that is said in plain would be understood.
            Self::Broken(_) | Self::NoDirectTls | Self::Handshake(_) => None,
            Self::Startup(error) => error.report(),
            Self::PlainAfterTlsRequest => {
                Some(ErrorReport::fatal(S::PROTOCOL_VIOLATION, self.to_string()).with_detail(
                    "This is a fault of the client's software, or somebody between client and server tries \
                     to inject data.",
                ))
            }
            Self::TlsRequired => Some(
                ErrorReport::fatal(
                    S::INVALID_AUTHORIZATION_SPECIFICATION,
                    "connections without TLS are refused",
                )
                .with_hint("Connect with sslmode=require or a stricter mode."),
            ),
            Self::Replication => fatal(S::FEATURE_NOT_SUPPORTED, self.to_string())
                .map(|report| report.with_hint("Connect to the server itself for replication.")),
            Self::InvalidReplication(_) => fatal(S::INVALID_PARAMETER_VALUE, self.to_string())
                .map(|report| report.with_hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")),
            Self::Rejected { user, database } => fatal(
                S::INVALID_AUTHORIZATION_SPECIFICATION,
                format!(
                    "connections of user \"{user}\" to database \"{database}\" are rejected by pgweir's rules"
                ),
            ),
            Self::NotAnAnswer(_) => fatal(S::PROTOCOL_VIOLATION, self.to_string()),
            Self::Frame(error) => fatal(error.sqlstate(), error.to_string()),
            Self::Message(error) => fatal(error.sqlstate(), error.to_string()),
            Self::Scram(error) => fatal(error.sqlstate(), error.to_string()),
            Self::Password { user, .. } => {
                fatal(S::INVALID_PASSWORD, format!("password authentication failed for user \"{user}\""))
            }
            Self::NotForConsole { user, database } => fatal(
                S::INSUFFICIENT_PRIVILEGE,
                format!("user \"{user}\" may not use the console database \"{database}\""),
            )
            .map(|report| report.with_hint("List the user in admin.users or admin.stats_users.")),
            Self::NoDatabase(database) => {
                fatal(S::INVALID_CATALOG_NAME, format!("database \"{database}\" does not exist")).map(
                    |report| report.with_detail("pgweir's configuration has no such entry in \"databases\"."),
                )
            }
            Self::Full { full, limit, user } => Some(too_many(*full, *limit, user)),
            Self::Stopping => fatal(S::CANNOT_CONNECT_NOW, "pgweir is shutting down".to_owned()),
            Self::NotRunning(what) => fatal(S::CANNOT_CONNECT_NOW, format!("pgweir's {what} is not running")),
        }
    }

    /// Whether it is everyday noise (probes, scanners, clients that hang up) rather than a login that failed.
    pub(super) fn is_noise(&self) -> bool {
        self.report().is_none()
    }
}

fn too_many(full: Full, limit: usize, user: &str) -> ErrorReport {
    let code = SqlState::TOO_MANY_CONNECTIONS;
    match full {
        Full::Clients => ErrorReport::fatal(code, "sorry, too many clients already")
            .with_detail(format!("limits.max_client_conn is {limit}.")),
        Full::User => ErrorReport::fatal(code, format!("too many connections for user \"{user}\""))
            .with_detail(format!("limits.max_client_conn_per_user is {limit}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_tells_a_wrong_password_from_an_unknown_user() {
        let reasons =
            [Unproven::WrongPassword, Unproven::UnknownUser, Unproven::NoPassword, Unproven::OnlyMd5];
        let reports = reasons.map(|why| Refusal::Password { user: "ann".into(), why }.report().unwrap());
        assert!(reports.iter().all(|report| *report == reports[0]));
        assert_eq!(reports[0].to_string(), "FATAL: password authentication failed for user \"ann\" (28P01)");
    }

    #[test]
    fn full_limits_are_named() {
        let full = |full| Refusal::Full { full, limit: 7, user: "ann".into() }.report().unwrap().to_string();
        assert!(full(Full::Clients).contains("max_client_conn is 7"));
        assert!(full(Full::User).contains("max_client_conn_per_user is 7"));
    }
}
