//! The directory of one configuration: its clusters, its databases, and the groups of pools that came to be under it.
//!
//! A reload makes a new directory out of the old one. What the new configuration leaves as it was is carried over
//! (clusters with their views and budgets, groups with their connections); the rest is retired.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::{ClusterId, Config, Database, PoolSettings};
use route::DatabaseMap;
use tokio::sync::watch;

use crate::cluster::{Alarm, Cluster};
use crate::connect::{Login, ServerTarget, TargetError};
use crate::core::Remote;
use crate::shared::{Group, SharedPool};

/// By database and user, as clients name them.
type Groups = HashMap<(Arc<str>, Arc<str>), Arc<Group>>;

/// One configuration at work.
#[derive(Debug)]
pub struct Directory {
    /// The configuration.
    pub config: Arc<Config>,
    clusters: Vec<Arc<Cluster>>,
    groups: Mutex<Groups>,
    cores: usize,
    remote: Remote,
    ids: Arc<AtomicU64>,
    alarm: Alarm,
    /// How many groups are at home on each core.
    homed: Arc<Vec<AtomicUsize>>,
}

impl Directory {
    /// The first directory.
    ///
    /// # Errors
    /// A certificate that can't be read.
    pub fn new(config: Arc<Config>, cores: usize, remote: Remote) -> Result<Self, TargetError> {
        let homed = (0..cores).map(|_| AtomicUsize::new(0)).collect();
        let mut directory = Self {
            config,
            clusters: Vec::new(),
            groups: Mutex::default(),
            cores,
            remote,
            ids: Arc::default(),
            alarm: Arc::default(),
            homed: Arc::new(homed),
        };
        directory.clusters = directory.make_clusters(&[])?;
        Ok(directory)
    }

    /// The directory of another configuration, with all of this one that still holds. `retire` this one once the new
    /// one is in its place.
    ///
    /// # Errors
    /// A certificate that can't be read; nothing has changed then.
    pub fn reload(&self, config: Arc<Config>) -> Result<Self, TargetError> {
        let mut next = Self {
            config,
            clusters: Vec::new(),
            groups: Mutex::default(),
            cores: self.cores,
            remote: self.remote.clone(),
            ids: Arc::clone(&self.ids),
            alarm: Arc::clone(&self.alarm),
            homed: Arc::clone(&self.homed),
        };
        next.clusters = next.make_clusters(&self.clusters)?;
        let mut groups = Groups::new();
        for (key, group) in self.lock_groups().iter() {
            if next.still_holds(&self.config, group) {
                groups.insert(key.clone(), Arc::clone(group));
            } else if let Some(entry) = next.config.database(&group.database) {
                // Its clients stay on their cores.
                let homes = group.homes.clone();
                groups.insert(key.clone(), Arc::new(next.make_group(entry, &key.0, &key.1, homes)));
            }
        }
        next.groups = Mutex::new(groups);
        Ok(next)
    }

    /// Retires the clusters and groups that `next` didn't take over.
    pub fn retire(&self, next: &Directory) {
        for cluster in &self.clusters {
            if !next.clusters.iter().any(|other| Arc::ptr_eq(other, cluster)) {
                cluster.retire();
            }
        }
        let kept = next.lock_groups();
        for (key, group) in self.lock_groups().iter() {
            if !kept.get(key).is_some_and(|other| Arc::ptr_eq(other, group)) {
                for home in &group.homes {
                    self.homed[*home].fetch_sub(1, Ordering::Relaxed);
                }
                group.retire();
            }
        }
    }

    /// The clusters, in the order of the configuration.
    pub fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    /// Changes when a node isn't to be used any more; the same for all directories that came of the first.
    pub fn alarms(&self) -> watch::Receiver<u64> {
        self.alarm.subscribe()
    }

