//! Metrics and health as a scraper and a load balancer meet them.

use std::net::SocketAddr;
use std::sync::mpsc;

use crate::world::World;
use session::Stop;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The whole answer to these bytes.
async fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A server that closes early may reset the connection; what it said before is the answer.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: pgweir\r\n\r\n");
    let answer = ask(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_tells_of_cores_clients_and_nodes() {
    let world = World::start().await;
    let _ops = world.console("ops").await;
    let (status, text) = get(world.http, "/metrics").await;
    assert_eq!(status, "200");
    for line in [
        "pgweir_core_up{core=\"0\"} 1.0",
        "pgweir_core_up{core=\"1\"} 1.0",
        "pgweir_clients_connected 1.0",
        "pgweir_node_role{cluster=\"us\",node=\"us-1\",role=\"primary\"} 1.0",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_readiness_differ_while_it_stops() {
    let world = World::start().await;
    assert_eq!(get(world.http, "/healthz").await.0, "200");
    assert_eq!(get(world.http, "/readyz").await.0, "200");
    session::stop(&world.context, Stop::Graceful);
    assert_eq!(get(world.http, "/healthz").await.0, "200");
    assert_eq!(get(world.http, "/readyz").await.0, "503");
    assert_eq!(get(world.http, "/").await.0, "404");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_hangs_is_seen() {
    let world = World::start().await;
    let (release, hold) = mpsc::channel::<()>();
    let cores = world.context.cores.get().unwrap();
    cores[1]
        .run(move |_| {
            let _ = hold.recv();
        })
        .unwrap();
    let (status, body) = get(world.http, "/healthz").await;
    assert_eq!((status.as_str(), body.contains("[1]")), ("503", true), "{body}");
    let (status, text) = get(world.http, "/metrics").await;
    assert_eq!(status, "200");
    assert!(
        text.contains("pgweir_core_up{core=\"0\"} 1.0") && text.contains("pgweir_core_up{core=\"1\"} 0.0")
    );
    let mut ops = world.console("ops").await;
    let frames = ops.query("SHOW POOLS").await.unwrap();
    assert!(frames[0].server_error().unwrap().message.starts_with("core 1 did not answer"));
    drop(release);
    assert_eq!(get(world.http, "/healthz").await.0, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_bounded() {
    let world = World::start().await;
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
    assert!(!ask(world.http, long.as_bytes()).await.contains("200 OK"));
    assert!(!ask(world.http, b"nonsense\r\n\r\n").await.contains("200 OK"));
    assert_eq!(get(world.http, "/healthz").await.0, "200");
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = pgweir_admin::http::bind(taken.local_addr().unwrap());
    assert!(refused.unwrap_err().to_string().contains("can't listen on"));
}
