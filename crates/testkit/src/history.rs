//! What clients did and what they were told, and whether the table agrees with it afterwards.
//!
//! Each operation is a transaction that writes rows with a token of its own. Afterwards a confirmed one is there
//! exactly once, a refused one never, one of which the client doesn't know at most once, and none in part.

mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::frame::ServerError;
use crate::{Error, Frame, first_error};

pub use report::{Losses, Lost, Report, Violation, What};

/// SQLSTATEs by which a client learns that it can't know whether its work is there: transaction resolution unknown,
/// and statement completion unknown.
const UNKNOWN: [&str; 2] = ["08007", "40003"];

/// What all clients of a test did. Shared among them by reference.
#[derive(Debug, Default)]
pub struct History {
    operations: Mutex<Vec<Operation>>,
}

/// Names an operation; it is in each row that the operation writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What a client was told in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The commit was confirmed: ReadyForQuery came after it, and no error.
    Ok,
    /// A definite error: nothing of it is there.
    Refused(ServerError),
    /// The client can't know: an error that says so, or its connection was lost.
    Unknown(String),
}

impl Outcome {
    /// What an answer up to ReadyForQuery tells, or that there was none.
    pub fn of(answer: &Result<Vec<Frame>, Error>) -> Outcome {
        match answer.as_deref().map(first_error) {
            Ok(None) => Outcome::Ok,
            Ok(Some(error)) if UNKNOWN.contains(&error.code.as_str()) => Outcome::Unknown(error.to_string()),
            Ok(Some(error)) => Outcome::Refused(error),
            Err(lost) => Outcome::Unknown(lost.to_string()),
        }
    }
}

/// Where a transaction wrote: the server, by what the test calls it, and its 32-bit transaction id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The server's port.
    pub port: u16,
    /// `pg_current_xact_id()`, without the epoch.
    pub xid: u32,
}

/// An operation as logged.
#[derive(Debug, Clone)]
pub struct Operation {
    /// In each of its rows.
    pub token: Token,
    /// Who did it.
    pub client: usize,
    /// How many rows it writes, numbered from 0.
    pub rows: u32,
    /// When its first message was about to be sent.
    pub began: Instant,
    /// When, and what the client was told.
    pub ended: Option<(Instant, Outcome)>,
    /// Where it wrote, as far as the client learned it.
    pub place: Option<Place>,
}

impl History {
    /// Nothing yet.
    pub fn new() -> History {
        History::default()
    }

    /// A client is about to begin a transaction of so many rows.
    pub fn begin(&self, client: usize, rows: u32) -> Token {
        let mut operations = self.operations();
        let token = Token(u64::try_from(operations.len()).unwrap_or(u64::MAX));
        operations.push(Operation { token, client, rows, began: Instant::now(), ended: None, place: None });
        token
    }

    /// The client has learned where its transaction writes.
    pub fn wrote(&self, token: Token, place: Place) {
        self.change(token, |operation| operation.place = Some(place));
    }

    /// The client has been told how it ended.
    pub fn end(&self, token: Token, outcome: Outcome) {
        self.change(token, |operation| operation.ended = Some((Instant::now(), outcome)));
    }

    /// All operations so far, in the order in which they began.
    pub fn snapshot(&self) -> Vec<Operation> {
        self.operations().clone()
    }

    /// How many have been confirmed so far.
    pub fn confirmed(&self) -> usize {
        self.operations().iter().filter(|operation| matches!(operation.ended, Some((_, Outcome::Ok)))).count()
    }

    /// Compares with the rows that are there: (token, number of the row). Without `losses` none is forgiven.
    pub fn check(&self, found: &[(Token, u32)], losses: Option<&Losses>) -> Report {
        let mut there: HashMap<Token, BTreeMap<u32, usize>> = HashMap::new();
        for (token, row) in found {
            *there.entry(*token).or_default().entry(*row).or_default() += 1;
        }
        let mut report = Report::default();
        for operation in self.snapshot() {
            let rows = there.remove(&operation.token).unwrap_or_default();
            report.judge(operation, &rows, losses);
        }
        let strange = there.into_keys().map(|token| Violation {
            token,
            told: "nothing".to_owned(),
            what: What::Strange,
        });
        report.violations.extend(strange);
        report.violations.sort_by_key(|violation| violation.token);
        report
    }

    fn change(&self, token: Token, change: impl FnOnce(&mut Operation)) {
        let mut operations = self.operations();
        let at = usize::try_from(token.0).ok();
        if let Some(operation) = at.and_then(|at| operations.get_mut(at)) {
            change(operation);
        }
    }

    fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
