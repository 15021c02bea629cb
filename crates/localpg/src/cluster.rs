//! A primary and its replicas, by node number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::builder::Plan;
use crate::node::Node;
use crate::server::Mode;
use crate::workdir::Workdir;
use crate::{Builder, Error, Result, SUPERUSER};

const PSQL_LIMIT: Duration = Duration::from_secs(300);

/// A primary and its streaming replicas. Dropping it stops and removes them.
///
/// Nodes are numbered from 0; node 0 begins as the primary. All methods take `&self`, so that a test may
/// stop servers while its clients work.
#[derive(Debug)]
pub struct Cluster {
    plan: Arc<Plan>,
    nodes: Vec<Node>,
    primary: AtomicUsize,
    // After the nodes: their servers end before their files go.
    workdir: Workdir,
}

impl Cluster {
    /// One node, no replicas, unless told otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(plan: Arc<Plan>, nodes: Vec<Node>, workdir: Workdir) -> Cluster {
        Cluster { plan, nodes, primary: AtomicUsize::new(0), workdir }
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// The password of the superuser [`SUPERUSER`].
    pub fn superuser_password(&self) -> &str {
        &self.plan.superuser_password
    }

    /// The password of a user that the builder was told of.
    pub fn password(&self, user: &str) -> Option<&str> {
        self.plan.password(user)
    }

    /// The users that the builder was told of: (name, password).
    pub fn users(&self) -> &[(String, String)] {
        &self.plan.users
    }

    /// The databases that the builder was told of; the first user owns them.
    pub fn databases(&self) -> &[String] {
        &self.plan.databases
    }

    /// The folder of it all.
    pub fn folder(&self) -> &std::path::Path {
        self.workdir.path()
    }

    /// All nodes, by number.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of that number.
    ///
    /// # Errors
    /// [`Error::NoSuchNode`].
    pub fn node(&self, index: usize) -> Result<&Node> {
        self.nodes.get(index).ok_or(Error::NoSuchNode { index, nodes: self.nodes.len() })
    }

    /// The node that was promoted last; node 0 before.
    pub fn primary(&self) -> &Node {
        &self.nodes[self.primary.load(Ordering::SeqCst)]
    }

    pub(crate) fn set_primary(&self, index: usize) {
        self.primary.store(index, Ordering::SeqCst);
    }

    /// The i-th, from 0, of the nodes that aren't [`Cluster::primary`]; its number is [`Node::index`].
    ///
    /// # Panics
    /// If there are fewer.
    pub fn replica(&self, i: usize) -> &Node {
        let primary = self.primary().index();
        let mut others = self.nodes.iter().filter(|node| node.index() != primary);
        others.nth(i).unwrap_or_else(|| panic!("{} has no replica {i}", self.name()))
    }

    /// Runs SQL on a node as the superuser, through `psql`; each statement is a transaction of its own.
    /// Returns the rows, a line each, columns parted by `|`, without headers.
    ///
    /// # Errors
    /// [`Error::Program`] with the server's message; [`Error::Timeout`] after 5 minutes.
    pub fn psql(&self, index: usize, database: &str, sql: &str) -> Result<String> {
        self.node(index)?.psql(SUPERUSER, database, sql, PSQL_LIMIT)
    }

    /// As [`Cluster::psql`], as a user that the builder was told of.
    ///
    /// # Errors
    /// As [`Cluster::psql`].
    pub fn psql_as(&self, index: usize, user: &str, database: &str, sql: &str) -> Result<String> {
        self.node(index)?.psql(user, database, sql, PSQL_LIMIT)
    }

    /// Shuts a node down and waits for its end.
    ///
    /// # Errors
    /// [`Error::State`] if it doesn't run; [`Error::Timeout`] after a minute (it goes on then).
    pub fn stop(&self, index: usize, mode: Mode) -> Result<()> {
        self.node(index)?.stop(mode)
    }

    /// Kills a node: SIGKILL for its postmaster and every process of it.
    ///
    /// # Errors
    /// [`Error::State`] if it doesn't run.
    pub fn kill(&self, index: usize) -> Result<()> {
        self.node(index)?.with_server(crate::server::Server::kill)
    }

    /// Starts a node that was stopped or killed, on the port that it had, and waits until it takes
    /// connections. It comes back as what it was: a primary as a primary (see [`Cluster::follow`]).
    ///
    /// # Errors
    /// [`Error::Start`] with the end of its log; [`Error::State`] if it runs already.
    pub fn start(&self, index: usize) -> Result<()> {
        self.node(index)?.start()
    }

    /// Halts every process of a node (SIGSTOP): it hangs, its connections stay open.
    ///
    /// # Errors
    /// [`Error::State`] if it doesn't run.
    pub fn pause(&self, index: usize) -> Result<()> {
        self.node(index)?.with_server(crate::server::Server::pause)
    }

    /// Lets a paused node go on.
    ///
    /// # Errors
    /// [`Error::State`] if it doesn't run.
    pub fn resume(&self, index: usize) -> Result<()> {
        self.node(index)?.with_server(crate::server::Server::resume)
    }

    /// Changes a setting of one node and reloads it if it runs; a setting that needs a restart takes
    /// effect at its next start.
    ///
    /// # Errors
    /// [`Error::Io`] if its configuration can't be written.
    pub fn configure(&self, index: usize, name: &str, value: &str) -> Result<()> {
        let node = self.node(index)?;
        node.set(name, value);
        self.reload(node)
    }

    /// Writes a node's configuration and has it read, if it runs.
    pub(crate) fn reload(&self, node: &Node) -> Result<()> {
        node.write_config()?;
        match node.with_server(|server| server.reload()) {
            Ok(()) | Err(Error::State { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // All are asked at once; each is waited for when it is dropped.
        self.nodes.iter().for_each(Node::request_end);
    }
}
