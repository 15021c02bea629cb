//! What the server still has to answer, in order, and what of it is whose.
//!
//! The queue is what makes rewriting safe: each message sent to a server has its entry, and so has each answer that
//! pgweir gives itself, so that the client sees one answer for each of its messages, in its order.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use backend::Settings;
use sql::facts::{Facts, Literal};
use wire::ErrorReport;

use crate::gate::Step;
use crate::named_text::NamedText;
use crate::names::Names;

/// A statement's text with what is known of it, as one core keeps it.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) statement: Arc<backend::Statement>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) literals: Box<[Literal]>,
    /// What it is read by; `None`: that wasn't known when it was prepared.
    pub(crate) reading: Option<Rc<Settings>>,
    /// It names another prepared statement. It has no reading then: it is looked at each time.
    pub(crate) named: Option<Box<NamedText>>,
}

/// The name of a prepared statement; empty: the unnamed one.
pub(crate) type StatementName = Box<[u8]>;

/// One answer that is due.
#[derive(Debug)]
pub(crate) enum Expect {
    /// A simple Query or a FunctionCall: all up to ReadyForQuery.
    Query,
    /// Sync: ReadyForQuery.
    Sync,
    /// A command of the gate as Parse, Bind and Execute: all up to CommandComplete is kept from the client. An error
    /// of it is the client's, and what was sent behind it is skipped.
    Gate(Step),
    /// A Sync of our own: its ReadyForQuery is kept from the client.
    OwnSync,
    /// A Query of our own: all up to its ReadyForQuery is kept from the client.
    OwnQuery,
    /// ParseComplete. Without a name it is our own, and kept from the client. `unnamed`: it is the server's unnamed
    /// statement; otherwise it has the name that its content gives it.
    /// `was`: what the session's unnamed statement was before.
    Parse { text: Rc<Text>, name: Option<StatementName>, unnamed: bool, was: Option<Rc<Text>> },
    /// BindComplete.
    Bind,
    /// ParameterDescription, then as for a portal.
    DescribeStatement,
    /// RowDescription or NoData.
    DescribePortal,
    /// Rows, then CommandComplete, PortalSuspended or EmptyQueryResponse.
    Execute,
    /// CloseComplete.
    Close,
    /// CloseComplete of our own for the statement of this id, kept from the client.
    OwnClose(u64),
    /// An answer of our own, not asked of the server.
    Answer(Vec<u8>),
    /// The same to a whole Query: a ReadyForQuery with the status of the moment follows it.
    AnswerQuery(Vec<u8>),
    /// ParseComplete of our own: the server has the text already.
    AnswerParse { name: StatementName, was: Option<Rc<Text>> },
    /// CloseComplete of our own for a name that is ours to keep, or CommandComplete with a tag; what it stood for
    /// comes back if it isn't reached.
    AnswerClose { name: StatementName, was: Option<Rc<Text>>, tag: Option<&'static str> },
    /// An extended message that must fail: the client gets this error in place of the server's.
    Provoked(Box<ErrorReport>),
    /// A Query that must fail, likewise.
    ProvokedQuery(Box<ErrorReport>),
    /// What is answered next was sent with names of the server's.
    Names(Box<Names>),
    /// A PREPARE of our own as Parse, Bind, Execute and Close of its portal: all of it is kept from the client. An error
    /// of it is the client's, and what was sent behind it is skipped.
    OwnPrepare(Rc<Text>),
    /// A Parse of our own, of which the client hears nothing. An error of it is the client's, and what was sent behind it
    /// is skipped.
    OwnParse,
    /// A Flush of our own: nothing answers it.
    OwnFlush,
    /// The id of the transaction as Parse, Bind, Execute and Close: all of it is kept from the client. Behind it comes a
    /// Sync of our own, which keeps its error from the client too, or it is a part of the client's pipeline.
    Id,
}

/// Answers that are due.
#[derive(Debug, Default)]
pub(crate) struct Expectations(VecDeque<Expect>, u32);

impl Expectations {
    #[inline]
    pub(crate) fn push(&mut self, expect: Expect) {
        if matches!(expect, Expect::Sync | Expect::OwnSync) {
            self.1 = self.1.wrapping_add(1);
        }
        self.0.push_back(expect);
    }

    /// Of what was pushed last: messages of one segment, which ends with a Sync, are executed up to the first that
    /// fails.
    #[inline]
    pub(crate) fn segment(&self) -> u32 {
        self.1
    }

    /// Whether a statement is to be prepared on the server under its own name.
    pub(crate) fn prepare(&self, id: u64) -> bool {
        let prepares = |e: &Expect| matches!(e, Expect::Parse { text, unnamed: false, .. } | Expect::OwnPrepare(text) if text.statement.id == id);
        self.0.iter().any(prepares)
    }

    /// Whether the client's statement of this name is to be prepared.
    pub(crate) fn name(&self, name: &[u8]) -> bool {
        self.0.iter().any(|expect| match expect {
            Expect::Parse { name: Some(given), .. } | Expect::AnswerParse { name: given, .. } => {
                **given == *name
            }
            Expect::Names(names) => names.gives(name),
            _ => false,
        })
    }

