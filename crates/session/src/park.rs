//! A client that waits for a server connection gives the buffers back that are warm, and keeps its request in small ones.
//!
//! A thousand waiting clients would hold 32 kB each, more than the processor's caches have, while those that are being
//! served need twenty.

use crate::core::Core;
use crate::work::{Retry, Work};

/// Room for the request of a waiting client, in bytes. A longer one keeps the buffers that it is in. Not a power of two,
/// so that the blocks of many clients don't fall on the same lines of a cache.
pub(crate) const SMALL: usize = 448;
/// At least so much room is left behind the request: a waiting client is listened to.
const ROOM: usize = 64;

impl Core {
    /// Puts a request that was planned, and of which nothing was sent yet, into small buffers.
    #[inline]
    pub(crate) fn park(&self, work: &mut Box<Work>) {
        if work.may_park() {
            let mut small = self.lend_small();
            small.take_over(work);
            self.return_work(std::mem::replace(work, small));
        }
    }

    /// Puts it into the warmest buffers there are.
    #[inline]
    pub(crate) fn unpark(&self, work: &mut Box<Work>) {
        if work.is_small() {
            let mut warm = self.lend_work();
            warm.take_over(work);
            self.return_small(std::mem::replace(work, warm));
        }
    }
}

impl Work {
    /// Whether there is nothing in it but a short request.
    fn may_park(&self) -> bool {
        self.up.pending().len() + ROOM <= SMALL
            && self.up.is_flushed()
            && self.down.is_empty()
            && self.expects.is_empty()
            && self.up_left.is_none()
            && self.down_left.is_none()
            && self.retry == Retry::No
            && self.planned.len() <= 1
            && !self.failed
            && !self.skipping
            && self.own_portals.is_empty()
            && self.portals.is_empty()
    }

    /// Takes over a request that `other` holds, which is as good as new then.
    fn take_over(&mut self, other: &mut Work) {
        self.up.take_over(&mut other.up);
        self.runs = std::mem::take(&mut other.runs);
        if let Some(planned) = other.planned.pop_front() {
            self.planned.push_back(planned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SMALL;
    use crate::work::Work;

    #[test]
    fn what_is_under_way_is_not_parked() {
        let mut work = Work::new();
        assert!(work.may_park());
        work.skipping = true;
        assert!(!work.may_park());
        work.skipping = false;
        work.down.inject().push(b'Z');
        assert!(!work.may_park());
    }

    #[test]
    fn small_buffers_have_no_room_for_replies() {
        let small = Work::small();
        assert!(small.is_small() && !Work::new().is_small());
        assert!(small.up.pending().is_empty() && SMALL > super::ROOM);
    }
}
