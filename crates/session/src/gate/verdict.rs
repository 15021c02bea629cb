//! What becomes of a gate: its commands are done or refused, and what was sent behind them runs or is skipped.

use std::rc::Rc;

use backend::Server;
use wire::backend::{ErrorFields, TransactionStatus};
use wire::{ErrorReport, SqlState, encode};

use super::{Gate, Step};
use crate::book::{Begun, Book};
use crate::expect::Expect;
use crate::work::{Retry, Work};

impl Book {
    /// A command of the gate is done.
    pub(crate) fn pass_gate(&mut self, work: &mut Work, server: &mut Server, step: Step) {
        work.expects.pop();
        match (step, &mut self.gate) {
            (Step::Settled, Gate::Settings(target)) => {
                server.applied = Rc::clone(target);
                server.doubt = work.expects.shows_names();
                let begins = work.expects.gate_is_first();
                self.gate = if begins { Gate::Begin { settings: true } } else { Gate::Passed };
            }
            (Step::Begin, gate) => {
                let settings = matches!(gate, Gate::Begin { settings: true });
                *gate = if settings { Gate::Passed } else { Gate::Open };
                // What follows it in its segment happens inside.
                server.status = TransactionStatus::InTransaction;
            }
            (Step::Settings | Step::Settled | Step::Said, _) => {}
        }
    }

    /// A command of the gate failed. True if it was one of ours, of which the client knows nothing.
    pub(crate) fn refuse_gate(&mut self, step: Step, server: &mut Server) -> bool {
        match step {
            Step::Begin => {
                self.gate = Gate::BeginRefused;
                return false;
            }
            // The transaction is open, and has failed.
            Step::Said => return false,
            Step::Settings | Step::Settled => {}
        }
        // Its transaction is rolled back before anybody has the connection.
        self.gate = Gate::Refused { begun: false };
        server.doubt = false;
        true
    }

    /// What was sent behind a refused gate is skipped up to a Sync: a Query brings none of its own.
    #[cold]
    pub(crate) fn skip_behind_gate(&mut self, work: &mut Work, server: &mut Server, skipped: &[Expect]) {
        let begins = skipped.iter().any(|expect| matches!(expect, Expect::Gate(Step::Begin)));
        if let Gate::Refused { begun } = &mut self.gate {
            *begun = begins;
        }
        let query = skipped.iter().any(|expect| matches!(expect, Expect::Query | Expect::ProvokedQuery(_)));
        if query && work.expects.is_empty() {
            encode::sync(work.up.inject());
            work.expects.push(if self.gate.is_pending() { Expect::OwnSync } else { Expect::Sync });
            work.owe_ready(server);
        }
    }

    /// The ReadyForQuery of the request came.
    #[cold]
    pub(crate) fn leave_gate(&mut self, work: &mut Work) -> Outcome {
        let again = matches!(work.retry, Retry::Wanted { .. });
        let begun = match std::mem::replace(&mut self.gate, Gate::Open) {
            _ if again => return Outcome::Held { tell: false },
            Gate::Refused { begun } => {
                work.retry = Retry::Refused;
                begun
            }
            Gate::BeginRefused => true,
            Gate::Open | Gate::Settings(_) | Gate::Begin { .. } | Gate::Passed => {
                return Outcome::Held { tell: !work.failed };
            }
        };
        if !begun {
            return Outcome::Refused(TransactionStatus::Idle);
        }
        // The client's transaction never began; it believes itself in one, and now in a failed one.
        self.begun = Some(Box::new(Begun::lost(None)));
        Outcome::Refused(TransactionStatus::Failed)
    }
}

/// What became of a gate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// It held. `tell`: the client is to be told what the server reports.
    Held { tell: bool },
    /// It was refused: the status that the client is told.
    Refused(TransactionStatus),
}

/// The server's error with a word on what it is about: the client's statement says nothing of settings.
pub(crate) fn reword(error: &[u8]) -> Option<Vec<u8>> {
    let report = explained(ErrorFields::parse(error).ok()?.to_report());
    let mut bytes = Vec::new();
    encode::error_response(&mut bytes, &report);
    Some(bytes)
}

pub(super) fn explained(report: ErrorReport) -> ErrorReport {
    if report.detail.is_some() || report.code == SqlState::QUERY_CANCELED {
        return report;
    }
    report
        .with_detail("A setting of this session was refused when it was restored on a server connection; the statement was not run.")
        .with_hint("Set or reset it.")
}
