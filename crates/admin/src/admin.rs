//! The home of what the console and the HTTP endpoints share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session::Context;

use crate::averages::Averages;
use crate::console::Visitors;
use crate::snapshot::{Detail, Snapshot};

/// Applies the configuration file: what to tell the administrator, or why nothing was changed. Runs on a thread
/// that may block.
pub type Reload = Arc<dyn Fn() -> Result<Vec<String>, String> + Send + Sync>;

/// Begins a graceful shutdown, and doesn't wait for its end.
pub type Shutdown = Arc<dyn Fn() + Send + Sync>;

/// What the console has the binary do.
#[derive(Clone)]
pub struct Hooks {
    /// RELOAD.
    pub reload: Reload,
    /// SHUTDOWN.
    pub shutdown: Shutdown,
}

/// The console and the HTTP endpoints of one process.
pub struct Admin {
    pub(crate) context: Arc<Context>,
    pub(crate) hooks: Hooks,
    pub(crate) visitors: Visitors,
    averages: Averages,
}

impl Admin {
    /// Begins to sample for the averages; must be called inside the slow runtime. Put it into `Context::console`.
    pub fn new(context: Arc<Context>, hooks: Hooks) -> Arc<Self> {
        let averages = Averages::beginning(Instant::now());
        let admin = Arc::new(Self { context, hooks, visitors: Visitors::default(), averages });
        tokio::spawn(sample(Arc::clone(&admin)));
        admin
    }

    /// What the cores say now, with what they said a minute ago.
    pub async fn snapshot(&self, detail: Detail) -> Snapshot {
        let mut snapshot = Snapshot::take(&self.context, detail).await;
        snapshot.before = self.averages.before(snapshot.at);
        snapshot
    }
}

/// Keeps the sums of the last minute, for as long as the process serves.
async fn sample(admin: Arc<Admin>) {
    let mut interval = tokio::time::interval(Averages::STEP);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stop = admin.context.stop.subscribe();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop == session::Stop::Now) => return,
            _ = interval.tick() => {}
        }
        // Before the cores run there is nothing to sum up, and a core that doesn't answer would look like a fall.
        let snapshot = Snapshot::take(&admin.context, Detail::Counters).await;
        if snapshot.silent().is_empty() && !snapshot.cores.is_empty() {
            admin.averages.note(snapshot.at, snapshot.by_database());
        }
    }
}

/// How long a core may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
