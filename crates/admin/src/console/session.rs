//! A client at the console, from its welcome to its end.

use std::sync::Arc;

use ::session::cell::Doing;
use ::session::{Arrival, Stop};
use ::wire::backend::TransactionStatus;
use ::wire::encode::{self, EncodeError};
use ::wire::frontend::Query;
use ::wire::{ErrorReport, MessageError, SqlState, tag};

use super::commands::{self, Action, May};
use super::extended::Extended;
use super::outcome::{self, Outcome};
use super::reply::{self, Formats};
use super::text::{self, Command};
use super::visitors::Visit;
use super::wire::{Broken, Message, Wire, is_of_copy};
use crate::admin::Admin;

/// What a client is told of the server. The version is written as Postgres' packages write theirs, so that drivers
/// read a number; 15 is what this console behaves like.
const PARAMETERS: &[(&str, &str)] = &[
    ("server_version", concat!("15.0 (pgweir ", env!("CARGO_PKG_VERSION"), ")")),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "GMT"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "off"),
    ("in_hot_standby", "off"),
];

/// A client at the console.
pub(super) struct Session {
    pub(super) admin: Arc<Admin>,
    pub(super) user: Arc<str>,
    pub(super) wire: Wire,
    /// Blocks mean nothing here, but drivers open them, and read this.
    pub(super) status: TransactionStatus,
    pub(super) extended: Extended,
    visit: Visit,
}

/// How it ends.
pub(super) enum End {
    /// It said goodbye, or is gone.
    Gone,
    /// It is sent away.
    Fatal(ErrorReport),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<MessageError> for End {
    fn from(error: MessageError) -> Self {
        Self::Fatal(ErrorReport::fatal(error.sqlstate(), error.to_string()))
    }
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Gone => Self::Gone,
            Broken::Frame(error) => Self::Fatal(ErrorReport::fatal(error.sqlstate(), error.to_string())),
        }
    }
}

/// Serves an authenticated client to its end.
pub(super) async fn serve(admin: Arc<Admin>, arrival: Arrival) {
    let visit = Visit::begin(&admin, &arrival);
    let Arrival { stream, startup, user, database, peer, seat, .. } = arrival;
    let Ok(stream) = stream.attach() else { return };
    tracing::debug!(%user, %database, %peer, "at the console");
    let mut wire = Wire::new(stream);
    let application = startup.get("application_name").unwrap_or_default();
    if let Err(error) = welcome(&mut wire.out, &user, application, seat.pid, &seat.key) {
        tracing::error!(%error, "the console's welcome can't be written");
        return;
    }
    let mut stop = admin.context.stop.subscribe();
    let mut session =
        Session { admin, user, wire, status: TransactionStatus::Idle, extended: Extended::default(), visit };
    let end = tokio::select! {
        biased;
        // A command that is under way is answered first; not if everything ends now.
        end = session.talk() => end,
        // If a reply was under way, half of it may have been sent: there is nothing left to say then.
        _ = stop.wait_for(|stop| *stop == Stop::Now) => End::Gone,
    };
    match end {
        End::Fatal(report) => session.wire.farewell(&report).await,
        End::Gone => {}
    }
    // Its seat is given up when all is said.
    drop(seat);
}

fn stopping() -> ErrorReport {
    ErrorReport::fatal(SqlState::ADMIN_SHUTDOWN, "pgweir is shutting down")
}

fn welcome(
    out: &mut Vec<u8>,
    user: &str,
    application: &str,
    pid: u32,
    key: &[u8],
) -> Result<(), EncodeError> {
    encode::authentication_ok(out);
    let own = [("application_name", application), ("session_authorization", user), ("is_superuser", "off")];
    for (name, value) in PARAMETERS.iter().chain(&own) {
        encode::parameter_status(out, name, value)?;
    }
    encode::backend_key_data(out, pid, key)?;
    encode::ready_for_query(out, TransactionStatus::Idle);
    Ok(())
}

