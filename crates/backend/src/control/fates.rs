//! Asks the cluster's primary what became of transactions that somebody waits to be told of, and its replicas meanwhile
//! how far they have replayed: one of them may be the next primary.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use config::NodeRole;
use deadpool::managed::Object;
use route::view::NodeIndex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::connection::ControlPool;
use super::probe::{ProbeError, ROLE_AND_IDENTITY, identity};
use crate::cluster::Cluster;
use crate::fate::{self, Fate, LINEAGE, Lineage, Open, Primary, Replayed, Status};

/// Between two rounds of questions.
const OFTEN: Duration = Duration::from_millis(100);

/// Where its log is, replayed or inserted.
const POSITION: &str = "\
    SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                ELSE pg_catalog.pg_current_wal_insert_lsn() END";

/// Asks for as long as it is polled. `nodes`: the control connections of each; `limit`: of a question.
pub(super) async fn keep(cluster: Arc<Cluster>, nodes: Vec<ControlPool>, limit: Duration) {
    let mut asker = Asker { cluster, nodes, limit, replayed: HashMap::new() };
    loop {
        asker.cluster.fates.wake.notified().await;
        loop {
            let open = asker.cluster.fates.take();
            if open.is_empty() {
                break;
            }
            let undecided = asker.round(open).await;
            asker.cluster.fates.put_back(undecided);
            tokio::time::sleep(OFTEN).await;
        }
    }
}

struct Asker {
    cluster: Arc<Cluster>,
    nodes: Vec<ControlPool>,
    limit: Duration,
    /// Nodes as they were last seen in recovery.
    replayed: HashMap<NodeIndex, Replayed>,
}

impl Asker {
    /// Gives what isn't decided.
    async fn round(&mut self, open: Vec<Open>) -> Vec<Open> {
        self.look_at_replicas().await;
        let Ok(primary) = self.cluster.view().primary() else { return open };
        let mut undecided = Vec::new();
        let mut open = open.into_iter();
        if let Some(client) = self.connection(primary).await {
            let asked = timeout(self.limit, self.ask(primary, &client, &mut open, &mut undecided)).await;
            if !matches!(asked, Ok(Ok(()))) {
                drop(Object::take(client)); // an answer may still be on its way
            }
        }
        undecided.extend(open);
        undecided
    }

    async fn connection(&self, node: NodeIndex) -> Option<Object<super::connection::Connector>> {
        let pool = self.nodes.get(usize::from(node.0))?;
        timeout(self.limit, pool.get()).await.ok()?.ok()
    }

    /// Asks a primary for one after the other.
    async fn ask(
        &self,
        node: NodeIndex,
        client: &Client,
        open: &mut std::vec::IntoIter<Open>,
        undecided: &mut Vec<Open>,
    ) -> Result<(), ProbeError> {
        let Some(primary) = who(client).await? else {
            // It was promoted, or isn't the primary any more; or it tells nobody.
            undecided.extend(open);
            return Ok(());
        };
        let replayed = self.replayed.get(&node).copied();
        while let Some(open_one) = open.as_slice().first() {
            let status = status(client, open_one.transaction.id).await?;
            let fate = fate::judge(&open_one.transaction, status, &primary, replayed);
            let Some(open_one) = open.next() else { break };
            match fate {
                Some(fate) => tell(open_one, fate),
                None => undecided.push(open_one),
            }
        }
        Ok(())
    }

    async fn look_at_replicas(&mut self) {
        let view = Arc::clone(&self.cluster.view());
        let nodes = (0u16..).map(NodeIndex).zip(view.nodes());
        let replicas =
            nodes.filter(|(_, node)| node.up && node.role == Some(NodeRole::Replica) && !node.apart);
        let mut looks = JoinSet::new();
        for (node, _) in replicas {
            let Some(pool) = self.nodes.get(usize::from(node.0)).cloned() else { continue };
            looks.spawn(look(node, pool, self.limit));
        }
        while let Some(looked) = looks.join_next().await {
            self.replayed.extend(looked.ok().flatten());
        }
    }
}

async fn look(node: NodeIndex, pool: ControlPool, limit: Duration) -> Option<(NodeIndex, Replayed)> {
    let client = timeout(limit, pool.get()).await.ok()?.ok()?;
    match timeout(limit, where_it_is(&client)).await {
        Ok(Ok(replayed)) => Some((node, replayed?)),
        _ => {
            drop(Object::take(client));
            None
        }
    }
}

fn tell(open: Open, fate: Fate) {
    // Its client may have gone away.
    let _: Result<(), Fate> = open.told.send(fate);
}

async fn row(client: &Client, sql: &str) -> Result<Option<SimpleQueryRow>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    Ok(messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    }))
}

fn value(row: &SimpleQueryRow, column: usize) -> Option<&str> {
    row.try_get(column).ok().flatten()
}

async fn position(client: &Client) -> Result<Option<u64>, tokio_postgres::Error> {
    let row = row(client, POSITION).await?;
    Ok(row.as_ref().and_then(|row| fate::position(value(row, 0)?)))
}

/// `None`: it isn't a primary, or doesn't say.
async fn who(client: &Client) -> Result<Option<Primary>, ProbeError> {
    let Some(lineage) = row(client, LINEAGE).await? else { return Ok(None) };
    let lineage = (|| Lineage::from_row(value(&lineage, 0)?, value(&lineage, 1)?, value(&lineage, 2)?))();
    let seen = row(client, ROLE_AND_IDENTITY).await?;
    let identity = seen.as_ref().and_then(|row| identity(|column| value(row, column)));
    let at = position(client).await?;
    Ok((|| Some(Primary { lineage: lineage?, started: identity?.started, at: at? }))())
}

/// A replica's; `None`: it isn't one, or doesn't say.
async fn where_it_is(client: &Client) -> Result<Option<Replayed>, ProbeError> {
    // The position first: who it is when it is asked for that, it was then, unless it says that it is the primary now.
    let at = position(client).await?;
    let Some(seen) = row(client, ROLE_AND_IDENTITY).await? else { return Ok(None) };
    let identity = identity(|column| value(&seen, column)).filter(|_| value(&seen, 0) == Some("t"));
    Ok((|| Some(Replayed { identity: identity?, at: at? }))())
}

async fn status(client: &Client, id: u64) -> Result<Status, tokio_postgres::Error> {
    let sql = format!("SELECT pg_catalog.pg_xact_status('{id}'::pg_catalog.xid8)");
    match row(client, &sql).await {
        Ok(row) => Ok(match row.as_ref().and_then(|row| value(row, 0)) {
            Some("committed") => Status::Committed,
            Some("aborted") => Status::Aborted,
            Some("in progress") => Status::InProgress,
            _ => Status::Forgotten,
        }),
        // "transaction ID … is in the future"
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::INVALID_PARAMETER_VALUE) => {
            Ok(Status::Future)
        }
        Err(error) => Err(error),
    }
}