    #[inline]
    pub(crate) fn front(&self) -> Option<&Expect> {
        self.0.front()
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Expect> {
        self.0.pop_front()
    }

    /// The first answer turns out to have a second part.
    pub(crate) fn replace_front(&mut self, expect: Expect) {
        if let Some(front) = self.0.front_mut() {
            *front = expect;
        }
    }

    /// The first answer has a second part.
    pub(crate) fn push_front(&mut self, expect: Expect) {
        self.0.push_front(expect);
    }

    /// Whether an answer of our own is next: nothing of the server's comes before it.
    #[inline]
    pub(crate) fn own_answer_is_next(&self) -> bool {
        matches!(
            self.0.front(),
            Some(
                Expect::Answer(_)
                    | Expect::AnswerQuery(_)
                    | Expect::AnswerParse { .. }
                    | Expect::AnswerClose { .. }
                    | Expect::Names(_)
                    | Expect::OwnFlush
            )
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// After an error in the extended protocol: the entry up to the next Sync, which the server skips, Queries too.
    pub(crate) fn pop_skipped(&mut self) -> Option<Expect> {
        match self.0.front() {
            None | Some(Expect::Sync | Expect::OwnSync) => None,
            Some(_) => self.0.pop_front(),
        }
    }

    /// What an error answers now is an extended message: the server skips all up to Sync after it.
    pub(crate) fn extended_is_next(&self) -> bool {
        !matches!(
            self.0.front(),
            None | Some(
                Expect::Query | Expect::OwnQuery | Expect::ProvokedQuery(_) | Expect::Sync | Expect::OwnSync
            )
        )
    }

    /// The statement that is running was begun by Execute.
    pub(crate) fn executes(&self) -> bool {
        matches!(self.0.front(), Some(Expect::Execute))
    }

    /// What is due, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Expect> {
        self.0.iter()
    }

    /// A Query is due, of whose answer a part may have come.
    pub(crate) fn may_be_halfway(&self) -> bool {
        self.0.iter().any(|expect| matches!(expect, Expect::Query))
    }

    /// The id of the transaction was asked for and is due.
    pub(crate) fn asks_for_id(&self) -> bool {
        self.0.iter().any(|expect| matches!(expect, Expect::Id))
    }

    /// It is next, and the client has nothing to do with it.
    pub(crate) fn asks_for_id_by_itself(&self) -> bool {
        matches!((self.0.front(), self.0.get(1)), (Some(Expect::Id), Some(Expect::OwnSync)))
    }

    /// Whether a statement is not yet answered that may turn out to be a COPY.
    pub(crate) fn may_copy(&self) -> bool {
        self.0.iter().any(|e| matches!(e, Expect::Query | Expect::OwnQuery | Expect::Execute))
    }

    /// Whether a statement of the client's is not yet answered that comes before its next Sync.
    pub(crate) fn awaits_statement(&self) -> bool {
        let mut next = self.0.iter().take_while(|expect| !matches!(expect, Expect::Sync));
        next.any(|expect| matches!(expect, Expect::Query | Expect::Execute))
    }

    /// A Flush was sent behind all that is due.
    pub(crate) fn ends_with_flush(&self) -> bool {
        matches!(self.0.back(), Some(Expect::OwnFlush))
    }

    /// Something was executed since the last Sync was sent.
    pub(crate) fn has_executed(&self) -> bool {
        let open = self.0.iter().rev().take_while(|expect| !matches!(expect, Expect::Sync | Expect::OwnSync));
        open.into_iter().any(|expect| matches!(expect, Expect::Execute))
    }

    /// What will make the connection one to be cleaned was sent.
    pub(crate) fn shows_names(&self) -> bool {
        self.0.iter().any(|expect| matches!(expect, Expect::OwnQuery | Expect::OwnParse))
    }

    /// A Sync of our own is next.
    pub(crate) fn ends_own_segment(&self) -> bool {
        matches!(self.0.front(), Some(Expect::OwnSync))
    }

    /// A gate was sent and is not answered.
    pub(crate) fn gate_is_first(&self) -> bool {
        matches!(self.0.front(), Some(Expect::Gate(_)))
    }

    /// How many answers are due.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many ReadyForQuerys the client still waits for.
    pub(crate) fn count_ready(&self) -> usize {
        let ready = |e: &&Expect| {
            matches!(e, Expect::Query | Expect::ProvokedQuery(_) | Expect::Sync | Expect::AnswerQuery(_))
        };
        self.0.iter().filter(ready).count()
    }

    /// COPY from the client has begun: the server ignores the Syncs that were sent already.
    /// Gives how many.
    pub(crate) fn drop_syncs_sent_before_copy(&mut self) -> u32 {
        let before = self.0.len();
        self.0.retain(|expect| !matches!(expect, Expect::Sync | Expect::OwnSync));
        u32::try_from(before - self.0.len()).unwrap_or(u32::MAX)
    }
}