impl Session {
    async fn talk(&mut self) -> End {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    /// One message and its answer.
    async fn turn(&mut self) -> Result<(), End> {
        if !self.extended.in_pipeline() {
            self.wire.flush().await?;
        }
        let mut stop = self.admin.context.stop.subscribe();
        let message = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop > Stop::No) => return Err(End::Fatal(stopping())),
            message = self.wire.read() => message?,
        };
        self.visit.doing(Doing::Active);
        let answered = self.answer(message).await;
        self.visit.doing(Doing::Idle);
        answered
    }

    async fn answer(&mut self, Message { tag, body }: Message) -> Result<(), End> {
        match tag {
            tag::TERMINATE => Err(End::Gone),
            tag::SYNC => {
                self.extended.sync(self.status);
                encode::ready_for_query(&mut self.wire.out, self.status);
                Ok(())
            }
            tag::FLUSH => Ok(self.wire.flush().await?),
            // After an error in a pipeline all is passed over up to its Sync.
            _ if ::wire::tag::is_frontend(tag) && self.extended.is_skipping() => Ok(()),
            tag::QUERY => self.simple(Query::parse(&body)?.sql).await,
            tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE => {
                self.extended_message(tag, &body).await
            }
            tag::FUNCTION_CALL => {
                self.fail(&ErrorReport::error(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "the console has no functions to call",
                ));
                encode::ready_for_query(&mut self.wire.out, self.status);
                Ok(())
            }
            _ if is_of_copy(tag) => Ok(()),
            _ => Err(End::Fatal(ErrorReport::fatal(
                SqlState::PROTOCOL_VIOLATION,
                format!("invalid frontend message type {tag}"),
            ))),
        }
    }

    /// A simple Query: each of its commands, up to the first that fails.
    async fn simple(&mut self, sql: &[u8]) -> Result<(), End> {
        self.extended.forget_unnamed();
        match split(sql) {
            Ok(commands) if commands.is_empty() => encode::empty_query(&mut self.wire.out),
            Ok(commands) => {
                for command in &commands {
                    if !self.run_simple(command).await? {
                        break;
                    }
                }
            }
            Err(report) => self.fail(&report),
        }
        encode::ready_for_query(&mut self.wire.out, self.status);
        Ok(())
    }

    async fn run_simple(&mut self, command: &Command) -> Result<bool, End> {
        let outcome = match commands::find(command) {
            Ok(row) => self.run(row).await.map(|outcome| (outcome, row.action.columns())),
            Err(report) => Err(report),
        };
        match outcome {
            Ok((Outcome { tag, notices, rows }, columns)) => {
                for notice in &notices {
                    encode::notice_response(&mut self.wire.out, notice);
                }
                if let Some(columns) = columns {
                    reply::row_description(&mut self.wire.out, columns, &Formats::Text);
                    for row in &rows {
                        reply::data_row(&mut self.wire.out, columns, row, &Formats::Text);
                        self.wire.drain().await?;
                    }
                }
                encode::command_complete(&mut self.wire.out, tag);
                Ok(true)
            }
            Err(report) => {
                self.fail(&report);
                Ok(false)
            }
        }
    }

    /// Runs a command, if the user may, and keeps the state of the block that it may open or end.
    pub(super) async fn run(&mut self, row: &'static commands::Row) -> Result<Outcome, ErrorReport> {
        let ends = matches!(row.action, Action::End(_));
        if self.status == TransactionStatus::Failed && !ends {
            return Err(ErrorReport::error(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        let config = Arc::clone(&self.admin.context.directory.load().config);
        commands::allow(row, &self.user, &config.admin)?;
        if row.may == May::Administer {
            tracing::info!(user = %self.user, command = row.name, "on the console");
        }
        let mut outcome = outcome::run(&self.admin, row).await?;
        match row.action {
            Action::Begin(_) => self.status = TransactionStatus::InTransaction,
            Action::End(_) => {
                if self.status == TransactionStatus::Failed {
                    outcome.tag = "ROLLBACK";
                }
                self.status = TransactionStatus::Idle;
            }
            Action::Show { .. } | Action::Help | Action::Nothing(_) | Action::NotYet => {}
            Action::Reload | Action::Shutdown => {}
        }
        Ok(outcome)
    }

    /// Tells of an error; a block that is open has failed.
    pub(super) fn fail(&mut self, report: &ErrorReport) {
        encode::error_response(&mut self.wire.out, report);
        if self.status == TransactionStatus::InTransaction {
            self.status = TransactionStatus::Failed;
        }
    }
}

/// A text as commands.
pub(super) fn split(sql: &[u8]) -> Result<Vec<Command>, ErrorReport> {
    let text = std::str::from_utf8(sql).map_err(|_| {
        ErrorReport::error(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\"",
        )
    })?;
    text::commands(text).map_err(|error| ErrorReport::error(SqlState::SYNTAX_ERROR, error.to_string()))
}
