//! Real servers.

use config::TlsMode;
use localpg::{Auth, Builder, Cluster, Node};
use net::{Stream, Verify};
use pgweir_backend::cancel::send_cancel;
use pgweir_backend::connect::{ConnectError, Connected, ServerTarget, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use wire::scram::{ScramKeys, ScramSecret};

use crate::certificate::Certificate;
use crate::{login, target};

fn cluster() -> Builder {
    Cluster::builder().databases(["app"]).users([("app", "open sesame")])
}

fn at(node: &Node, mode: TlsMode) -> ServerTarget {
    target(node.host(), node.port(), mode)
}

/// Sends a query and reads up to ReadyForQuery; gives all that came.
async fn query(stream: &mut Stream, sql: &str) -> Vec<u8> {
    let mut message = Vec::new();
    wire::encode::query(&mut message, sql.as_bytes()).unwrap();
    stream.write_all(&message).await.unwrap();
    stream.flush().await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"Z\0\0\0\x05I") {
        assert_ne!(stream.read_buf(&mut reply).await.unwrap(), 0, "the server closed the connection");
    }
    reply
}

async fn answers(mut connected: Connected, sql: &str, expected: &str) {
    let reply = query(&mut connected.stream, sql).await;
    let found = reply.windows(expected.len()).any(|part| part == expected.as_bytes());
    assert!(found, "{sql}: {}", reply.escape_ascii());
}

