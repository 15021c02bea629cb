//! The home of control connections: opened by our own login, driven by tokio-postgres, kept by deadpool.

use std::time::Duration;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use tokio_postgres::{Client, NoTls};

use super::greeted::Greeted;
use super::probe::ProbeError;
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
        tokio::spawn(async move {
            // It ends with its client, or with an error that the next probe meets too.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a control connection was lost");
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
