//! Keeps the catalogs of a cluster's databases: a task for each database, which reads it at once, when it is said to
//! have changed, and when a cheap look, once in each `health.interval`, shows that it has.
//!
//! A database that nobody is connected to is left alone, and its catalog forgotten.

mod questions;

use std::sync::Arc;
use std::time::Duration;

use config::{Health, NodeRole};
use deadpool::managed::Object;
use route::Catalog;
use route::view::{ClusterView, NodeIndex};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection::{Connector, ControlPool};
use super::probe::ProbeError;
use crate::catalogs::DatabaseCatalog;
use crate::cluster::Cluster;
use crate::connect::Login;
use questions::Fingerprint;

/// Catalogs of one cluster that are read at the same time.
const AT_ONCE: usize = 4;
/// Connections to one cluster that are kept for the next look; other databases connect each time, and look less often.
const KEPT: usize = 8;
/// How much less often.
const SELDOM: u32 = 6;
/// Reading a catalog takes no longer than this, connecting included.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks, however often it is said to have changed.
const GAP: Duration = Duration::from_millis(100);
/// After a look that failed.
const RETRY: Duration = Duration::from_millis(500);
/// After so many failures in a row the facts have to do without.
const PATIENCE: u32 = 2;
/// A database without clients is looked at for so long.
const LINGER: Duration = Duration::from_secs(60);
/// How long the first look may wait for the cluster's primary to be found.
const FIRST: Duration = Duration::from_secs(1);

/// Keeps all catalogs of a cluster for as long as it is polled; calls `looked` for each of the first `at_start`, once
/// the first look at it is over.
pub(super) async fn keep(
    cluster: Arc<Cluster>,
    login: Login,
    health: Health,
    at_start: usize,
    looked: impl Fn() + Send + Clone + 'static,
) {
    let mut all = cluster.catalogs.subscribe();
    let shared = Shared { reading: Arc::new(Semaphore::new(AT_ONCE)), kept: Arc::new(Semaphore::new(KEPT)) };
    let mut tasks = JoinSet::new();
    let mut begun = 0;
    loop {
        let new: Vec<_> = all.borrow_and_update().iter().skip(begun).cloned().collect();
        for catalog in new {
            let keeper =
                Keeper::new(Arc::clone(&cluster), catalog, login.clone(), health.clone(), shared.clone());
            let first = (begun < at_start).then(|| looked.clone());
            tasks.spawn(keeper.run(move || first.iter().for_each(|looked| looked())));
            begun += 1;
        }
        if all.changed().await.is_err() {
            return;
        }
    }
}

/// What the keepers of one cluster share.
#[derive(Debug, Clone)]
struct Shared {
    reading: Arc<Semaphore>,
    kept: Arc<Semaphore>,
}

/// Keeps one catalog.
struct Keeper {
    cluster: Arc<Cluster>,
    catalog: Arc<DatabaseCatalog>,
    login: Login,
    health: Health,
    shared: Shared,
    /// Connections to the node that was asked last.
    pool: Option<(NodeIndex, ControlPool)>,
    kept: Option<OwnedSemaphorePermit>,
    /// What was read last, and the fingerprint that it had.
    last: Option<(Fingerprint, Arc<Catalog>)>,
    failures: u32,
    used: Instant,
}

