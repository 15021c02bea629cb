//! Patroni is asked who leads. A small HTTP server stands in for it: there is no real one where tests run.

use std::sync::{Arc, Mutex};

use pgweir_tests::eventually;
use testkit::Pgweir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{World, client, refusal, write};

/// Answers `GET /cluster` as Patroni does.
struct Patroni {
    port: u16,
    leader: Arc<Mutex<String>>,
}

impl Patroni {
    async fn start(world: &World, leader: usize) -> Patroni {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let nodes: Vec<_> =
            world.cluster.nodes().iter().map(|node| (node.name().to_owned(), node.port())).collect();
        let leads = Arc::new(Mutex::new(nodes[leader].0.clone()));
        let leader = Arc::clone(&leads);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let (status, body) = if request[..read].starts_with(b"GET /cluster HTTP/1.0\r\n") {
                    ("200 OK", members(&nodes, &leader.lock().unwrap().clone()))
                } else {
                    ("404 Not Found", String::new())
                };
                let answer = format!("HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Patroni { port, leader: leads }
    }

    fn says(&self, world: &World, leader: usize) {
        *self.leader.lock().unwrap() = world.cluster.node(leader).unwrap().name().to_owned();
    }

    async fn pgweir(&self, world: &World, wait: &str) -> Pgweir {
        // The first of the two is never there.
        let discover = format!("{{patroni: [\"http://127.0.0.1:1\", \"http://127.0.0.1:{}\"]}}", self.port);
        let setup = world.setup("1h").set("clusters.pg.discover", &discover).set("failover.wait", wait);
        Pgweir::start(&setup).await.unwrap()
    }
}

fn members(nodes: &[(String, u16)], leader: &str) -> String {
    let member = |(name, port): &(String, u16)| {
        let role = if name == leader { "leader" } else { "replica" };
        format!(
            r#"{{"name": "{name}", "role": "{role}", "state": "running", "host": "127.0.0.1", "port": {port}}}"#
        )
    };
    let members: Vec<_> = nodes.iter().map(member).collect();
    format!("{{\"members\": [{}], \"scope\": \"pg\"}}", members.join(", "))
}

/// A promotion that no probe has seen, and then two nodes on one timeline: what Patroni says decides. What is in recovery,
/// or on a timeline that was left, it makes no primary of. Leaves three primaries behind.
pub(crate) async fn names_the_leader(world: &World) {
    let (old, new) = (world.primary(), world.another());
    let third = world.cluster.replica(1).index();
    let patroni = Patroni::start(world, old).await;
    let pgweir = patroni.pgweir(world, "20s").await;
    let mut writer = client(&pgweir).await;
    assert_eq!(write(&mut writer, 40).await, world.port(old));
    // The next probe is an hour away, and the old one lives.
    world.promote(new);
    patroni.says(world, new);
    let goes = async |client: &mut testkit::Client, to: usize| {
        // Who is at it when the old one is given up isn't told whether it has written.
        let ask = async || client.value("insert into t values (41) returning port").await.unwrap_or_default();
        eventually("it is written to", ask, |port| *port == world.port(to)).await.unwrap();
    };
    goes(&mut writer, new).await;
    drop(pgweir);

    // Both on timeline 2, each with a history of its own.
    world.promote(third);
    let pgweir = patroni.pgweir(world, "1s").await;
    let mut writer = client(&pgweir).await;
    goes(&mut writer, new).await;
    patroni.says(world, third);
    goes(&mut writer, third).await;
    patroni.says(world, old);
    let ask = async || writer.query("insert into t values (42)").await.unwrap();
    let refused = |frames: &Vec<testkit::Frame>| testkit::first_error(frames).is_some();
    eventually("nobody is written to", ask, refused).await.unwrap();
    assert_eq!(refusal(&mut writer, "insert into t values (43)").await, "57P03");
    patroni.says(world, new);
    let ask = async || writer.value("insert into t values (44) returning port").await.unwrap_or_default();
    eventually("it is written to again", ask, |port| *port == world.port(new)).await.unwrap();
}
