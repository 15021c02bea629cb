//! Streams carry bytes unchanged, over each transport, and across cores.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

mod common;

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::task::Poll;

use common::{receive, send, tcp_pair, tls_pair, unix_pair};
use pgweir_net::{Cores, Detached, Peer, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::sync::oneshot;

#[test]
fn a_stream_is_small() {
    assert!(size_of::<Stream>() <= 48, "{}", size_of::<Stream>());
}

#[tokio::test]
async fn bytes_come_back_over_every_transport() {
    echoes(tcp_pair().await).await;
    echoes(unix_pair()).await;
    echoes(tls_pair(tcp_pair().await).await).await;
    echoes(tls_pair(unix_pair()).await).await;
}

async fn echoes((mut client, mut server): (Stream, Stream)) {
    let sent: Vec<u8> = (0..1_000_000u32).map(|i| i.to_be_bytes()[2]).collect();
    let echo = async {
        let mut chunk = vec![0; 10_007];
        loop {
            match server.read(&mut chunk).await.unwrap() {
                0 => break server.shutdown().await.unwrap(),
                read => send(&mut server, &chunk[..read]).await,
            }
        }
    };
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, _, read) = tokio::join!(echo, write, reader.read_to_end(&mut received));
    read.unwrap();
    assert!(received == sent, "{} bytes sent, {} received", sent.len(), received.len());
}

#[tokio::test]
async fn vectored_writes_keep_their_order() {
    for (mut client, mut server) in [tcp_pair().await, tls_pair(tcp_pair().await).await] {
        let slices = [b"first ".as_slice(), b"", b"second"].map(std::io::IoSlice::new);
        let written = poll_fn(|cx| client.poll_write_vectored(cx, &slices)).await.unwrap();
        poll_fn(|cx| client.poll_flush(cx)).await.unwrap();
        assert_eq!(receive(&mut server, written).await, b"first second"[..written]);
    }
}

#[tokio::test]
async fn being_ready_takes_no_bytes() {
    for (mut client, mut server) in
        [tcp_pair().await, unix_pair(), tls_pair(tcp_pair().await).await, tls_pair(unix_pair()).await]
    {
        // A new socket may be taken for readable until a read has found nothing.
        let empty = poll_fn(|cx| {
            let mut room = [0; 8];
            let read = server.poll_read(cx, &mut ReadBuf::new(&mut room));
            Poll::Ready(read.is_pending() && server.poll_read_ready(cx).is_pending())
        });
        assert!(empty.await);
        send(&mut client, b"abcdef").await;
        poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
        assert_eq!(receive(&mut server, 3).await, b"abc");
        poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
        assert_eq!(receive(&mut server, 3).await, b"def");
        drop(client);
        poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn peers_are_known() {
    let (client, server) = tcp_pair().await;
    let Peer::Tcp(address) = server.peer().unwrap() else { panic!("{:?}", server.peer()) };
    assert_eq!(Some(address), client.local());
    assert_eq!(address.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));

    let (_client, server) = tls_pair(unix_pair()).await;
    let Peer::Unix { pid, .. } = server.peer().unwrap() else { panic!("{:?}", server.peer()) };
    assert_eq!(pid.map(i32::unsigned_abs), Some(std::process::id()));
    assert!(server.is_unix() && server.is_tls());
}

#[test]
fn a_stream_goes_on_where_it_was_on_another_core() {
    let cores = Cores::start(2, |_| ()).unwrap();
    let door = pgweir_net::slow_runtime().unwrap();
    for kind in ["tcp", "unix", "tls over tcp", "tls over unix"] {
        let (mut client, server) = door.block_on(async {
            match kind {
                "tcp" => tcp_pair().await,
                "unix" => unix_pair(),
                "tls over tcp" => tls_pair(tcp_pair().await).await,
                _ => tls_pair(unix_pair()).await,
            }
        });
        // One record: what the first core doesn't read stays decrypted inside TLS when the stream moves.
        door.block_on(send(&mut client, b"0123456789"));
        let server = on_core(&cores, 0, server.detach().unwrap(), b"012");
        let server = on_core(&cores, 1, server, b"345");
        let server = on_core(&cores, 0, server, b"6789");
        door.block_on(send(&mut client, b"later"));
        let _server = on_core(&cores, 1, server, b"later");
        assert_eq!(door.block_on(receive(&mut client, 15)), b"0123456789later", "{kind}");
    }
    cores.shutdown();
}

/// Reads `expected` on the core, sends it back, and takes the stream off the core again.
fn on_core(cores: &Cores<()>, core: usize, parked: Detached, expected: &'static [u8]) -> Detached {
    let (done, result) = oneshot::channel();
    let relay = async move {
        let mut stream = parked.attach().unwrap();
        assert_eq!(receive(&mut stream, expected.len()).await, expected);
        send(&mut stream, expected).await;
        done.send(stream.detach().unwrap()).unwrap();
    };
    cores.handles()[core].run(move |_| drop(tokio::task::spawn_local(relay))).unwrap();
    result.blocking_recv().unwrap()
}
