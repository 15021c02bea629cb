//! Pools of two cores on one thread, in front of a server that only knows how to log in: what is opened, closed, lent
//! and given up, and for whom.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

mod server;

use std::cell::Cell;
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pgweir_backend::core::Task;
use pgweir_backend::{CorePools, Directory, Lease, LocalPool, Remote, Statements, Waiter};
use server::Server;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

/// How long something may take that takes a moment on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A server, and the pools of two cores in front of it. Nothing turns their clocks.
struct World {
    server: Rc<Server>,
    directory: Directory,
    cores: Vec<Rc<CorePools>>,
}

impl World {
    /// A server that lets so many in; `budget` is what pgweir believes.
    async fn new(admits: usize, budget: usize, pool: &str) -> World {
        let server = Server::start(admits).await;
        let port = server.port;
        let yaml = format!(
            "clusters:\n  pg: {{server_connections: {budget}, tls: {{mode: disable}}, \
             nodes: {{n: {{host: 127.0.0.1, port: {port}, role: primary}}}}}}\n\
             databases: {{'*': {{cluster: pg}}}}\npool: {{{pool}}}\n"
        );
        let config = config::parse_yaml(&yaml, "test", &|_| None, Path::new("")).unwrap();
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::unbounded_channel::<Task>()).unzip();
        let remote = Remote::new(move |core, task| drop(senders[core].send(task)));
        let statements = Arc::new(Statements::default());
        let mut cores = Vec::new();
        for (index, mut inbox) in inboxes.into_iter().enumerate() {
            let core = Rc::new(CorePools::new(index, remote.clone(), Arc::clone(&statements)));
            cores.push(Rc::clone(&core));
            spawn_local(async move {
                while let Some(task) = inbox.recv().await {
                    task(&core);
                }
            });
        }
        let directory = Directory::new(Arc::new(config), 2, remote).unwrap();
        World { server, directory, cores }
    }

    /// A user's pool as one of its home cores sees it.
    fn pool(&self, user: &str, home: usize) -> Rc<LocalPool> {
        let group = self.directory.group("app", user).unwrap();
        Rc::clone(&self.cores[group.homes[home]].group(&group).pools[0][0])
    }
}

/// A connection, however long that takes.
async fn lease(pool: &Rc<LocalPool>) -> Lease {
    if let Some(lease) = pool.try_lease() {
        return lease;
    }
    let waiter = Rc::new(Waiter::default());
    let mut queued = pool.queue(&waiter);
    let granted = tokio::time::timeout(LIMIT, poll_fn(|cx| queued.poll(cx))).await;
    granted.expect("a waiter starves").unwrap()
}

#[tokio::test]
async fn a_waiter_is_lent_what_it_cannot_open() {
    let test = async {
        let world = World::new(1, 8, "server_login_retry: 1h").await;
        let (here, there) = (world.pool("app", 0), world.pool("app", 1));
        assert_eq!(here.shared.homes.len(), 2);
        lease(&here).await.release();
        // The server is full: the login fails, and is not tried again. The first core's idle connection serves all.
        for _ in 0..3 {
            lease(&there).await.release();
            lease(&here).await.release();
        }
        assert_eq!((world.server.logins.get(), world.server.refused.get()), (1, 1));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn two_busy_cores_dont_send_their_connections_to_and_fro() {
    let test = async {
        let world = World::new(8, 8, "size: 8").await;
        let pools = [world.pool("app", 0), world.pool("app", 1)];
        // The first core opens them all.
        let mut all = Vec::new();
        for _ in 0..8 {
            all.push(lease(&pools[0]).await);
        }
        drop(all.into_iter().map(Lease::release).collect::<Vec<_>>());
        let mut clients = Vec::new();
        for number in 0..160 {
            let pool = Rc::clone(&pools[number % 2]);
            clients.push(spawn_local(async move {
                for _ in 0..12 {
                    let lease = lease(&pool).await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    assert!(lease.release());
                }
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
        let lent: u64 = pools.iter().map(|pool| pool.stats.lent.get()).sum();
        assert!(lent > 0 && lent * 20 < 160 * 12, "{lent} loans for {} transactions", 160 * 12);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn more_pools_than_connections_take_turns() {
    let test = async {
        let world = World::new(2, 2, "").await;
        let (leases, busy) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(8)));
        let mut clients = Vec::new();
        for number in 0..8 {
            let pool = world.pool(["a", "b", "c", "d"][number % 4], 0);
            let (leases, busy) = (Rc::clone(&leases), Rc::clone(&busy));
            clients.push(spawn_local(async move {
                let mut mine = 0;
                // All go on until each has had its part: nobody wins by the others' end.
                while busy.get() > 0 {
                    let lease = lease(&pool).await;
                    tokio::task::yield_now().await;
                    assert!(lease.release());
                    leases.set(leases.get() + 1);
                    mine += 1;
                    if mine == 100 {
                        busy.set(busy.get() - 1);
                    }
                }
            }));
        }
        for client in clients {
            client.await.unwrap();
        }
        let (logins, most) = (world.server.logins.get(), world.server.most.get());
        assert_eq!(most, 2);
        assert_eq!(world.server.refused.get(), 0);
        assert!(logins * 5 < leases.get(), "{logins} logins for {} transactions", leases.get());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn an_idle_connection_is_given_up_once_its_turn_is_over() {
    let test = async {
        let world = World::new(1, 1, "").await;
        for round in 1..=3 {
            for user in ["a", "b"] {
                lease(&world.pool(user, 0)).await.release();
            }
            assert_eq!(world.server.logins.get(), 2 * round);
        }
        assert_eq!(world.server.refused.get(), 0);
    };
    LocalSet::new().run_until(test).await;
}
