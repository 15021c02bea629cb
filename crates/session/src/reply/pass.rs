//! Messages of a server that pass or are dropped, as far as they are here, and what they end: from the first that passes
//! on a request can't be run again.

use backend::Server;
use sql::facts::Effect;
use wire::frame;

use crate::expect::Expect;
use crate::loss::Broken;
use crate::work::{Copy, Left, Retry, Work};

/// A row or a piece of COPY data: passes as far as it is here.
#[inline]
pub(super) fn bulk(work: &mut Work, total: usize, here: usize) -> Result<(), Broken> {
    match work.expects.front() {
        Some(Expect::Query | Expect::Execute) => {}
        Some(Expect::OwnQuery | Expect::Gate(_)) => {
            drop_message(work, total);
            return Ok(());
        }
        Some(Expect::Id) => {
            crate::resolve::hear_id(work, total);
            return Ok(());
        }
        _ => return Err(Broken::Protocol("data that nobody asked for")),
    }
    if work.retry != Retry::No {
        if matches!(work.retry, Retry::Wanted { .. }) {
            drop_message(work, total);
            return Ok(());
        }
        commit_to_answer(work);
    }
    let now = total.min(here);
    work.down.approve(now);
    work.down_left = Left::Pass(total - now);
    Ok(())
}

pub(crate) fn pass_message(work: &mut Work, total: usize) {
    let now = total.min(work.down.pending().len());
    work.down.approve(now);
    work.down_left = Left::Pass(total - now);
}

pub(crate) fn drop_message(work: &mut Work, total: usize) {
    let now = total.min(work.down.pending().len());
    work.down.skip(now);
    work.down_left = Left::Drop(total - now);
}

/// From here on the client sees an answer: the request can't be run again.
#[inline]
pub(crate) fn commit_to_answer(work: &mut Work) {
    if work.retry == Retry::Possible {
        work.retry = Retry::No;
        work.renamed.clear();
        work.up.release();
    }
}

pub(super) fn begin_copy_in(work: &mut Work, server: &mut Server) {
    commit_to_answer(work);
    work.copy = Copy::In;
    server.copy_in = true;
}

#[inline]
pub(super) fn end_copy(work: &mut Work, server: &mut Server) {
    work.copy = Copy::No;
    server.copy_in = false;
}

/// DISCARD ALL and DEALLOCATE ALL are done for good, whatever fails behind them in their pipeline.
#[cold]
pub(super) fn note_discarded(work: &mut Work, total: usize) {
    match work.down.pending().get(frame::HEADER..total) {
        Some(b"DISCARD ALL\0") => work.discarded = Some(Effect::DiscardAll),
        Some(b"DEALLOCATE ALL\0") if work.discarded.is_none() => {
            work.discarded = Some(Effect::Deallocate(None));
        }
        _ => {}
    }
}
