//! Each fault of the proxy, seen from both sides.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use pgweir_testkit::{Client, Cluster, Cut, DEADLINE, Direction, Error, FaultProxy, Script, Trigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A proxy, the client's end and the server's end of one connection through it.
async fn ends() -> (FaultProxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
    let client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (proxy, client, server)
}

/// Exactly so many bytes, within the deadline.
async fn take(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(DEADLINE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// All bytes up to the end, and the error that it ends with.
async fn take_all(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.unwrap();
    (bytes, end.err().map(|error| error.kind()))
}

#[tokio::test]
async fn forwards_both_ways_with_half_closed_ends_and_counts() {
    let (proxy, mut client, mut server) = ends().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(take_all(&mut server).await, (b"question".to_vec(), None));
    server.write_all(b"answer").await.unwrap();
    assert_eq!((proxy.connections(), proxy.open()), (1, 1));
    drop(server);
    assert_eq!(take_all(&mut client).await, (b"answer".to_vec(), None));
    assert_eq!((proxy.bytes(Direction::ToServer), proxy.bytes(Direction::ToClient)), (8, 6));
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_fin_a_fin() {
    let (proxy, mut client, mut server) = ends().await;
    client.write_all(b"x").await.unwrap();
    take(&mut server, 1).await;
    assert_eq!(proxy.cut_all(Cut::Reset), 1);
    assert_eq!(take_all(&mut client).await, (vec![], Some(ErrorKind::ConnectionReset)));
    assert_eq!(take_all(&mut server).await, (vec![], Some(ErrorKind::ConnectionReset)));

    let (proxy, mut client, mut server) = ends().await;
    client.write_all(b"x").await.unwrap();
    take(&mut server, 1).await;
    assert!(proxy.cut_one(Cut::Fin));
    assert_eq!(take_all(&mut client).await, (vec![], None));
    assert_eq!(take_all(&mut server).await, (vec![], None));
}

#[tokio::test]
async fn cuts_after_bytes_and_at_patterns() {
    let (proxy, mut client, mut server) = ends().await;
    proxy.cut_when(Direction::ToServer, Trigger::Bytes(5), Cut::Fin);
    client.write_all(b"1234567").await.unwrap();
    assert_eq!(take_all(&mut server).await, (b"12345".to_vec(), None));
    proxy.wait_fired(1).await.unwrap();

    let (proxy, mut client, mut server) = ends().await;
    proxy.cut_when(Direction::ToClient, Trigger::Before(b"COMMIT".to_vec()), Cut::Fin);
    server.write_all(b"C COMMIT Z").await.unwrap();
    assert_eq!(take_all(&mut client).await, (b"C COMMI".to_vec(), None));

    let (proxy, mut client, mut server) = ends().await;
    proxy.cut_when(Direction::ToClient, Trigger::After(b"COMMIT".to_vec()), Cut::Fin);
    proxy.disarm();
    proxy.cut_when(Direction::ToClient, Trigger::After(b"Z".to_vec()), Cut::Fin);
    server.write_all(b"C COMMIT Z I").await.unwrap();
    assert_eq!(take_all(&mut client).await, (b"C COMMIT Z".to_vec(), None));
    assert_eq!(proxy.fired(), 1);
}

#[tokio::test]
async fn swallowed_bytes_never_come_and_nothing_is_closed() {
    let (proxy, mut client, mut server) = ends().await;
    proxy.swallow(Direction::ToServer, true);
    client.write_all(b"lost").await.unwrap();
    // The other direction still works, which also shows that the loss isn't a delay of it all.
    server.write_all(b"hello").await.unwrap();
    assert_eq!(take(&mut client, 5).await, b"hello");
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(100), server.read(&mut byte)).await.is_err());
    proxy.blackhole(true);
    server.shutdown().await.unwrap();
    assert!(timeout(Duration::from_millis(100), client.read(&mut byte)).await.is_err());
    assert_eq!(proxy.bytes(Direction::ToServer), 0);
}

#[tokio::test]
async fn refuses_new_connections_only() {
    let (proxy, mut client, mut server) = ends().await;
    proxy.refuse(true);
    let mut late = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(take_all(&mut late).await, (vec![], Some(ErrorKind::ConnectionReset)));
    client.write_all(b"x").await.unwrap();
    assert_eq!(take(&mut server, 1).await, b"x");
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn delays_a_direction() {
    let (proxy, mut client, mut server) = ends().await;
    let delay = Duration::from_millis(150);
    proxy.delay(Direction::ToServer, delay);
    let begun = Instant::now();
    client.write_all(b"x").await.unwrap();
    take(&mut server, 1).await;
    assert!(begun.elapsed() >= delay);
}

#[tokio::test]
async fn postgres_answers_byte_by_byte_and_a_lost_commit_is_there() {
    let cluster = Cluster::builder().databases(["app"]).users([("app", "pw")]).start().unwrap();
    cluster.psql_as(0, "app", "app", "create table t (n int)").unwrap();
    let proxy = FaultProxy::of(cluster.primary()).await.unwrap();
    proxy.split(true);
    let mut client = Client::to(proxy.addr()).user("app", "pw").database("app").connect().await.unwrap();
    assert_eq!(client.value("select repeat('x', 1000)").await.unwrap().len(), 1000);
    proxy.cut_when(Direction::ToClient, Trigger::Before(b"COMMIT\0".to_vec()), Cut::Reset);
    let script = Script::new().query("begin; insert into t values (1)").query("commit");
    let lost = client.run(&script).await.unwrap_err();
    assert!(matches!(lost, Error::Io { .. } | Error::Closed { .. }), "{lost}");
    assert_eq!(cluster.psql(0, "app", "select n from t").unwrap(), "1");
}
