//! What is taken for the primary is a standby: a name leads to another server than the one that answers the probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use testkit::{Pgweir, Script, rows, tags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, client, refusal, write};

/// "I want TLS."
const TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// A name of two servers: probes reach one of them, all else the other.
struct Name {
    port: u16,
    traffic: Arc<AtomicU16>,
}

impl Name {
    async fn start(control: u16, traffic: u16) -> Name {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let leads = Arc::new(AtomicU16::new(traffic));
        let traffic = Arc::clone(&leads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let to = Arc::clone(&leads);
                tokio::spawn(async move { forward(stream, control, &to).await });
            }
        });
        Name { port, traffic }
    }

    fn leads_to(&self, port: u16) {
        self.traffic.store(port, Ordering::Relaxed);
    }
}

async fn forward(mut client: TcpStream, control: u16, traffic: &AtomicU16) -> Option<()> {
    let mut first = startup(&mut client).await?;
    if first == TLS {
        client.write_all(b"N").await.ok()?;
        first = startup(&mut client).await?;
    }
    let probes = first.windows(14).any(|bytes| bytes == b"pgweir-control");
    let port = if probes { control } else { traffic.load(Ordering::Relaxed) };
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    server.write_all(&first).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok().map(drop)
}

/// A packet with its length.
async fn startup(client: &mut TcpStream) -> Option<Vec<u8>> {
    let length = client.read_u32().await.ok()?;
    let mut packet = length.to_be_bytes().to_vec();
    packet.resize(usize::try_from(length).ok()?, 0);
    client.read_exact(&mut packet[4..]).await.ok()?;
    Some(packet)
}

/// What the standby refuses waits for the primary, by either protocol, and in a transaction that has just begun.
pub(crate) async fn is_sent_on(world: &World) {
    let (primary, standby) = (world.cluster.primary().port(), world.cluster.replica(0).port());
    let insert = "insert into t values (50) returning port";
    let extended = Script::new().run(insert, &[]).sync();
    let scripts = [
        (Script::new().query(insert), "TDCZ"),
        (extended, "12TDCZ"),
        (Script::new().query("begin").query(insert).query("commit"), "CZTDCZCZ"),
    ];
    for (script, expected) in scripts {
        let name = Name::start(primary, standby).await;
        let setup = world.setup("1h").node("pg", world.cluster.primary().name(), name.port);
        let pgweir = Pgweir::start(&setup).await.unwrap();
        let mut client = client(&pgweir).await;
        let waiting = tokio::spawn(async move { client.run(&script).await.unwrap() });
        pgweir.wait_for_log("what was taken for the primary is a standby").await.unwrap();
        name.leads_to(primary);
        let frames = waiting.await.unwrap();
        assert_eq!(tags(&frames), expected, "{frames:?}");
        assert_eq!(rows(&frames), [[Some(primary.to_string())]]);
    }
    let written = world.psql(world.primary(), "select count(*) from t where n = 50");
    assert_eq!(written, "3", "each once");
}

/// A client's own wish to write nothing is not a server's.
pub(crate) async fn own_wish(world: &World) {
    let pgweir = world.pgweir("1h").await;
    let mut client = client(&pgweir).await;
    write(&mut client, 51).await;
    client.rows("set default_transaction_read_only = on").await.unwrap();
    assert_eq!(refusal(&mut client, "insert into t values (52)").await, "25006");
    assert!(!pgweir.log().contains("is a standby"), "{}", pgweir.log());
}
