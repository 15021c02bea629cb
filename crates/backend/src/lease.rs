//! A server connection in a session's hands.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::local::LocalPool;
use crate::server::{Idle, Server};

/// A leased connection. It was clean and live when it was leased. Dropping it closes it; only `release` hands it back,
/// and only if it is proved clean.
#[derive(Debug)]
pub struct Lease {
    server: Option<Box<Server>>,
    pool: Rc<LocalPool>,
}

impl Lease {
    pub(crate) fn new(idle: Idle, pool: &Rc<LocalPool>) -> Self {
        pool.note_leased(true);
        Self { server: Some(idle.into_server()), pool: Rc::clone(pool) }
    }

    /// The pool that it belongs to.
    pub fn pool(&self) -> &Rc<LocalPool> {
        &self.pool
    }

    /// Hands the connection back if it is clean, closes it otherwise; says which.
    pub fn release(mut self) -> bool {
        let proved = self.server.take().map(Server::prove_clean);
        self.pool.note_leased(false);
        match proved {
            Some(Ok(idle)) => {
                self.pool.put(idle);
                true
            }
            Some(Err(dirty)) => {
                drop(dirty);
                self.pool.pump();
                false
            }
            None => false,
        }
    }
}

impl Deref for Lease {
    type Target = Server;

    fn deref(&self) -> &Server {
        self.server.as_deref().unwrap_or_else(|| unreachable!("only release and drop take it out"))
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Server {
        self.server.as_deref_mut().unwrap_or_else(|| unreachable!("only release and drop take it out"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.pool.note_leased(false);
            self.pool.stats.lost.set(self.pool.stats.lost.get() + 1);
            drop(server);
            self.pool.pump();
        }
    }
}
