//! The extended protocol at the console: drivers use it for every statement, parameters or not.

use std::collections::HashMap;

use ::wire::backend::TransactionStatus;
use ::wire::frontend::{Bind, Close, Describe, Execute, Parse, Target};
use ::wire::{ErrorReport, SqlState, encode, tag};

use super::commands;
use super::reply::{self, Formats};
use super::session::{End, Session, split};
use crate::value::{Column, Row};

/// Prepared statements, and portals, that one client may have.
const MAX_NAMES: usize = 256;

/// A prepared statement: a row of the table, or nothing for an empty text.
type Statement = Option<&'static commands::Row>;

/// What a client has prepared and bound.
#[derive(Debug, Default)]
pub(super) struct Extended {
    statements: HashMap<Box<[u8]>, Statement>,
    portals: HashMap<Box<[u8]>, Portal>,
    phase: Phase,
}

/// Where in a pipeline the client is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing since the last Sync.
    #[default]
    Outside,
    /// Messages have come, and no Sync.
    Inside,
    /// One of them failed: the others are passed over.
    Skipping,
}

#[derive(Debug)]
struct Portal {
    statement: Statement,
    formats: Formats,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// Not run.
    New,
    /// Rows that haven't been fetched.
    Rows(std::vec::IntoIter<Row>),
    /// Run, and it had no rows.
    Done,
}

impl Extended {
    /// Whether the client may go on without reading: replies needn't be sent yet.
    pub(super) fn in_pipeline(&self) -> bool {
        self.phase != Phase::Outside
    }

    pub(super) fn is_skipping(&self) -> bool {
        self.phase == Phase::Skipping
    }

    /// The pipeline is over; outside of a block its portals are too.
    pub(super) fn sync(&mut self, status: TransactionStatus) {
        self.phase = Phase::Outside;
        if status == TransactionStatus::Idle {
            self.portals.clear();
        }
    }

    /// A simple Query takes the unnamed statement and portal away.
    pub(super) fn forget_unnamed(&mut self) {
        self.statements.remove(&[][..]);
        self.portals.remove(&[][..]);
    }

    fn statement(&self, name: &[u8]) -> Result<Statement, ErrorReport> {
        self.statements.get(name).copied().ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            let message = format!("prepared statement \"{name}\" does not exist");
            ErrorReport::error(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }
}

impl Session {
    /// One message of the extended protocol.
    pub(super) async fn extended_message(&mut self, tag: u8, body: &[u8]) -> Result<(), End> {
        self.extended.phase = Phase::Inside;
        let done = match tag {
            tag::PARSE => self.parse(&Parse::parse(body)?),
            tag::BIND => self.bind(&Bind::parse(body)?),
            tag::DESCRIBE => self.describe(Describe::parse(body)?),
            tag::CLOSE => {
                self.close(Close::parse(body)?);
                Ok(())
            }
            _ => self.execute(Execute::parse(body)?).await?,
        };
        if let Err(report) = done {
            self.fail(&report);
            self.extended.phase = Phase::Skipping;
        }
        Ok(self.wire.drain().await?)
    }

