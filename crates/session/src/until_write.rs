//! Transactions that read on a replica until they write, and go on on the primary then (`route.transactions:
//! replica_until_write`).
//!
//! The replica runs a transaction of its own. What the client has said in it besides queries (SET, savepoints) is kept,
//! and said again on the primary behind BEGIN, in front of the request that moves the transaction, in the same packet.
//!
//! What is said is noted in `notes`; where a request goes is `moves`, where the transaction may begin `begins`, and what
//! becomes of it without its replica `losses`.

mod begins;
mod losses;
mod moves;
mod notes;

use route::{Target, UntilWrite as Phase};
use sql::facts::{Effect, Facts, Kind, Name};

use crate::book::Begun;
use crate::request::Request;

/// A transaction that has said more than this goes to the primary: statements, and bytes of them.
const MOST_SAID: usize = 64;
const MOST_BYTES: usize = 32 << 10;

/// An open transaction that reads on a replica.
#[derive(Debug)]
pub(crate) struct UntilWrite {
    /// Where.
    target: Target,
    /// Its BEGIN.
    begun: Box<Begun>,
    /// It came with the request in hand, as the statement of this number.
    fresh: Option<u32>,
    /// What has been said, in order, without what a rollback or release has undone.
    said: Vec<Said>,
    /// The same of the request in hand, with the number of the statement there: it isn't known yet what is done.
    sent: Vec<(u32, Said)>,
    /// The last Bind of the request in hand, if it is to be noted when it is executed.
    bound: Option<Said>,
    /// Statements of the request in hand that were sent, and that were answered without an error.
    statements: u32,
    done: u32,
    /// A query was run: it has had a snapshot.
    has_read: bool,
}

/// A statement that is to be said again on the primary.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its text, as the client sent it.
    pub(crate) sql: Box<[u8]>,
    /// The parameter types of its Parse.
    pub(crate) types: Box<[u8]>,
    /// What its Bind said behind the names.
    pub(crate) values: Box<[u8]>,
    what: What,
}

/// What is said.
#[derive(Debug)]
enum What {
    Set,
    Savepoint(Name),
    Release(Name),
    RollbackTo(Name),
}

/// What was seen of a request, as far as it concerns such a transaction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// It reads in such a transaction, there.
    pub(crate) reads_at: Option<Target>,
    /// What its first statement is, if such a transaction is open.
    pub(crate) first: Option<Kind>,
    /// It waits for the relay to end: the next request of such a transaction.
    pub(crate) next: Option<(Request, Target)>,
}

/// What becomes of what is pending in such a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It waits for answers, or for the rest of it.
    Wait,
    /// Its messages go where the transaction is, as they come.
    Bound,
    /// The relay ends, and the request is run by itself.
    Next,
}

impl UntilWrite {
    pub(crate) fn new(target: Target, begun: Box<Begun>) -> Box<Self> {
        Box::new(Self {
            target,
            begun,
            fresh: None,
            said: Vec::new(),
            sent: Vec::new(),
            bound: None,
            statements: 0,
            done: 0,
            has_read: false,
        })
    }

    /// Where it is open.
    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// How it was begun.
    pub(crate) fn begun(&self) -> &Begun {
        &self.begun
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> Phase {
        if self.has_read { Phase::HasRead } else { Phase::Fresh }
    }

    /// It has said as much as may be said again.
    pub(crate) fn is_full(&self) -> bool {
        let bytes: usize = self.said.iter().map(|said| said.sql.len() + said.values.len()).sum();
        self.said.len() >= MOST_SAID || bytes > MOST_BYTES
    }

    /// A statement of the request in hand is being executed. (A Query's are one after the other.)
    pub(crate) fn execute(&mut self, statements: usize) {
        if let Some(said) = self.bound.take() {
            self.sent.push((self.statements, said));
        } else {
            self.has_read = true;
        }
        self.statements += u32::try_from(statements).unwrap_or(u32::MAX);
    }

    /// A statement was answered. Whether it was the BEGIN of a pipeline, which may be run again with the rest.
    pub(crate) fn note_done(&mut self) -> bool {
        self.done += 1;
        self.fresh == Some(self.done - 1)
    }

    /// The request is answered: what was done of it is kept.
    pub(crate) fn settle(&mut self) {
        for (number, said) in std::mem::take(&mut self.sent) {
            if number < self.done {
                self.keep(said);
            }
        }
        (self.bound, self.statements, self.done, self.fresh) = (None, 0, 0, None);
    }

    fn keep(&mut self, said: Said) {
        let savepoint = |name: &Name| {
            self.said.iter().rposition(|said| matches!(&said.what, What::Savepoint(known) if known == name))
        };
        match &said.what {
            What::Set | What::Savepoint(_) => self.said.push(said),
            // What was set since stays; the savepoints within are gone too.
            What::Release(name) => {
                if let Some(at) = savepoint(name) {
                    let within = self.said.split_off(at);
                    self.said.extend(within.into_iter().filter(|said| matches!(said.what, What::Set)));
                }
            }
            What::RollbackTo(name) => {
                if let Some(at) = savepoint(name) {
                    self.said.truncate(at + 1);
                }
            }
        }
    }

    /// The transaction as one that has yet to be begun, on the primary. `ends`: it has failed, and what comes next ends
    /// it.
    fn into_begun(self, ends: bool) -> Box<Begun> {
        let mut begun = self.begun;
        begun.failed = ends;
        begun.said = Some(self.said);
        begun
    }
}

impl Said {
    /// What these facts say, if it has to be said again. `values`: behind the names of Bind; none: a Query.
    fn new(facts: &Facts, sql: &[u8], types: &[u8], values: Option<&[u8]>) -> Option<Said> {
        let what = facts.statements.iter().flat_map(|statement| &statement.effects).find_map(what)?;
        // No formats, no values, no formats of the result.
        let values = values.unwrap_or(&[0; 6]).into();
        Some(Said { sql: sql.into(), types: types.into(), values, what })
    }
}

fn what(effect: &Effect) -> Option<What> {
    match effect {
        Effect::Set { .. } | Effect::SetLocal(_) | Effect::SetTransaction(_) => Some(What::Set),
        Effect::Savepoint(name) => Some(What::Savepoint(name.clone())),
        Effect::ReleaseSavepoint(name) => Some(What::Release(name.clone())),
        Effect::RollbackTo(name) => Some(What::RollbackTo(name.clone())),
        _ => None,
    }
}

/// Whether a text says something that would have to be said again.
pub(crate) fn says(facts: &Facts) -> bool {
    facts.statements.iter().flat_map(|statement| &statement.effects).any(|effect| what(effect).is_some())
}