    /// Every group that exists.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.lock_groups().values().cloned().collect()
    }

    /// The pools of a user and a database; `None` if no such database is configured.
    pub fn group(&self, database: &str, user: &str) -> Option<Arc<Group>> {
        let key = (Arc::from(database), Arc::from(user));
        let mut groups = self.lock_groups();
        if let Some(group) = groups.get(&key) {
            return Some(Arc::clone(group));
        }
        let entry = self.config.database(database)?;
        let group = Arc::new(self.make_group(entry, &key.0, &key.1, Vec::new()));
        groups.insert(key, Arc::clone(&group));
        Some(group)
    }

    fn lock_groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_clusters(&self, old: &[Arc<Cluster>]) -> Result<Vec<Arc<Cluster>>, TargetError> {
        let mut clusters = Vec::new();
        for (i, config) in self.config.clusters.iter().enumerate() {
            let id = ClusterId(u16::try_from(i).unwrap_or(u16::MAX));
            if let Some(same) = old.iter().find(|c| c.id == id && c.config == *config) {
                clusters.push(Arc::clone(same));
                continue;
            }
            let targets = config.nodes.iter().map(|node| ServerTarget::from_config(config, node));
            let targets = targets.collect::<Result<Vec<_>, _>>()?;
            clusters.push(Arc::new(Cluster::new(
                id,
                config.clone(),
                &self.config,
                targets,
                Arc::clone(&self.alarm),
            )));
        }
        Ok(clusters)
    }

    /// Whether a group of the old configuration is what the new one would make.
    fn still_holds(&self, old: &Config, group: &Group) -> bool {
        let (Some(was), Some(is)) = (old.database(&group.database), self.config.database(&group.database))
        else {
            return false;
        };
        let user = self.config.users.get(&*group.user);
        let same_user = user == old.users.get(&*group.user);
        let same_settings = was.server == is.server
            && self.config.pool_settings(is, user) == group.pool
            && self.config.route_settings(is, user) == group.route
            && was.placement == is.placement;
        let same_clusters =
            group.clusters.iter().all(|c| self.clusters.iter().any(|mine| Arc::ptr_eq(mine, c)));
        same_user && same_settings && same_clusters
    }

    fn make_group(&self, entry: &Database, database: &Arc<str>, user: &Arc<str>, homes: Vec<usize>) -> Group {
        let known = self.config.users.get(&**user);
        let pool = self.config.pool_settings(entry, known);
        let route = self.config.route_settings(entry, known);
        let map = Arc::new(DatabaseMap::from_config(&self.config, entry));
        let shards: Vec<_> = map.shard_indexes().collect();
        let clusters: Vec<_> =
            shards.iter().map(|s| Arc::clone(&self.clusters[usize::from(map.cluster_of(*s).0)])).collect();
        let names = shards.iter().map(|shard| map.dbname_of(*shard).unwrap_or(database));
        let catalogs: Vec<_> =
            clusters.iter().zip(names).map(|(cluster, name)| cluster.catalogs.of(name)).collect();
        let homes = self.choose_homes(&pool, &clusters, homes);
        let pools = shards.iter().zip(&clusters).zip(&catalogs).map(|((shard, cluster), catalog)| {
            let dbname = map.dbname_of(*shard).unwrap_or(database);
            let login = match &entry.server {
                Some(server) => {
                    let password = server.password.as_ref().map(config::Secret::reveal);
                    Login::new(&server.user, dbname, password, pool.server_connect_timeout)
                }
                None => Login::of_user(user, known, dbname, &pool),
            };
            let make = |node: &Arc<_>| {
                let id = self.ids.fetch_add(1, Ordering::Relaxed);
                let (database, user) = (Arc::clone(database), Arc::clone(user));
                let (node, cluster) = (Arc::clone(node), Arc::clone(cluster));
                let catalog = Arc::clone(catalog);
                let (login, settings, homes) = (login.clone(), pool.clone(), homes.clone());
                let remote = self.remote.clone();
                let shared = SharedPool::new(
                    id, database, user, node, cluster, catalog, login, settings, homes, self.cores, remote,
                );
                Arc::new(shared)
            };
            cluster.nodes.iter().map(make).collect()
        });
        let pools = pools.collect();
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (database, user) = (Arc::clone(database), Arc::clone(user));
        Group::new(id, database, user, map, pool, route, homes, clusters, catalogs, pools)
    }

    /// About one core for each four connections: those given first, then those where fewest groups are at home.
    fn choose_homes(&self, pool: &PoolSettings, clusters: &[Arc<Cluster>], given: Vec<usize>) -> Vec<usize> {
        let budgets = clusters.iter().flat_map(|c| c.nodes.iter().map(|n| n.budget.limit));
        let budget = budgets.max().unwrap_or(1);
        let size = pool.size.unwrap_or(budget).min(budget);
        let count = size.div_ceil(4).clamp(1, self.cores);
        let mut others: Vec<_> = (0..self.cores).filter(|core| !given.contains(core)).collect();
        others.sort_by_key(|core| self.homed[*core].load(Ordering::Relaxed));
        others.truncate(count.saturating_sub(given.len()));
        let homes = [given, others].concat();
        for core in &homes {
            self.homed[*core].fetch_add(1, Ordering::Relaxed);
        }
        homes
    }
}