/// Why a catalog could not be read.
#[derive(Debug, Error)]
enum CatalogError {
    #[error("{0}")]
    Control(#[from] ProbeError),
    #[error("no node that could tell is up")]
    NoNode,
    #[error("not read within {LIMIT:?}")]
    Timeout,
    #[error("{0}")]
    Answer(#[from] questions::AnswerError),
}

impl Keeper {
    fn new(
        cluster: Arc<Cluster>,
        catalog: Arc<DatabaseCatalog>,
        mut login: Login,
        health: Health,
        shared: Shared,
    ) -> Self {
        login.database = catalog.dbname.as_str().into();
        for (name, value) in &mut login.parameters {
            if name == "application_name" {
                "pgweir-catalog".clone_into(value);
            }
        }
        let used = Instant::now();
        Keeper {
            cluster,
            catalog,
            login,
            health,
            shared,
            pool: None,
            kept: None,
            last: None,
            failures: 0,
            used,
        }
    }

    async fn run(mut self, first_look: impl FnOnce() + Send) {
        self.primary_found().await;
        self.look().await;
        first_look();
        loop {
            self.rest().await;
            self.look().await;
        }
    }

    /// The first look waits for the roles to be found, for a moment.
    async fn primary_found(&self) {
        let mut changes = self.cluster.changes();
        let found =
            async { while primary(&self.cluster.view()).is_none() && changes.changed().await.is_ok() {} };
        // Without a primary, a replica will do to begin with.
        let _: Result<(), _> = timeout(FIRST, found).await;
    }

    /// Until the next look is due.
    async fn rest(&mut self) {
        let since = Instant::now();
        if self.catalog.is_used() {
            self.used = since;
        } else if since > self.used + LINGER {
            self.sleep().await;
            return;
        }
        let pause = match (self.failures, &self.kept) {
            (0, Some(_)) => self.health.interval,
            (0, None) => self.health.interval * SELDOM,
            (1..PATIENCE, _) => RETRY,
            _ => self.health.interval.max(RETRY),
        };
        let mut changes = self.cluster.changes();
        tokio::select! {
            () = sleep_until(since + pause) => {}
            () = self.catalog.woken() => sleep_until(since + GAP).await,
            // Another node may be the primary now.
            Ok(()) = changes.changed() => sleep_until(since + GAP).await,
        }
    }

    /// Nobody is connected: nothing is known any more, and nothing is held.
    async fn sleep(&mut self) {
        let marks = self.catalog.marks();
        self.catalog.publish(&Arc::new(Catalog::unsettled()), marks);
        (self.pool, self.kept, self.last) = (None, None, None);
        while !self.catalog.is_used() {
            self.catalog.woken().await;
        }
    }

    async fn look(&mut self) {
        let marks = self.catalog.marks();
        match timeout(LIMIT, self.read()).await.unwrap_or(Err(CatalogError::Timeout)) {
            Ok(catalog) => {
                self.failures = 0;
                self.catalog.publish(&catalog, marks);
            }
            Err(error) => self.failed(&error, marks),
        }
    }

    /// What was known goes on to hold as long as nobody says otherwise; where nothing is, the facts have to do.
    fn failed(&mut self, error: &CatalogError, marks: u64) {
        self.pool = None;
        self.failures = self.failures.saturating_add(1);
        let (cluster, database) = (&self.cluster.config.name, &self.catalog.dbname);
        tracing::debug!(cluster, database, %error, "the catalog could not be read");
        let known = self.catalog.current().size().is_some();
        let is_final = matches!(error, CatalogError::Control(error) if error.is_about_the_login());
        if !known && (is_final || self.failures == PATIENCE) {
            tracing::warn!(
                cluster, database, %error,
                "the catalog can't be read: functions of the database's own go to the primary"
            );
            self.catalog.publish(Catalog::unavailable(), marks);
        }
    }

    /// The catalog as it is now; the same one if nothing has changed.
    async fn read(&mut self) -> Result<Arc<Catalog>, CatalogError> {
        let _one_of_few = self.shared.reading.acquire().await.map_err(|_| CatalogError::NoNode)?;
        let node = self.node().ok_or(CatalogError::NoNode)?;
        if self.pool.as_ref().is_none_or(|(known, _)| *known != node) {
            let target = self.cluster.node(node).target.clone();
            let connector = Connector { target, login: self.login.clone(), node: None };
            let pool = ControlPool::builder(connector).max_size(1).build();
            // A builder fails only where a time limit is set without a runtime.
            self.pool = Some((node, pool.unwrap_or_else(|error| unreachable!("{error}"))));
        }
        let Some((_, pool)) = &self.pool else { return Err(CatalogError::NoNode) };
        let client = pool.get().await.map_err(ProbeError::from_pool)?;
        let known = self.last.as_ref().map(|(fingerprint, _)| fingerprint);
        let answer = questions::ask(&client, known).await;
        if self.kept.is_none() {
            self.kept = Arc::clone(&self.shared.kept).try_acquire_owned().ok();
        }
        if answer.is_err() || self.kept.is_none() {
            drop(Object::take(client));
        }
        if let Some((fingerprint, rows)) = answer? {
            let catalog = Arc::new(Catalog::of(rows));
            let (functions, guarded) = catalog.size().unwrap_or_default();
            let (cluster, database) = (&self.cluster.config.name, &self.catalog.dbname);
            tracing::debug!(cluster, database, functions, guarded, "the catalog was read");
            self.last = Some((fingerprint, catalog));
        }
        self.last.as_ref().map(|(_, catalog)| Arc::clone(catalog)).ok_or(CatalogError::NoNode)
    }

    /// The primary; as long as nothing was read, any node that is up.
    fn node(&self) -> Option<NodeIndex> {
        let view = self.cluster.view();
        let any = || view.nodes().iter().position(|node| node.up);
        let found = primary(&view).or_else(|| if self.last.is_none() { any() } else { None })?;
        u16::try_from(found).ok().map(NodeIndex)
    }
}

fn primary(view: &ClusterView) -> Option<usize> {
    view.nodes().iter().position(|node| node.up && node.role == Some(NodeRole::Primary))
}

/// Registers the databases of the configuration that have a name of their own, so that their catalogs are read before
/// anybody comes. Gives how many catalogs the cluster has.
pub(super) fn register(config: &config::Config, cluster: &Cluster) -> usize {
    for dbname in super::credentials::names_on(config, cluster.id) {
        cluster.catalogs.of(dbname);
    }
    cluster.catalogs.subscribe().borrow().len()
}