    fn parse(&mut self, parse: &Parse<'_>) -> Result<(), ErrorReport> {
        let mut commands = split(parse.sql)?;
        let command = commands.pop();
        if !commands.is_empty() {
            return Err(ErrorReport::error(
                SqlState::SYNTAX_ERROR,
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let statement = command.map(|command| commands::find(&command)).transpose()?;
        if !parse.name.is_empty() && self.extended.statements.contains_key(parse.name) {
            let message =
                format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(parse.name));
            return Err(ErrorReport::error(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        }
        if self.extended.statements.len() >= MAX_NAMES {
            return Err(too_many("prepared statements"));
        }
        self.extended.statements.insert(parse.name.into(), statement);
        encode::parse_complete(&mut self.wire.out);
        Ok(())
    }

    fn bind(&mut self, bind: &Bind<'_>) -> Result<(), ErrorReport> {
        let statement = self.extended.statement(bind.statement)?;
        if bind.parameter_count > 0 {
            let message = format!(
                "bind message supplies {} parameters, but the console's commands take none",
                bind.parameter_count
            );
            return Err(ErrorReport::error(SqlState::PROTOCOL_VIOLATION, message));
        }
        let formats = formats(bind.result_formats, columns_of(statement).map_or(0, <[Column]>::len))?;
        if !bind.portal.is_empty() && self.extended.portals.contains_key(bind.portal) {
            let message = format!("cursor \"{}\" already exists", String::from_utf8_lossy(bind.portal));
            return Err(ErrorReport::error(SqlState::DUPLICATE_CURSOR, message));
        }
        if self.extended.portals.len() >= MAX_NAMES {
            return Err(too_many("portals"));
        }
        let portal = Portal { statement, formats, progress: Progress::New };
        self.extended.portals.insert(bind.portal.into(), portal);
        encode::bind_complete(&mut self.wire.out);
        Ok(())
    }

    fn describe(&mut self, Describe { target, name }: Describe<'_>) -> Result<(), ErrorReport> {
        let out = &mut self.wire.out;
        let (statement, formats) = match target {
            Target::Statement => {
                let statement = self.extended.statement(name)?;
                reply::no_parameters(out);
                (statement, &Formats::Text)
            }
            Target::Portal => {
                let portal = self.extended.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.statement, &portal.formats)
            }
        };
        match columns_of(statement) {
            Some(columns) => reply::row_description(out, columns, formats),
            None => encode::no_data(out),
        }
        Ok(())
    }

    fn close(&mut self, Close { target, name }: Close<'_>) {
        match target {
            Target::Statement => drop(self.extended.statements.remove(name)),
            Target::Portal => drop(self.extended.portals.remove(name)),
        }
        encode::close_complete(&mut self.wire.out);
    }

    async fn execute(&mut self, execute: Execute<'_>) -> Result<Result<(), ErrorReport>, End> {
        // Taken out while it runs; it is put back unless it fails.
        let Some(mut portal) = self.extended.portals.remove(execute.portal) else {
            return Ok(Err(no_portal(execute.portal)));
        };
        let Some(statement) = portal.statement else {
            encode::empty_query(&mut self.wire.out);
            self.extended.portals.insert(execute.portal.into(), portal);
            return Ok(Ok(()));
        };
        let columns = statement.action.columns();
        if let Progress::New = portal.progress {
            let outcome = match self.run(statement).await {
                Ok(outcome) => outcome,
                Err(report) => return Ok(Err(report)),
            };
            for notice in &outcome.notices {
                encode::notice_response(&mut self.wire.out, notice);
            }
            if columns.is_none() {
                encode::command_complete(&mut self.wire.out, outcome.tag);
                portal.progress = Progress::Done;
                self.extended.portals.insert(execute.portal.into(), portal);
                return Ok(Ok(()));
            }
            portal.progress = Progress::Rows(outcome.rows.into_iter());
        }
        let (Progress::Rows(rows), Some(columns)) = (&mut portal.progress, columns) else {
            let message = format!("portal \"{}\" cannot be run", String::from_utf8_lossy(execute.portal));
            return Ok(Err(ErrorReport::error(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)));
        };
        let limit = usize::try_from(execute.max_rows).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let mut sent = 0;
        while sent < limit
            && let Some(row) = rows.next()
        {
            reply::data_row(&mut self.wire.out, columns, &row, &portal.formats);
            sent += 1;
            self.wire.drain().await?;
        }
        // As in Postgres: a portal whose rows were exactly as many as asked for doesn't know that it is at its end.
        if sent == limit {
            reply::portal_suspended(&mut self.wire.out);
        } else {
            encode::command_complete(&mut self.wire.out, "SHOW");
        }
        self.extended.portals.insert(execute.portal.into(), portal);
        Ok(Ok(()))
    }
}

fn columns_of(statement: Statement) -> Option<&'static [Column]> {
    statement.and_then(|row| row.action.columns())
}

/// Result formats as Bind has them: none, one for all, or one for each column.
fn formats(codes: &[u8], columns: usize) -> Result<Formats, ErrorReport> {
    let binary = |code: &[u8]| match code {
        [0, 0] => Ok(false),
        [0, 1] => Ok(true),
        _ => Err(ErrorReport::error(SqlState::INVALID_PARAMETER_VALUE, "unsupported format code")),
    };
    let codes: Vec<bool> = codes.chunks_exact(2).map(binary).collect::<Result<_, _>>()?;
    match codes[..] {
        [] | [false] => Ok(Formats::Text),
        [true] => Ok(Formats::Binary),
        _ if codes.len() == columns => Ok(Formats::Each(codes)),
        _ => {
            let message =
                format!("bind message has {} result formats but query has {columns} columns", codes.len());
            Err(ErrorReport::error(SqlState::PROTOCOL_VIOLATION, message))
        }
    }
}

fn no_portal(name: &[u8]) -> ErrorReport {
    let message = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
    ErrorReport::error(SqlState::INVALID_CURSOR_NAME, message)
}

fn too_many(what: &str) -> ErrorReport {
    ErrorReport::error(
        SqlState::CONFIGURATION_LIMIT_EXCEEDED,
        format!("a client of the console may have {MAX_NAMES} {what} at most"),
    )
}
