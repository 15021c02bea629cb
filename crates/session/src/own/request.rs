//! A whole request of statements that pgweir answers itself, answered without a server.

use std::rc::Rc;

use wire::frame::{self, Head};
use wire::{ErrorReport, encode, tag};

use super::{OwnAnswer, columns, in_failed_transaction};
use crate::expect::Text;
use crate::request::Request;
use crate::session::{End, Session};
use crate::work::{Planned, Work};

/// Answers a whole request that concerns only statements of our own.
///
/// # Errors
/// None but those that end the session.
pub(crate) fn answer_request(session: &mut Session, work: &mut Work, request: Request) -> Result<(), End> {
    let (Request::Single { total } | Request::Pipeline { total, .. }) = request else { return Ok(()) };
    let mut left = total;
    if session.book.begun.as_ref().is_some_and(|begun| begun.failed) {
        let report = in_failed_transaction(&mut session.book);
        session.answer_with_error(work, request, &report);
        return Ok(());
    }
    while left > 0 {
        let head = frame::peek(work.up.pending(), session.max_message).map_err(ErrorReport::from)?;
        let Some(head) = head else { break };
        left = left.saturating_sub(head.total);
        let failed = answer_message(session, work, head)?;
        if let Err(report) = failed {
            let at = Request::Single { total: head.total };
            match head.tag {
                tag::QUERY => session.answer_with_error(work, at, &report),
                _ => {
                    session.answer_with_error(work, request, &report);
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// One message of such a request. The inner error is the statement's.
fn answer_message(
    session: &mut Session,
    work: &mut Work,
    head: Head,
) -> Result<Result<(), ErrorReport>, End> {
    let status = session.book.status_without_server();
    let shared = std::sync::Arc::clone(&session.group.shared);
    let book = &mut session.book;
    let begun = book.begun.is_some();
    let body = frame::body(&work.up.pending()[..head.total]);
    let mut out = Vec::new();
    match head.tag {
        tag::QUERY => {
            let Some(Planned::Query(facts)) = work.planned.pop_front() else { return Ok(Ok(())) };
            match book.run_own(&facts, &shared.map, &shared.database, begun) {
                Ok(answer) => {
                    OwnAnswer::describe(&answer.columns, &mut out, false);
                    answer.rows(&mut out);
                    encode::ready_for_query(&mut out, status);
                }
                Err(report) => return Ok(Err(report)),
            }
        }
        tag::PARSE => {
            let Some(Planned::Parse { name, text }) = work.planned.pop_front() else { return Ok(Ok(())) };
            if name.is_empty() {
                book.unnamed = Some(text);
            } else if let Err(report) = book.may_name(&name) {
                return Ok(Err(report));
            } else {
                book.names.insert(name, text);
            }
            encode::parse_complete(&mut out);
        }
        tag::BIND => {
            let bind = wire::frontend::Bind::parse(body).map_err(ErrorReport::from)?;
            if let Some(text) = book.text(bind.statement) {
                let portal: Box<[u8]> = bind.portal.into();
                work.own_portals.retain(|(known, _)| *known != portal);
                work.own_portals.push((portal, text));
            }
            encode::bind_complete(&mut out);
        }
        tag::DESCRIBE => {
            let describe = wire::frontend::Describe::parse(body).map_err(ErrorReport::from)?;
            let text = match describe.target {
                wire::frontend::Target::Statement => {
                    out.extend_from_slice(&[tag::PARAMETER_DESCRIPTION, 0, 0, 0, 6, 0, 0]);
                    book.text(describe.name)
                }
                wire::frontend::Target::Portal => portal(work, describe.name),
            };
            OwnAnswer::describe(&text.map(|text| columns(&text.facts)).unwrap_or_default(), &mut out, true);
        }
        tag::EXECUTE => {
            let execute = wire::frontend::Execute::parse(body).map_err(ErrorReport::from)?;
            if let Some(text) = portal(work, execute.portal) {
                match book.run_own(&text.facts, &shared.map, &shared.database, begun) {
                    Ok(answer) => answer.rows(&mut out),
                    Err(report) => return Ok(Err(report)),
                }
            }
        }
        tag::CLOSE => {
            let close = wire::frontend::Close::parse(body).map_err(ErrorReport::from)?;
            if close.target == wire::frontend::Target::Statement {
                book.names.remove(close.name);
            }
            encode::close_complete(&mut out);
        }
        tag::SYNC => {
            work.own_portals.clear();
            encode::ready_for_query(&mut out, status);
        }
        _ => {}
    }
    work.up.skip(head.total);
    work.down.inject().extend_from_slice(&out);
    Ok(Ok(()))
}

fn portal(work: &Work, name: &[u8]) -> Option<Rc<Text>> {
    work.own_portals.iter().find(|(known, _)| **known == *name).map(|(_, text)| Rc::clone(text))
}
