//! The home of control connections: opened by our own login, driven by tokio-postgres, kept by deadpool.

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use route::view::NodeIndex;
use tokio_postgres::{Client, NoTls};

use super::greeted::Greeted;
use super::probe::ProbeError;
use crate::cluster::Cluster;
use crate::connect::{Login, ServerTarget, connect};

/// The control connections of one node.
pub(super) type ControlPool = managed::Pool<Connector>;

/// After this long a connection is made anew: a name may lead to another server by now, and that a new connection can
/// be made is part of being up.
const LIFETIME: Duration = Duration::from_secs(60);

/// Opens the control connections of one node.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) target: ServerTarget,
    pub(super) login: Login,
    /// Whose loss says that its server may be gone.
    pub(super) node: Option<(Arc<Cluster>, NodeIndex)>,
}

impl managed::Manager for Connector {
    type Type = Client;
    type Error = ProbeError;

    async fn create(&self) -> Result<Client, ProbeError> {
        let connected = connect(&self.target, &self.login).await?;
        let mut config = tokio_postgres::Config::new();
        // It goes no further than the greeting.
        config.user(&*self.login.user);
        let (client, connection) = config.connect_raw(Greeted::new(connected.stream), NoTls).await?;
        let node = self.node.clone();
        tokio::spawn(async move {
            // It ends with its client, or because the server has ended it: a node without traffic is seen to go by that.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a control connection was lost");
                if let Some((cluster, node)) = node {
                    cluster.suspect(node);
                }
            }
        });
        Ok(client)
    }

    async fn recycle(&self, client: &mut Client, metrics: &Metrics) -> RecycleResult<ProbeError> {
        if client.is_closed() {
            return Err(RecycleError::message("it was lost"));
        }
        if metrics.age() > LIFETIME {
            return Err(RecycleError::message("it is old"));
        }
        Ok(())
    }
}
