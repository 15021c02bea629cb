//! What was assumed of messages that turn out not to be executed.

use std::rc::Rc;

use backend::Server;

use crate::book::Book;
use crate::expect::{Expect, StatementName, Text};
use crate::work::Work;

impl Book {
    /// Messages, the last ones first, were not executed: what was assumed of them is taken back. What was sent behind
    /// them and is still due has been taken for granted since, and stays.
    pub(crate) fn undo(&mut self, work: &Work, server: &mut Server, skipped: Vec<Expect>) {
        for expect in skipped.into_iter().rev() {
            match expect {
                Expect::Parse { text, name, unnamed, was } => {
                    if unnamed {
                        server.unnamed = None;
                    } else {
                        let id = text.statement.id;
                        server.prepared.refuse(id, work.expects.prepare(id));
                    }
                    if let Some(name) = name {
                        self.restore(work, name, was);
                    }
                }
                Expect::OwnPrepare(text) => {
                    let id = text.statement.id;
                    server.prepared.refuse(id, work.expects.prepare(id));
                }
                Expect::Names(names) => self.undo_names(work, server, *names),
                Expect::OwnClose(id) => server.prepared.doubt(id),
                Expect::AnswerParse { name, was, .. } | Expect::AnswerClose { name, was, .. } => {
                    self.restore(work, name, was);
                }
                _ => {}
            }
        }
    }

    /// A name stands again for what it stood for.
    pub(crate) fn restore(&mut self, work: &Work, name: StatementName, was: Option<Rc<Text>>) {
        if !work.expects.name(&name) {
            self.set_name(&name, was);
        }
    }
}
