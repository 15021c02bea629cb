//! Who follows whom: copies, promotion, following, catching up.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::server::Mode;
use crate::{Cluster, Error, Result, SUPERUSER};

const COPY_LIMIT: Duration = Duration::from_secs(600);
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);
const QUESTION_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// A commit of our own makes everything before it durable, also with `synchronous_commit` off; the position
/// asked for after it is then the end of a record, which a replica can reach on an idle server too.
const PRIMARY_POSITION: &str = "SET synchronous_commit TO local;
    DO $$ BEGIN PERFORM pg_logical_emit_message(true, 'localpg', ''); END $$;
    SELECT pg_current_wal_flush_lsn();";

impl Cluster {
    /// Promotes a replica and waits until it takes writes. What was the primary is left as it is, and the
    /// other replicas follow whom they did: see [`Cluster::follow`].
    ///
    /// # Errors
    /// [`Error::Program`] if it isn't a replica or doesn't end recovery within a minute.
    pub fn promote(&self, index: usize) -> Result<()> {
        let done = self.psql(index, "postgres", "SELECT pg_promote(true, 60)")?;
        if done != "t" {
            let what = format!("the promotion of {}", self.node(index)?.name());
            return Err(Error::Timeout { what, limit: Duration::from_secs(60), detail: String::new() });
        }
        self.set_primary(index);
        Ok(())
    }

    /// Makes a node a replica of `primary`. A running or stopped replica only changes whom it follows; what
    /// was itself a primary is stopped and copied anew. The node runs when this returns.
    ///
    /// # Errors
    /// As [`Cluster::rebuild`].
    pub fn follow(&self, index: usize, primary: usize) -> Result<()> {
        let (node, of) = (self.node(index)?, self.node(primary)?);
        if !node.is_standby() {
            return self.rebuild(index, primary);
        }
        node.set_primary(of)?;
        if node.is_running() { self.reload(node) } else { node.start() }
    }

    /// Replaces a node's data by a copy of `primary` (`pg_basebackup`) and starts it as its replica.
    ///
    /// # Errors
    /// [`Error::Program`] if the copy fails, [`Error::Start`] if the node doesn't start with it.
    pub fn rebuild(&self, index: usize, primary: usize) -> Result<()> {
        let (node, of) = (self.node(index)?, self.node(primary)?);
        let first = !node.data_dir().join("PG_VERSION").exists();
        if node.is_running() {
            node.stop(Mode::Immediate)?;
        }
        clear(&node.data_dir())?;
        let (port, data, host) = (of.port().to_string(), node.data_dir(), of.socket_dir());
        let (data, host) = (data.to_string_lossy(), host.to_string_lossy());
        let from = ["--host", &host, "--port", &port, "--username", SUPERUSER, "--no-password"];
        let how = ["--checkpoint", "fast", "--wal-method", "fetch", "--no-sync", "--pgdata", &data];
        node.run("pg_basebackup", &[&from[..], &how[..]].concat(), COPY_LIMIT)?;
        node.set_primary(of)?;
        if first { node.first_start() } else { node.start() }
    }

    /// Waits until a replica has replayed all that [`Cluster::primary`] had written when this was called.
    ///
    /// # Errors
    /// [`Error::Timeout`] after a minute, with how far it came.
    pub fn wait_caught_up(&self, replica: usize) -> Result<()> {
        let (primary, node) = (self.primary(), self.node(replica)?);
        let target = primary.psql(SUPERUSER, "postgres", PRIMARY_POSITION, QUESTION_LIMIT)?;
        let question = format!(
            "SELECT coalesce(pg_last_wal_replay_lsn() >= '{target}', false), pg_last_wal_replay_lsn()"
        );
        let deadline = Instant::now() + CATCH_UP_LIMIT;
        loop {
            let answer = node.psql(SUPERUSER, "postgres", &question, QUESTION_LIMIT)?;
            if answer.starts_with("t|") {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Timeout {
                    what: format!("{} to replay {target} of {}", node.name(), primary.name()),
                    limit: CATCH_UP_LIMIT,
                    detail: format!(": it says {answer}"),
                });
            }
            thread::sleep(PAUSE);
        }
    }

    /// Waits until every running node but the primary has caught up.
    ///
    /// # Errors
    /// As [`Cluster::wait_caught_up`].
    pub fn wait_all_caught_up(&self) -> Result<()> {
        let primary = self.primary().index();
        let replicas = self.nodes().iter().filter(|node| node.index() != primary && node.is_running());
        replicas.map(|node| node.index()).try_for_each(|index| self.wait_caught_up(index))
    }
}

/// Empties a folder, which keeps its owner and mode.
fn clear(folder: &std::path::Path) -> Result<()> {
    let what = || format!("empty {}", folder.display());
    for entry in fs::read_dir(folder).map_err(Error::io(what()))? {
        let path = entry.map_err(Error::io(what()))?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::io(what()))?;
    }
    Ok(())
}
