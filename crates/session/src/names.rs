//! The names of prepared statements in a text of the client: what they are called on its server, what becomes of the
//! session's names as the text is done, and how an error that speaks of them is put in the client's words.

use std::collections::HashMap;
use std::rc::Rc;

use backend::Server;
use wire::{backend::ErrorFields, frame};

use crate::book::Book;
use crate::expect::{Expect, StatementName, Text};
use crate::work::Work;

/// All of a session's names.
pub(crate) type AllNames = HashMap<StatementName, Rc<Text>, foldhash::fast::RandomState>;

/// What is different in a text that was sent with other names than the client wrote.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The names in the server's text, in order.
    pub(crate) edits: Vec<Edit>,
    /// What the server calls a statement, and the client.
    pub(crate) called: Vec<(Box<str>, StatementName)>,
    /// What was done to the session's names, as if all of the text had been done.
    pub(crate) steps: Vec<Step>,
    /// How many statements of the text are done.
    pub(crate) done: usize,
}

/// A name in the server's text. All in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Where it begins, from 0.
    pub(crate) at: usize,
    /// How long it is, and how long the client's is.
    pub(crate) ours: usize,
    pub(crate) theirs: usize,
}

/// What a statement of the text does to the session's names.
#[derive(Debug)]
pub(crate) struct Step {
    /// Which statement.
    pub(crate) index: usize,
    pub(crate) change: Change,
}

#[derive(Debug)]
pub(crate) enum Change {
    /// A name stands for something else, and stood for this before.
    Named { name: StatementName, was: Option<Rc<Text>>, made: Option<u64> },
    /// All names are gone: these.
    Cleared(Box<AllNames>),
}

impl Names {
    /// Whether a name will stand for a statement once the text is done.
    pub(crate) fn gives(&self, name: &[u8]) -> bool {
        self.steps.iter().any(|step| {
            matches!(&step.change, Change::Named { name: given, made: Some(_), .. } if **given == *name)
        })
    }
}

impl Book {
    /// Of a text that wasn't done to its end: what was assumed of the rest is taken back.
    pub(crate) fn undo_names(&mut self, work: &Work, server: &mut Server, names: Names) {
        for Step { index, change } in names.steps.into_iter().rev() {
            if index < names.done {
                break;
            }
            match change {
                Change::Named { name, was, made } => {
                    if let Some(id) = made {
                        server.prepared.doubt(id);
                    }
                    self.restore(work, name, was);
                }
                Change::Cleared(was) => self.names = *was,
            }
        }
    }

    /// The error or notice that is pending, in the client's words; `None`: they are already.
    #[cold]
    pub(crate) fn in_clients_words(&self, work: &Work, total: usize) -> Option<Vec<u8>> {
        let message = work.down.pending().get(..total)?;
        let fields = ErrorFields::parse(frame::body(message)).ok()?;
        let mut body = Vec::with_capacity(total);
        let mut changed = false;
        for (code, text) in fields.iter() {
            body.push(code);
            let other = match code {
                b'M' | b'D' | b'H' => self.with_clients_name(work, text),
                b'P' => self.clients_place(work, text),
                _ => None,
            };
            changed |= other.is_some();
            body.extend_from_slice(other.as_deref().unwrap_or(text));
            body.push(0);
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).ok()?;
        changed.then(|| [&message[..1], &length.to_be_bytes(), &body].concat())
    }

    /// A text of the server that names a statement by the name that it has there, with the client's name.
    fn with_clients_name(&self, work: &Work, text: &[u8]) -> Option<Vec<u8>> {
        const PREFIX: &[u8] = b"\"pgweir_";
        let at = text.windows(PREFIX.len()).position(|found| found == PREFIX)? + 1;
        let end = at + text[at..].iter().position(|byte| *byte == b'"')?;
        let in_text = work.names.iter().flat_map(|names| &names.called);
        let name = in_text
            .filter(|(server, _)| server.as_bytes() == &text[at..end])
            .map(|(_, name)| name)
            .next()
            .or_else(|| {
                let of_server =
                    |text_of: &Rc<Text>| text_of.statement.server_name.as_bytes() == &text[at..end];
                self.names.iter().find(|(_, text)| of_server(text)).map(|(name, _)| name)
            })?;
        Some([&text[..at], name, &text[end..]].concat())
    }

    /// The place in the client's text of a place in the server's, as an error has it.
    fn clients_place(&self, work: &Work, text: &[u8]) -> Option<Vec<u8>> {
        let place = str::from_utf8(text).ok()?.parse().ok()?;
        let shifted = match (&work.names, work.expects.front()) {
            (Some(names), _) => clients_place_by(&names.edits, place),
            (None, Some(Expect::Parse { text, .. })) => {
                clients_place_by(&[text.named.as_ref()?.edit()], place)
            }
            (None, Some(Expect::OwnPrepare(text))) => clients_place_by(&[self.edit_of(text)?], place),
            _ => return None,
        };
        Some(shifted.to_string().into_bytes())
    }

    /// The name in the text of a PREPARE that is run again. (The client's is taken to have been quoted only if it had
    /// to be.)
    fn edit_of(&self, text: &Text) -> Option<Edit> {
        let (statement, before) = (&text.statement, text.statement.prepare_text()?.before);
        let of_server = |known: &Rc<Text>| known.statement.server_name == statement.server_name;
        let (name, _) = self.names.iter().find(|(_, known)| of_server(known))?;
        let plain =
            |byte: &u8| byte.is_ascii_lowercase() || matches!(byte, b'0'..=b'9' | b'_') || *byte >= 0x80;
        let quotes = if name.iter().all(plain) { 0 } else { 2 };
        Some(Edit {
            at: self.characters(before),
            ours: statement.server_name.len(),
            theirs: self.characters(name) + quotes,
        })
    }
}

/// The place in the client's text of a place in the server's. Both from 1, as errors have them.
fn clients_place_by(edits: &[Edit], place: usize) -> usize {
    let mut shifted = place;
    for edit in edits {
        if place > edit.at + edit.ours {
            shifted = (shifted + edit.theirs).saturating_sub(edit.ours);
        } else if place > edit.at + edit.theirs {
            shifted = shifted.min((shifted + edit.at + edit.theirs).saturating_sub(place));
        }
    }
    shifted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_clients_text() {
        let edit = |at, ours, theirs| Edit { at, ours, theirs };
        // `execute a(b)` was sent as `execute pgweir_7(b)`.
        let names = Names { edits: vec![edit(8, 8, 1)], ..Names::default() };
        assert_eq!([1, 9, 10, 16, 17, 18].map(|at| clients_place_by(&names.edits, at)), [1, 9, 9, 9, 10, 11]);
        // A longer one that got shorter.
        let names = Names { edits: vec![edit(8, 8, 20), edit(30, 8, 8)], ..Names::default() };
        assert_eq!([9, 16, 17, 40].map(|at| clients_place_by(&names.edits, at)), [9, 16, 29, 52]);
    }
}
