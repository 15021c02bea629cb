//! The catalogs of one group of pools, one for each shard: whether any of them has changed costs as much for a thousand
//! shards as for three.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use route::Catalog;

use super::DatabaseCatalog;

/// How often any catalog of this process has changed.
static CHANGES: AtomicU64 = AtomicU64::new(1);

/// To be called when a catalog has its new version, not before.
pub(super) fn count_change() {
    CHANGES.fetch_add(1, Ordering::Release);
}

/// One catalog for each shard.
#[derive(Debug)]
pub(crate) struct ShardCatalogs {
    all: Vec<Arc<DatabaseCatalog>>,
    /// What `CHANGES` was when `version` was added up.
    changes: AtomicU64,
    version: AtomicU64,
    current: Mutex<Current>,
}

/// What was published last, for all sessions together.
#[derive(Debug, Default)]
struct Current {
    /// 0 is never a version.
    version: u64,
    by_shard: Arc<[Arc<Catalog>]>,
}

impl ShardCatalogs {
    pub(crate) fn new(all: Vec<Arc<DatabaseCatalog>>) -> Self {
        Self { all, changes: AtomicU64::new(0), version: AtomicU64::new(0), current: Mutex::default() }
    }

    /// As they are shared.
    pub(crate) fn all(&self) -> &[Arc<DatabaseCatalog>] {
        &self.all
    }

    /// Another, greater number for each change of one of them.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        match &*self.all {
            [only] => only.version(),
            _ if self.changes.load(Ordering::Acquire) == CHANGES.load(Ordering::Acquire) => {
                self.version.load(Ordering::Relaxed)
            }
            _ => self.add_up(),
        }
    }

    #[cold]
    fn add_up(&self) -> u64 {
        let _one_at_a_time = self.lock();
        let changes = CHANGES.load(Ordering::Acquire);
        let version = self.all.iter().map(|catalog| catalog.version()).sum();
        self.version.store(version, Ordering::Relaxed);
        self.changes.store(changes, Ordering::Release);
        version
    }

    /// What was published last of each. It may be newer than the version that was read before.
    pub(crate) fn current(&self) -> Arc<[Arc<Catalog>]> {
        let version = self.version();
        let mut current = self.lock();
        if current.version != version {
            *current =
                Current { version, by_shard: self.all.iter().map(|catalog| catalog.current()).collect() };
        }
        Arc::clone(&current.by_shard)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogs::Catalogs;
    use crate::positions::Positions;

    fn read() -> Arc<Catalog> {
        Arc::new(Catalog::of(route::CatalogRows::default()))
    }

    #[test]
    fn a_change_of_any_is_seen_once_it_is_published_and_a_change_of_others_is_none() {
        let catalogs = Catalogs::new(2, Arc::new(Positions::new(2)));
        let of = ShardCatalogs::new((0..3).map(|shard| catalogs.of(&format!("shard{shard}"))).collect());
        let known = |of: &ShardCatalogs| of.current().iter().filter(|one| one.size().is_some()).count();
        assert_eq!((known(&of), of.current().len()), (0, 3));
        for shard in 0..3 {
            let before = of.version();
            assert!(of.all[shard].publish(&read(), of.all[shard].marks()));
            assert!(of.version() > before);
            assert_eq!(known(&of), shard + 1);
        }
        let (before, current) = (of.version(), of.current());
        assert!(catalogs.of("another").publish(&read(), 0));
        assert_eq!(of.version(), before);
        assert!(Arc::ptr_eq(&of.current(), &current), "sessions share it");
        of.all[1].mark_changed();
        assert_ne!(of.version(), before);
        assert_eq!(known(&of), 2);
    }

    #[test]
    fn no_change_is_missed_by_a_reader_that_adds_up_meanwhile() {
        let catalogs = Catalogs::new(2, Arc::new(Positions::new(2)));
        let of = ShardCatalogs::new((0..4).map(|shard| catalogs.of(&format!("s{shard}"))).collect());
        std::thread::scope(|scope| {
            for catalog in of.all() {
                scope.spawn(|| (0..2_000).for_each(|_| assert!(catalog.publish(&read(), catalog.marks()))));
            }
            for _ in 0..2 {
                scope.spawn(|| (0..2_000).for_each(|_| drop((of.version(), of.current()))));
            }
        });
        assert_eq!(of.version(), of.all().iter().map(|catalog| catalog.version()).sum::<u64>());
        let current = of.current();
        for (held, catalog) in current.iter().zip(of.all()) {
            assert!(Arc::ptr_eq(held, &catalog.current()));
        }
    }
}
