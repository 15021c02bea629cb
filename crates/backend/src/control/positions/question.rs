//! What a node is asked of its position, and what it answers.

use deadpool::managed::Manager;
use route::Identity;
use route::consistency::Position;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row, Statement};

use crate::control::connection::Connector;
use crate::control::probe::ProbeError;
use crate::positions::Positions;

/// Where a primary is, and its timeline: the one that it writes now. A standby says 55000. (Who may not call a function
/// may not have it in a CASE either: so there is a question for each of them.)
const WHERE_PRIMARY: &str = "\
    SELECT pg_catalog.pg_is_in_recovery(),
           (pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8,
           (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8,
           \"left\"(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8),
           pg_catalog.current_setting('synchronous_commit') = 'off'";

/// Where a standby is, in the same columns.
const WHERE_STANDBY: &str = "\
    SELECT pg_catalog.pg_is_in_recovery(),
           (pg_catalog.pg_last_wal_replay_lsn() - '0/0'::pg_catalog.pg_lsn)::pg_catalog.int8,
           NULL::pg_catalog.int8, NULL::pg_catalog.text, false";

/// That it is there, asked of one that doesn't tell where it is.
pub(super) const THERE: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// Who a primary is, as a probe asks it; and whether anybody commits early by a setting of a role or database.
const WHO_PRIMARY: &str = "\
    SELECT \"left\"(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8),
           (SELECT system_identifier FROM pg_catalog.pg_control_system()),
           (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8,
           EXISTS (SELECT FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS said
                   WHERE said LIKE 'synchronous_commit=off%')";

/// The same of a standby.
const WHO_STANDBY: &str = "\
    SELECT pg_catalog.to_hex(coalesce(
               (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver),
               (SELECT greatest(timeline_id, min_recovery_end_timeline)
                FROM pg_catalog.pg_control_checkpoint(), pg_catalog.pg_control_recovery()))),
           (SELECT system_identifier FROM pg_catalog.pg_control_system()),
           (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::pg_catalog.int8, false";

/// A connection to the node, and who answers there.
pub(super) struct Connection {
    pub(super) client: Client,
    /// What is asked of it, once it has understood it; it is that for a standby.
    statement: Option<Statement>,
    standby: bool,
    pub(super) identity: Option<Identity>,
    /// It has refused to say who it is.
    pub(super) nameless: bool,
}

/// What the node said of where it is.
pub(super) struct Answer {
    pub(super) position: Position,
    /// A primary's.
    pub(super) timeline: Option<u32>,
    pub(super) commits_early: bool,
}

impl Answer {
    pub(super) const UNTOLD: Answer =
        Answer { position: Position::Untold, timeline: None, commits_early: false };
}

impl Connection {
    pub(super) async fn open(
        connector: &Connector,
        positions: &Positions,
        standby: bool,
    ) -> Result<Connection, ProbeError> {
        let client = connector.create().await?;
        let mut connection = Connection { client, statement: None, standby, identity: None, nameless: false };
        connection.identify(positions).await?;
        Ok(connection)
    }

    pub(super) async fn identify(&mut self, positions: &Positions) -> Result<(), ProbeError> {
        let mut asked =
            self.client.query_one(if self.standby { WHO_STANDBY } else { WHO_PRIMARY }, &[]).await;
        if !self.standby && asked.as_ref().is_err_and(is_standby) {
            self.turn();
            asked = self.client.query_one(WHO_STANDBY, &[]).await;
        }
        let row = match asked {
            Ok(row) => row,
            Err(error) if is_refused(&error) => {
                self.nameless = true;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.identity = identity(&row)?;
        if row.try_get(3)? {
            positions.note_early_commits();
        }
        Ok(())
    }

    /// Where it is; the inner error is why it doesn't tell.
    pub(super) async fn locate(&mut self, early: bool) -> Result<Result<Answer, String>, ProbeError> {
        let mut asked = self.ask_where(early).await;
        let other = match &asked {
            Ok((recovery, _)) => *recovery != self.standby,
            Err(error) => is_standby(error),
        };
        if other {
            self.turn();
            asked = self.ask_where(early).await;
        }
        match asked {
            Ok((_, answer)) => Ok(Ok(answer)),
            Err(error) if is_refused(&error) => {
                let why =
                    error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned());
                Ok(Err(why))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// It isn't what it was taken for.
    fn turn(&mut self) {
        (self.standby, self.statement) = (!self.standby, None);
    }

    /// Whether it is in recovery, and where it is.
    async fn ask_where(&mut self, early: bool) -> Result<(bool, Answer), tokio_postgres::Error> {
        let sql = if self.standby { WHERE_STANDBY } else { WHERE_PRIMARY };
        let statement = match self.statement.take() {
            Some(statement) => statement,
            None => self.client.prepare(sql).await?,
        };
        let row = self.client.query_one(&statement, &[]).await;
        self.statement = Some(statement);
        let row = row?;
        Ok((row.try_get(0)?, answer(&row, early)?))
    }
}

fn is_standby(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE)
}

/// The server doesn't know what it was asked, or doesn't say it to this login.
fn is_refused(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("42") || code.code().starts_with("0A"))
}

fn identity(row: &Row) -> Result<Option<Identity>, tokio_postgres::Error> {
    let (timeline, system, started): (Option<&str>, Option<i64>, Option<i64>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let timeline = timeline.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    Ok(match (timeline, system, started) {
        // It is unsigned, and shown as a signed number.
        (Some(timeline), Some(system), Some(started)) => {
            Some(Identity { system: system.cast_unsigned(), timeline, started })
        }
        _ => None,
    })
}

fn answer(row: &Row, early: bool) -> Result<Answer, tokio_postgres::Error> {
    let recovery: bool = row.try_get(0)?;
    let (kept, inserted): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
    let timeline: Option<&str> = row.try_get(3)?;
    let commits_early: bool = row.try_get(4)?;
    let position = match (recovery, kept, inserted) {
        (true, replayed, _) => Position::Replica(replayed.unwrap_or(0).cast_unsigned()),
        (false, _, Some(inserted)) if early || commits_early => {
            Position::Primary(end_of(inserted.cast_unsigned()))
        }
        (false, Some(kept), _) => Position::Primary(kept.cast_unsigned()),
        _ => Position::Untold,
    };
    let timeline = timeline.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    Ok(Answer { position, timeline, commits_early: commits_early && !recovery })
}

/// Where the last record ends, from where the next one will begin: at the start of a page, behind its header.
fn end_of(inserted: u64) -> u64 {
    const PAGE: u64 = 8192;
    /// Of the first page of a segment, and of any other.
    const HEADERS: [u64; 2] = [40, 24];
    let into = inserted % PAGE;
    if HEADERS.contains(&into) { inserted - into } else { inserted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_fills_its_page_ends_with_it() {
        assert_eq!([0x1000, 0x2018, 0x4028, 0x2020].map(end_of), [0x1000, 0x2000, 0x4000, 0x2020]);
    }
}
