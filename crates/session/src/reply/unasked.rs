//! What a server says unasked: parameters and notices.

use backend::{Parameters, Server};
use wire::backend::{ErrorFields, ParameterStatus};
use wire::frame;

use super::pass::{commit_to_answer, drop_message, pass_message};
use crate::book::Book;
use crate::core::Core;
use crate::expect::Expect;
use crate::loss::Broken;
use crate::pipe::Pipe;
use crate::work::{Retry, Work};

impl Book {
    pub(super) fn hear_parameter(
        &mut self,
        core: &Core,
        work: &mut Work,
        server: &mut Server,
        total: usize,
    ) -> Result<(), Broken> {
        let body = frame::body(&work.down.pending()[..total]);
        let status = ParameterStatus::parse(body).map_err(|_| Broken::Protocol("ParameterStatus"))?;
        let named = (str::from_utf8(status.name), str::from_utf8(status.value));
        match named {
            (Ok(name), Ok(value)) if Parameters::concerns_sessions(name) => {
                let own = matches!(work.expects.front(), Some(Expect::OwnQuery));
                if self.gate.is_open() && !(own && self.told.get(name) == Some(value)) {
                    self.note_parameter(core, server, name, value);
                    pass_message(work, total);
                } else {
                    // What the gate changes is no news to the client; what else there is it is told at the end.
                    server.parameters = core.pools.intern_parameters(server.parameters.with(name, value));
                    drop_message(work, total);
                }
            }
            (Ok("in_hot_standby"), Ok(value)) => {
                server.handle.standby.set(Some(value == "on")); // it was promoted
                drop_message(work, total);
            }
            _ => drop_message(work, total),
        }
        Ok(())
    }

    /// A notice: of what is ours the client hears nothing.
    #[cold]
    pub(super) fn hear_notice(&mut self, work: &mut Work, total: usize) {
        if let Some(resolve) = &mut work.resolve
            && is_farewell(&work.down, total)
        {
            resolve.note_farewell();
        }
        let ours = matches!(
            work.expects.front(),
            Some(Expect::OwnQuery | Expect::Gate(_) | Expect::OwnPrepare(_) | Expect::OwnParse | Expect::Id)
        );
        if ours || matches!(work.retry, Retry::Wanted { .. }) {
            drop_message(work, total);
            return;
        }
        if work.retry != Retry::Possible || !is_farewell(&work.down, total) {
            commit_to_answer(work);
        }
        self.pass_words(work, total);
    }

    /// Passes an error or a notice, in the client's words where the server knows its statements by other names.
    pub(super) fn pass_words(&self, work: &mut Work, total: usize) {
        let other_names = work.names.is_some()
            || matches!(
                work.expects.front(),
                Some(Expect::Bind | Expect::Parse { .. } | Expect::OwnPrepare(_))
            );
        match other_names.then(|| self.in_clients_words(work, total)).flatten() {
            Some(words) => {
                drop_message(work, total);
                work.down.inject().extend_from_slice(&words);
            }
            None => pass_message(work, total),
        }
    }
}

/// A server that goes down at once says so by a warning. Nobody needs it who has no more of the answer.
#[cold]
fn is_farewell(down: &Pipe, total: usize) -> bool {
    let whole = down.pending().get(..total);
    let fields = whole.and_then(|whole| ErrorFields::parse(frame::body(whole)).ok());
    let code = fields.and_then(|fields| fields.sqlstate());
    code.is_some_and(|code| matches!(code.as_str(), "57P01" | "57P02"))
}
