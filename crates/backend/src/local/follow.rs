//! What becomes of a pool's connections and waiters when its node is not what it was any more.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::LocalPool;
use crate::connect::ConnectError;
use crate::server::{Idle, Rest};

/// What a pool's node is good for, as the pool saw it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    /// It is up and belongs to the cluster.
    usable: bool,
    /// It is the primary.
    primary: bool,
}

impl LocalPool {
    /// Whether an idle connection may be handed out. One that has ended says that its server may be gone.
    #[inline]
    pub(super) fn is_alive(&self, idle: &mut Idle) -> bool {
        self.is_alive_until(idle, &mut Context::from_waker(Waker::noop()))
    }

    /// The same; the task whose context this is will be woken by what it says next.
    #[inline]
    pub(super) fn is_alive_until(&self, idle: &mut Idle, cx: &mut Context<'_>) -> bool {
        match idle.rest(cx) {
            Rest::Quiet => true,
            Rest::Talks => false,
            Rest::Ended => {
                self.shared.cluster.suspect(self.shared.node.id.node);
                false
            }
        }
    }

    /// Closes what is idle on a node that is down or isn't used any more, and sends who waits for it elsewhere; so too
    /// where another node has become the primary.
    pub(crate) fn follow_view(self: &Rc<Self>) {
        let node = self.shared.node.id.node;
        let view = self.shared.cluster.view();
        let is = Fit { usable: view.is_usable(node), primary: view.primary() == Ok(node) };
        drop(view);
        let Some(was) = self.fit.replace(Some(is)).filter(|was| *was != is) else { return };
        if was.usable && !is.usable {
            let idle = std::mem::take(&mut *self.idle.borrow_mut());
            self.say_idle();
            drop(idle);
        }
        if (was.usable && !is.usable) || (was.primary && !is.primary) {
            self.send_elsewhere();
        }
    }

    fn send_elsewhere(&self) {
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        self.say_waiting();
        let moved = Arc::new(ConnectError::Moved(self.shared.node.name.clone()));
        for waiter in waiters {
            waiter.finish(Err(Arc::clone(&moved)));
        }
    }
}
