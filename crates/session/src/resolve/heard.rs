//! The server's answer to the question for a transaction's id.

use wire::backend::{DataRow, ErrorFields};
use wire::frame;

use crate::reply::drop_message;
use crate::work::Work;

/// The id of the transaction. A row that comes in pieces tells nothing: what it is asked for is an answer the less.
#[cold]
pub(crate) fn hear_id(work: &mut Work, total: usize) {
    if let Some(resolve) = &mut work.resolve {
        let row = work.down.pending().get(..total).and_then(|row| DataRow::parse(frame::body(row)).ok());
        let mut values = row.iter().flat_map(DataRow::iter);
        resolve.note_answer(values.next().flatten(), values.next().flatten());
    }
    drop_message(work, total);
}

/// It has refused to answer.
#[cold]
pub(crate) fn hear_refusal(work: &mut Work, total: usize) {
    let body = work.down.pending().get(..total).map(frame::body);
    let report = body.and_then(|body| ErrorFields::parse(body).ok()).map(|fields| fields.to_report());
    if let (Some(resolve), Some(report)) = (&mut work.resolve, report) {
        resolve.note_refusal(report);
    }
}
