//! Listeners: addresses, stale files, and what is left behind.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pgweir_net::{BindError, Keepalive, ListenAddress, Listener, Peer, SocketOptions};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

#[tokio::test]
async fn tcp_connections_are_accepted_with_their_options() {
    let keepalive = Keepalive { idle: Duration::from_secs(30), interval: Duration::from_millis(1), count: 3 };
    let options = SocketOptions { keepalive: Some(keepalive), user_timeout: Some(Duration::from_secs(9)) };
    let mut listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), options).unwrap();
    let ListenAddress::Tcp(address) = listener.address() else { panic!("{}", listener.address()) };
    assert_ne!(address.port(), 0);
    let (client, (stream, peer)) = tokio::join!(TcpStream::connect(address), listener.accept());
    assert_eq!(peer, Peer::Tcp(client.unwrap().local_addr().unwrap()));
    let pgweir_net::Stream::Tcp(tcp) = stream else { panic!("{stream:?}") };
    let socket = socket2::SockRef::from(&tcp);
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(1));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(9)));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = Listener::tcp("127.0.0.1:0".parse().unwrap(), SocketOptions::default()).unwrap();
    let ListenAddress::Tcp(address) = first.address() else { panic!("{}", first.address()) };
    let error = Listener::tcp(address, SocketOptions::default()).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn both_families_may_have_the_same_port() {
    let Ok(v6) = Listener::tcp("[::]:0".parse().unwrap(), SocketOptions::default()) else {
        return; // a machine without IPv6
    };
    let ListenAddress::Tcp(address) = v6.address() else { panic!("{}", v6.address()) };
    Listener::tcp(([0, 0, 0, 0], address.port()).into(), SocketOptions::default()).unwrap();
}

#[tokio::test]
async fn the_unix_socket_is_open_to_all_and_removed_at_the_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".s.PGSQL.6432");
    let mut listener = Listener::unix(folder.path(), 6432).unwrap();
    assert_eq!(listener.address(), ListenAddress::Unix(path.clone()));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
    let (_client, (_, peer)) = tokio::join!(UnixStream::connect(&path), listener.accept());
    assert!(matches!(peer, Peer::Unix { uid: Some(_), pid: Some(_) }), "{peer:?}");
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_dead_servers_socket_is_replaced_a_live_ones_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".s.PGSQL.6432");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mut listener = Listener::unix(folder.path(), 6432).unwrap();
    assert!(matches!(Listener::unix(folder.path(), 6432), Err(BindError::InUse { path: p }) if p == path));
    let (client, _) = tokio::join!(UnixStream::connect(&path), listener.accept());
    client.unwrap();
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".s.PGSQL.6432");
    fs::write(&path, "notes").unwrap();
    let error = Listener::unix(folder.path(), 6432).unwrap_err();
    assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"notes");
}

#[tokio::test]
async fn a_successors_socket_is_not_removed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".s.PGSQL.6432");
    let old = Listener::unix(folder.path(), 6432).unwrap();
    fs::rename(&path, folder.path().join("old")).unwrap();
    let _new = Listener::unix(folder.path(), 6432).unwrap();
    drop(old);
    assert!(path.exists());
}
