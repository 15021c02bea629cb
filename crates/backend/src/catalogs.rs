//! The catalogs of a cluster's databases at run time: what was last read of each, and whether it still holds.

mod shards;

pub(crate) use shards::ShardCatalogs;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use route::Catalog;
use route::consistency::{Slots, Written};
use tokio::sync::{Notify, watch};

use crate::positions::Positions;

/// The catalogs of one cluster, by the databases' names there.
#[derive(Debug)]
pub(crate) struct Catalogs {
    /// Whether anything would ask them: a cluster of one node has nowhere else to send a read.
    needed: bool,
    positions: Arc<Positions>,
    all: watch::Sender<Vec<Arc<DatabaseCatalog>>>,
}

/// What is known of one database's catalog. Read by every core, written by its control task.
#[derive(Debug)]
pub struct DatabaseCatalog {
    /// Its name on the servers.
    pub dbname: String,
    current: ArcSwap<Catalog>,
    version: AtomicU64,
    /// How often it was said to have changed.
    marks: Mutex<u64>,
    clients: AtomicUsize,
    /// Which round its tables need, and the rounds of its cluster.
    written: Written,
    positions: Arc<Positions>,
    needed: bool,
    /// Something is to be done: it has changed, or somebody is here who needs it.
    wake: Notify,
}

impl Catalogs {
    pub(crate) fn new(nodes: usize, positions: Arc<Positions>) -> Self {
        Self { needed: nodes > 1, positions, all: watch::Sender::new(Vec::new()) }
    }

    /// The catalog of a database; from now on it is kept.
    pub(crate) fn of(&self, dbname: &str) -> Arc<DatabaseCatalog> {
        if !self.needed {
            return Arc::new(self.new_catalog(dbname, Arc::clone(Catalog::unavailable())));
        }
        let mut found = None;
        self.all.send_if_modified(|all| {
            found = all.iter().find(|known| known.dbname == dbname).cloned();
            if found.is_some() {
                return false;
            }
            let new = Arc::new(self.new_catalog(dbname, Arc::new(Catalog::unsettled())));
            all.push(Arc::clone(&new));
            found = Some(new);
            true
        });
        found.unwrap_or_else(|| unreachable!("it was just made"))
    }

    pub(crate) fn wrote_anything(&self) {
        self.all.borrow().iter().for_each(|catalog| catalog.wrote(Slots::ANY));
    }

    fn new_catalog(&self, dbname: &str, catalog: Arc<Catalog>) -> DatabaseCatalog {
        DatabaseCatalog {
            dbname: dbname.to_owned(),
            current: ArcSwap::new(catalog),
            version: AtomicU64::new(next_version()),
            marks: Mutex::new(0),
            clients: AtomicUsize::new(0),
            written: Written::default(),
            positions: Arc::clone(&self.positions),
            needed: self.needed,
            wake: Notify::new(),
        }
    }

    /// All of them, and those that come to be.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<Arc<DatabaseCatalog>>> {
        self.all.subscribe()
    }
}

impl DatabaseCatalog {
    /// What was last published.
    pub fn current(&self) -> Arc<Catalog> {
        self.current.load_full()
    }

    /// Another one for each publication; never the same as any other catalog's.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Somebody has changed it through pgweir: until it is read again, what depends on it is the primary's.
    pub fn mark_changed(&self) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        *marks += 1;
        if self.current.load().size().is_some() {
            self.store(Arc::new(Catalog::unsettled()));
        }
        self.wake.notify_one();
    }

    /// To be asked before it is read; `publish` wants it back.
    pub(crate) fn marks(&self) -> u64 {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what was read, unless it was said to have changed since.
    pub(crate) fn publish(&self, catalog: &Arc<Catalog>, marks: u64) -> bool {
        let now = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = *now == marks;
        if holds && !Arc::ptr_eq(&self.current.load(), catalog) {
            let was_known = self.current.load().size().is_some();
            self.store(Arc::clone(catalog));
            if was_known {
                // Somebody else has changed it: what was written may be read by way of other tables now.
                self.wrote(Slots::ANY);
            }
        }
        holds
    }

    fn store(&self, catalog: Arc<Catalog>) {
        self.current.store(catalog);
        self.version.store(next_version(), Ordering::Release);
        shards::count_change();
    }

    /// These tables may have been written, and the writer is about to be told.
    pub fn wrote(&self, slots: Slots) {
        if self.needed {
            self.written.mark(slots, self.positions.next_round());
        }
    }

    /// The tables that a text may write, as this finds them by the catalog, for `wrote`.
    #[inline]
    pub fn writes(&self, find: impl FnOnce(&Catalog) -> Slots) -> Slots {
        if self.needed { find(&self.current.load()) } else { Slots::NONE }
    }

    /// The round that a read of these tables needs.
    #[inline]
    pub fn need(&self, read: Slots) -> u64 {
        self.written.need(read)
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Whether a client is connected to it.
    pub(crate) fn is_used(&self) -> bool {
        self.clients.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn enter(&self) {
        if self.clients.fetch_add(1, Ordering::Relaxed) == 0 {
            self.wake.notify_one();
        }
    }

    pub(crate) fn leave(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

fn next_version() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_published_after_it() {
        let catalogs = Catalogs::new(2, Arc::new(Positions::new(2)));
        let database = catalogs.of("app");
        assert!(Arc::ptr_eq(&database, &catalogs.of("app")));
        let read = || Arc::new(Catalog::of(route::CatalogRows::default()));
        let before = database.marks();
        assert!(database.publish(&read(), before));
        assert!(database.current().size().is_some());
        let version = database.version();
        database.mark_changed();
        assert!(database.current().size().is_none(), "it doesn't hold any more");
        assert_ne!(database.version(), version);
        assert!(!database.publish(&read(), before), "it was read before the change");
        assert!(database.publish(&read(), database.marks()));
        assert!(database.current().size().is_some());
    }

    #[test]
    fn a_single_node_needs_none() {
        let database = Catalogs::new(1, Arc::new(Positions::new(1))).of("app");
        assert!(Arc::ptr_eq(&database.current(), Catalog::unavailable()));
        database.mark_changed();
        assert!(Arc::ptr_eq(&database.current(), Catalog::unavailable()));
    }
}
