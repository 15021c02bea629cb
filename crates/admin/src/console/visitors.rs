//! Who is at the console: its clients are on no core, and SHOW CLIENTS names them all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ::session::Arrival;
use ::session::cell::Doing;

use crate::admin::Admin;
use crate::snapshot::ClientState;

/// The console's clients by process id.
#[derive(Debug, Default)]
pub(crate) struct Visitors(Mutex<BTreeMap<u32, ClientState>>);

/// A client's place in the list; left when dropped.
pub(super) struct Visit {
    admin: Arc<Admin>,
    pid: u32,
}

impl Visitors {
    /// All of them.
    pub(crate) fn all(&self) -> Vec<ClientState> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, ClientState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visit {
    pub(super) fn begin(admin: &Arc<Admin>, arrival: &Arrival) -> Self {
        let (pid, now) = (arrival.seat.pid, Instant::now());
        let state = ClientState {
            pid,
            user: Arc::clone(&arrival.user),
            database: Arc::clone(&arrival.database),
            peer: arrival.peer,
            tls: arrival.tls.clone(),
            connected: now,
            doing: Doing::Idle,
            since: now,
            transaction_since: None,
            application: arrival.startup.get("application_name").unwrap_or_default().to_owned(),
            core: None,
            holds: None,
            pinned: None,
        };
        admin.visitors.lock().insert(pid, state);
        Self { admin: Arc::clone(admin), pid }
    }

    pub(super) fn doing(&self, doing: Doing) {
        if let Some(state) = self.admin.visitors.lock().get_mut(&self.pid) {
            (state.doing, state.since) = (doing, Instant::now());
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.admin.visitors.lock().remove(&self.pid);
    }
}