fn code(error: &ConnectError) -> &str {
    match error {
        ConnectError::Refused(report) => report.code.as_str(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn scram_with_the_password_and_what_the_server_tells() {
    let cluster = cluster().start().unwrap();
    let target = at(cluster.primary(), TlsMode::Disable);
    let login_with = login(Some("open sesame"));
    // The second one takes the keys that the first has derived.
    for _ in 0..2 {
        let connected = connect(&target, &login_with).await.unwrap();
        let reported = connected.parameters.iter().map(|(name, value)| (&**name, &**value));
        let reported: std::collections::BTreeMap<_, _> = reported.collect();
        assert!(reported["server_version"].starts_with(|c: char| c.is_ascii_digit()), "{reported:?}");
        assert_eq!(reported["session_authorization"], "app");
        assert!(connected.pid > 0 && connected.key.len() == 4);
        assert_eq!(connected.address.unwrap().port(), cluster.primary().port());
        answers(connected, "select current_user || '@' || current_database()", "app@app").await;
    }

    let wrong = connect(&target, &login(Some("wrong"))).await.unwrap_err();
    assert_eq!(code(&wrong), "28P01");
    assert!(wrong.is_final());
    let none = connect(&target, &login(None)).await.unwrap_err();
    assert!(matches!(none, ConnectError::NoCredential { .. }), "{none}");
    let mut elsewhere = login(Some("open sesame"));
    elsewhere.database = "nowhere".into();
    let unknown = connect(&target, &elsewhere).await.unwrap_err();
    assert_eq!(code(&unknown), "3D000");
    assert!(unknown.is_final());

    let mut required = target.clone();
    required.require_scram = true;
    connect(&required, &login(Some("open sesame"))).await.unwrap();
}

#[tokio::test]
async fn scram_with_the_keys_that_a_clients_login_has_shown() {
    let cluster = cluster().start().unwrap();
    let target = at(cluster.primary(), TlsMode::Disable);
    let stored =
        cluster.psql(0, "postgres", "select rolpassword from pg_authid where rolname = 'app'").unwrap();
    let secret = ScramSecret::parse(stored.trim()).unwrap();
    let keys = |salt: &[u8]| ScramKeys::derive(b"open sesame", salt, secret.iterations());

    let login = login(None);
    login.learn(keys(secret.salt()));
    answers(connect(&target, &login).await.unwrap(), "select 'in as ' || user", "in as app").await;

    login.learn(keys(b"another salt than the server's"));
    let error = connect(&target, &login).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoCredential { .. }), "{error}");
}

#[tokio::test]
async fn the_older_methods() {
    let certificate = Certificate::for_localhost();
    for (auth, plain_is_allowed) in [(Auth::Trust, true), (Auth::Md5, true), (Auth::Password, false)] {
        let server = cluster().auth(auth).tls(&certificate.certificate, &certificate.key).start().unwrap();
        let node = server.primary();
        let login = login(Some("open sesame"));

        let over_tls = connect(&at(node, TlsMode::Require), &login).await.unwrap();
        assert!(over_tls.stream.is_tls());
        answers(over_tls, "select 'in as ' || user", "in as app").await;

        let plain = connect(&at(node, TlsMode::Disable), &login).await;
        match plain {
            Ok(connected) => assert!(plain_is_allowed && !connected.stream.is_tls(), "{auth:?}"),
            Err(error) => {
                assert!(
                    !plain_is_allowed && matches!(error, ConnectError::Forbidden { .. }),
                    "{auth:?}: {error}"
                );
            }
        }

        let mut required = at(node, TlsMode::Require);
        required.require_scram = true;
        let error = connect(&required, &login).await.unwrap_err();
        assert!(matches!(error, ConnectError::Forbidden { .. }), "{auth:?}: {error}");

        let folder = node.socket_dir();
        let unix = target(folder.to_str().unwrap(), node.port(), TlsMode::Require);
        let connected = connect(&unix, &login).await.unwrap();
        assert!(connected.stream.is_unix() && connected.address.is_none());
    }
}

#[tokio::test]
async fn every_mode_against_a_server_with_tls() {
    let certificate = Certificate::for_localhost();
    let cluster = cluster().tls(&certificate.certificate, &certificate.key).start().unwrap();
    let node = cluster.primary();
    let login = login(Some("open sesame"));
    let modes = [
        (TlsMode::Disable, false),
        (TlsMode::Allow, false),
        (TlsMode::Prefer, true),
        (TlsMode::Require, true),
    ];
    for (mode, encrypted) in modes {
        let connected = connect(&at(node, mode), &login).await.unwrap();
        assert_eq!(connected.stream.is_tls(), encrypted, "{mode:?}");
        let sql = "select 'ssl ' || ssl from pg_stat_ssl where pid = pg_backend_pid()";
        answers(connected, sql, &format!("ssl {encrypted}")).await;
    }

    let verifying = |host: &str, mode, verify| {
        let mut target = target(host, node.port(), mode);
        target.tls = Some(certificate.trusted(verify));
        target
    };
    connect(&verifying("localhost", TlsMode::VerifyFull, Verify::Full), &login).await.unwrap();
    connect(&verifying("127.0.0.1", TlsMode::VerifyCa, Verify::Authority), &login).await.unwrap();
    let error =
        connect(&verifying("127.0.0.1", TlsMode::VerifyFull, Verify::Full), &login).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }) && error.is_final(), "{error}");
    let mut strangers = verifying("localhost", TlsMode::VerifyCa, Verify::Authority);
    strangers.tls = Some(Certificate::for_localhost().trusted(Verify::Authority));
    let error = connect(&strangers, &login).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn every_mode_against_a_server_without_tls() {
    let cluster = cluster().start().unwrap();
    let login = login(Some("open sesame"));
    for mode in [TlsMode::Disable, TlsMode::Allow, TlsMode::Prefer] {
        let connected = connect(&at(cluster.primary(), mode), &login).await.unwrap();
        assert!(!connected.stream.is_tls(), "{mode:?}");
    }
    let error = connect(&at(cluster.primary(), TlsMode::Require), &login).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoTls(_)) && error.is_final(), "{error}");
}

