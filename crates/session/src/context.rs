//! What all cores and the door share: the directory, the listeners' TLS, who is connected, and whether to stop.
//!
//! Nothing here is touched on the way of a transaction but `Context::directory`'s retirement flags.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use backend::{Directory, Placement};
use config::RoleSetting;
use net::{CoreHandle, Detached, Peer, ServerTls, TlsInfo};
use tokio::sync::watch;
use wire::startup::StartupParameters;

use crate::core::Core;

/// What all cores and the door share.
pub struct Context {
    /// The configuration at work.
    pub directory: ArcSwap<Directory>,
    /// TLS towards clients; `None`: not offered.
    pub tls: ArcSwapOption<ServerTls>,
    /// The cores, once they run.
    pub cores: OnceLock<Arc<[CoreHandle<Core>]>>,
    /// Serves those who name the database `pgweir` or `pgbouncer`.
    pub console: OnceLock<Arc<dyn Console>>,
    /// Who is connected.
    pub seats: Arc<Seats>,
    /// How far the end is.
    pub stop: watch::Sender<Stop>,
    /// When this process began to serve.
    pub started: Instant,
    /// Bytes that the thread which asks has allocated since it began.
    pub allocated: fn() -> u64,
    /// Counted on when the code that a database runs may have changed.
    pub code: AtomicU64,
}

impl Context {
    /// What is known of the code of the databases holds for as long as this stays the same.
    #[inline]
    pub(crate) fn code_epoch(&self) -> u64 {
        self.code.load(Ordering::Relaxed)
    }

    /// What was known of the code of the databases may be wrong from here on.
    pub(crate) fn new_code(&self) {
        self.code.fetch_add(1, Ordering::Relaxed);
    }
}

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Serving.
    No,
    /// No new clients; idle ones are told to go; transactions end.
    Graceful,
    /// Everything ends now.
    Now,
}

/// Clients' pids begin where those of processes end on Linux, so that a notification from a server process that works
/// for nobody here is never taken for one's own.
const FIRST_PID: u32 = (1 << 22) + 1;
/// How many there are. Clients read a pid as an int32.
const PIDS: u32 = (1 << 30) - FIRST_PID;

/// Serves the console's clients. Implemented above; runs on the slow runtime.
pub trait Console: Send + Sync {
    /// Serves one authenticated client to its end.
    fn serve(&self, client: Arrival) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A client that has proved who it is, on its way to its core or to the console. `AuthenticationOk` has not been sent.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket, on no runtime. Nothing is buffered in pgweir; what the client sent early is still in the socket
    /// or in the TLS state.
    pub stream: Detached,
    /// Where it comes from.
    pub peer: Peer,
    /// Its TLS, if any.
    pub tls: Option<TlsInfo>,
    /// What it said in the startup packet.
    pub startup: StartupParameters,
    /// As whom.
    pub user: Arc<str>,
    /// Where to.
    pub database: Arc<str>,
    /// The role of the listener at which it arrived.
    pub role: Option<RoleSetting>,
    /// Its place among the clients, and its cancel key.
    pub seat: Seat,
    /// Its place on a core; `None` for the console.
    pub placement: Option<Placement>,
}

/// Who is connected: counts against the limits, and the cancel keys.
#[derive(Debug, Default)]
pub struct Seats {
    clients: AtomicUsize,
    unauthenticated: AtomicUsize,
    cleanups: AtomicUsize,
    next: AtomicU32,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_user: HashMap<Arc<str>, usize>,
    keys: HashMap<u32, (Box<[u8]>, usize)>,
}

/// A cleanup behind a client that is gone; over when dropped.
#[derive(Debug)]
pub struct Cleanup(Arc<Seats>);

/// An unauthenticated client's place; given up when dropped.
#[derive(Debug)]
pub struct Threshold(Arc<Seats>);

/// A client's place; given up when dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    user: Arc<str>,
    /// The process id that the client is told.
    pub pid: u32,
    /// The cancel key that the client is told.
    pub key: Box<[u8]>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `limits.max_client_conn`.
    Clients,
    /// `limits.max_client_conn_per_user`.
    User,
}

impl Seats {
    /// A place on the threshold, for who has not yet proved who it is; `None`: too many stand there.
    pub fn threshold(self: &Arc<Self>, limit: usize) -> Option<Threshold> {
        take_below(&self.unauthenticated, limit).then(|| Threshold(Arc::clone(self)))
    }

    /// A seat with a cancel key of its own; `key` is random, 4 bytes for protocol 3.0, up to 256 for 3.2. `core` is
    /// where cancels are to be sent (`usize::MAX`: nowhere).
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn sit(
        self: &Arc<Self>,
        user: &Arc<str>,
        limits: &config::Limits,
        key: Box<[u8]>,
        core: usize,
    ) -> Result<Seat, Full> {
        if !take_below(&self.clients, limits.max_client_conn) {
            return Err(Full::Clients);
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = table.by_user.entry(Arc::clone(user)).or_insert(0);
        if limits.max_client_conn_per_user.is_some_and(|limit| *of_user >= limit) {
            self.clients.fetch_sub(1, Ordering::AcqRel);
            return Err(Full::User);
        }
        *of_user += 1;
        let pid = loop {
            let pid = FIRST_PID + self.next.fetch_add(1, Ordering::Relaxed) % PIDS;
            if !table.keys.contains_key(&pid) {
                break pid;
            }
        };
        table.keys.insert(pid, (key.clone(), core));
        Ok(Seat { seats: Arc::clone(self), user: Arc::clone(user), pid, key })
    }

    /// The core of the client with this pid, if the key is its key (compared in constant time).
    pub fn find(&self, pid: u32, key: &[u8]) -> Option<usize> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, core) = table.keys.get(&pid)?;
        let same = known.len() == key.len() && known.iter().zip(key).fold(0, |d, (a, b)| d | (a ^ b)) == 0;
        (same && *core != usize::MAX).then_some(*core)
    }

    /// Begins a cleanup behind a client: what it left running is cancelled before pgweir ends.
    pub fn cleanup(self: &Arc<Self>) -> Cleanup {
        self.cleanups.fetch_add(1, Ordering::AcqRel);
        Cleanup(Arc::clone(self))
    }

    /// Cleanups that are not over.
    pub fn cleanups(&self) -> usize {
        self.cleanups.load(Ordering::Acquire)
    }

    /// Clients with a seat.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Clients on the threshold.
    pub fn unauthenticated(&self) -> usize {
        self.unauthenticated.load(Ordering::Relaxed)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.0.cleanups.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Threshold {
    fn drop(&mut self) {
        self.0.unauthenticated.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.clients.fetch_sub(1, Ordering::AcqRel);
        let mut table = self.seats.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.keys.remove(&self.pid);
        if let Some(count) = table.by_user.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                table.by_user.remove(&self.user);
            }
        }
    }
}

fn take_below(count: &AtomicUsize, limit: usize) -> bool {
    count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < limit).then_some(n + 1)).is_ok()
}
