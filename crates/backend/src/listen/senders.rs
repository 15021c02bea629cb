//! Which client works on which server process: a notification names the process, its receivers know the client.
//!
//! A process works for one client after the other, and what it notified for the last one may still be on its way when
//! the next one has it. So it is only known by a client while no other's can be.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use route::view::NodeIndex;

/// Clients by the server process that works for them, over all pools of a cluster.
#[derive(Debug, Default)]
pub struct Senders(Mutex<HashMap<(NodeIndex, u32), Arc<AtomicU32>>>);

/// A server process, and who it is known as; forgotten when dropped.
#[derive(Debug)]
pub struct Sender {
    all: Arc<Senders>,
    process: (NodeIndex, u32),
    /// The client's pid; 0: it is known by its own.
    client: Arc<AtomicU32>,
}

impl Senders {
    /// A server process that nobody has had yet.
    pub(crate) fn enter(self: &Arc<Self>, node: NodeIndex, process: u32) -> Sender {
        let (process, client) = ((node, process), Arc::default());
        self.lock().insert(process, Arc::clone(&client));
        Sender { all: Arc::clone(self), process, client }
    }

    /// The pid that clients know the process by: the client's for which it works, else its own.
    pub(super) fn known_as(&self, node: NodeIndex, process: u32) -> u32 {
        let client = self.lock().get(&(node, process)).map_or(0, |client| client.load(Ordering::Acquire));
        if client == 0 { process } else { client }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(NodeIndex, u32), Arc<AtomicU32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    /// Whether it is known as this client.
    #[inline]
    pub fn is(&self, client: u32) -> bool {
        self.client.load(Ordering::Relaxed) == client
    }

    /// From now on it is known as this client (`None`: by its own pid).
    pub fn set(&self, client: Option<u32>) {
        self.client.store(client.unwrap_or(0), Ordering::Release);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut clients = self.all.lock();
        // The server may have given its pid to another process since.
        if clients.get(&self.process).is_some_and(|client| Arc::ptr_eq(client, &self.client)) {
            clients.remove(&self.process);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_client_while_it_works_for_it() {
        let senders = Arc::new(Senders::default());
        let (here, there) = (NodeIndex(0), NodeIndex(1));
        let old = senders.enter(here, 100);
        old.set(Some(7));
        assert!(old.is(7) && !old.is(8));
        assert_eq!([senders.known_as(here, 100), senders.known_as(there, 100)], [7, 100]);
        let again = senders.enter(here, 100);
        again.set(Some(8));
        drop(old);
        assert_eq!(senders.known_as(here, 100), 8);
        again.set(None);
        assert_eq!(senders.known_as(here, 100), 100);
    }
}