#[tokio::test]
async fn the_other_choice_of_tls_is_tried_where_the_server_wants_it() {
    let certificate = Certificate::for_localhost();
    let login = login(Some("open sesame"));
    let cases = [
        ("hostssl app all all reject", TlsMode::Prefer, TlsMode::Require, false),
        ("hostnossl app all all reject", TlsMode::Allow, TlsMode::Disable, true),
    ];
    for (rule, flexible, strict, encrypted) in cases {
        let cluster = cluster().hba(rule).tls(&certificate.certificate, &certificate.key).start().unwrap();
        let connected = connect(&at(cluster.primary(), flexible), &login).await.unwrap();
        assert_eq!(connected.stream.is_tls(), encrypted, "{rule}");
        let error = connect(&at(cluster.primary(), strict), &login).await.unwrap_err();
        assert_eq!(code(&error), "28000", "{rule}");
    }
}

#[tokio::test]
async fn scram_is_bound_to_the_tls_beneath_it() {
    let certificate = Certificate::for_localhost();
    let cluster = cluster().tls(&certificate.certificate, &certificate.key).start().unwrap();
    let login = login(Some("open sesame"));
    connect(&at(cluster.primary(), TlsMode::Require), &login).await.unwrap();

    // Someone between who speaks TLS to both sides, with a certificate of their own.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = target("127.0.0.1", listener.local_addr().unwrap().port(), TlsMode::Require);
    let relay = async {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).await.unwrap();
        client.write_all(b"S").await.unwrap();
        let own = Certificate::for_localhost().server();
        let mut client = Stream::from(client).accept_tls(&own).await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", cluster.primary().port())).await.unwrap();
        server.write_all(&request).await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'S');
        let tls = net::ClientTls::new(Verify::Nothing, None).unwrap();
        let mut server = Stream::from(server).connect_tls(&tls, "localhost").await.unwrap();
        // Ends when the login has failed and both have closed.
        drop(copy_bidirectional(&mut client, &mut server).await);
    };
    let (outcome, ()) = tokio::join!(connect(&between, &login), relay);
    let error = outcome.unwrap_err();
    assert_eq!(code(&error), "28000", "{error}");
    assert!(error.to_string().contains("channel binding"), "{error}");
}

#[tokio::test]
async fn a_cancel_stops_what_runs_over_every_transport() {
    let certificate = Certificate::for_localhost();
    let cluster = cluster().tls(&certificate.certificate, &certificate.key).start().unwrap();
    let node = cluster.primary();
    let folder = node.socket_dir();
    let targets = [
        at(node, TlsMode::Disable),
        at(node, TlsMode::Allow),
        at(node, TlsMode::Require),
        target(folder.to_str().unwrap(), node.port(), TlsMode::Disable),
    ];
    for target in targets {
        let mut connected = connect(&target, &login(Some("open sesame"))).await.unwrap();
        let sleeps = query(&mut connected.stream, "select pg_sleep(600)");
        let cancels = async {
            let mut watcher = connect(&target, &login(Some("open sesame"))).await.unwrap();
            let running = format!(
                "select 'running' from pg_stat_activity where pid = {} and wait_event = 'PgSleep'",
                connected.pid
            );
            while !query(&mut watcher.stream, &running).await.windows(7).any(|part| part == b"running") {
                tokio::task::yield_now().await;
            }
            send_cancel(&target, connected.address, connected.pid, b"none").await.unwrap();
            send_cancel(&target, connected.address, connected.pid, &connected.key).await.unwrap();
        };
        let (reply, ()) = tokio::join!(sleeps, cancels);
        assert!(reply.windows(5).any(|part| part == b"57014"), "{}", reply.escape_ascii());
    }
}

#[tokio::test]
async fn a_server_that_is_down_may_come_back() {
    let port = localpg::free_port().unwrap();
    let error = connect(&target("127.0.0.1", port, TlsMode::Prefer), &login(None)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }) && !error.is_final(), "{error}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    let target = target("127.0.0.1", port, TlsMode::Prefer);
    let error = send_cancel(&target, None, 1, b"keys").await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}
