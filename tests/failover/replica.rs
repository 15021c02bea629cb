//! A replica goes while its clients read: none of them sees an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgweir_tests::world::soon;
use testkit::{Mode, Pgweir};
use tokio::task::{JoinHandle, block_in_place};

use crate::world::{World, client, until_shown};

const CLIENTS: usize = 8;

/// Clients that read all the time.
struct Readers {
    stop: Arc<AtomicBool>,
    read: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    async fn start(pgweir: &Pgweir) -> Readers {
        let (stop, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = Vec::new();
        for _ in 0..CLIENTS {
            let (mut client, stop, read) = (client(pgweir).await, Arc::clone(&stop), Arc::clone(&read));
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // Most of them are under way at any time.
                    client.rows("select pg_sleep(0.02), inet_server_port()").await.unwrap();
                    read.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        Readers { stop, read, tasks }
    }

    /// Waits until each has read a few times more.
    async fn go_on(&self) {
        let enough = self.read.load(Ordering::Relaxed) + 5 * CLIENTS;
        soon("all read", async || self.read.load(Ordering::Relaxed) >= enough).await;
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

pub(crate) async fn killed_under_load(world: &World) {
    ended_under_load(world, None).await;
}

pub(crate) async fn stopped_under_load(world: &World) {
    ended_under_load(world, Some(Mode::Fast)).await;
    // Its backends say goodbye by a warning.
    ended_under_load(world, Some(Mode::Immediate)).await;
}

async fn ended_under_load(world: &World, mode: Option<Mode>) {
    let pgweir = world.pgweir("1h").await;
    let replica = world.another();
    let readers = Readers::start(&pgweir).await;
    readers.go_on().await;
    block_in_place(|| match mode {
        None => world.cluster.kill(replica).unwrap(),
        Some(mode) => world.cluster.stop(replica, mode).unwrap(),
    });
    readers.go_on().await;
    let name = world.cluster.node(replica).unwrap().name().to_owned();
    until_shown(&pgweir, &name, "state", "down").await;
    readers.go_on().await;
    block_in_place(|| world.cluster.start(replica).unwrap());
    until_shown(&pgweir, &name, "state", "up").await;
    readers.go_on().await;
    readers.finish().await;
}
