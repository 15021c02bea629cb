//! Which client works on which server process: a notification says the process, its receivers know the client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Clients by the server process that works for them.
#[derive(Debug, Default)]
pub struct Senders(Mutex<HashMap<u32, u32>>);

/// One of them; over when dropped.
#[derive(Debug)]
pub struct Sender {
    all: Arc<Senders>,
    process: u32,
    client: u32,
}

impl Senders {
    /// From now on the server process works for this client.
    #[must_use]
    pub fn enter(self: &Arc<Self>, process: u32, client: u32) -> Sender {
        self.lock().insert(process, client);
        Sender { all: Arc::clone(self), process, client }
    }

    /// The pid that clients know the process by: the client's for which it works, else its own.
    pub(super) fn known_as(&self, process: u32) -> u32 {
        self.lock().get(&process).copied().unwrap_or(process)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut clients = self.all.lock();
        if clients.get(&self.process) == Some(&self.client) {
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
        let first = senders.enter(100, 1);
        assert_eq!([senders.known_as(100), senders.known_as(101)], [1, 101]);
        let second = senders.enter(100, 2);
        drop(first);
        assert_eq!(senders.known_as(100), 2);
        drop(second);
        assert_eq!(senders.known_as(100), 100);
    }
}
