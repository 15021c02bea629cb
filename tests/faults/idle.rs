//! Clients that are idle when a primary is replaced: they see no error.

use std::sync::Arc;

use testkit::history::Outcome;
use testkit::{Client, Script};
use tokio::task::JoinHandle;

use crate::world::World;
use crate::writers::{Log, insert};

const CLIENTS: usize = 20;

/// Half of them have used a server before, a quarter have begun a transaction that has done nothing yet.
pub(crate) struct Idle(Vec<Client>);

/// They write.
pub(crate) struct Writing(Vec<JoinHandle<Outcome>>);

impl Idle {
    pub(crate) async fn connect(world: &World) -> Idle {
        let mut clients = world.clients(CLIENTS).await;
        for (i, client) in clients.iter_mut().enumerate() {
            if i % 2 == 0 {
                client.rows("insert into writes select 0, 0 where false").await.unwrap();
            }
            if i % 4 == 0 {
                client.rows("begin").await.unwrap();
            }
        }
        Idle(clients)
    }

    /// Each writes now.
    pub(crate) fn write(self, log: &Arc<Log>) -> Writing {
        let writing = self
            .0
            .into_iter()
            .enumerate()
            .map(|(i, client)| tokio::spawn(write(client, Arc::clone(log), i % 4 == 0)));
        Writing(writing.collect())
    }
}

impl Writing {
    /// Waits until all have written.
    pub(crate) async fn without_error(self) {
        for (i, writing) in self.0.into_iter().enumerate() {
            assert_eq!(writing.await.unwrap(), Outcome::Ok, "idle client {i}");
        }
    }
}

async fn write(mut client: Client, log: Arc<Log>, begun: bool) -> Outcome {
    let token = log.history.begin(usize::MAX, 1);
    let mut script = Script::new().query(&insert(token, 0, 1));
    if begun {
        script = script.query("commit");
    }
    let answer = client.run(&script).await;
    let outcome = Outcome::of(&answer);
    log.history.end(token, outcome.clone());
    outcome
}
