//! The frame-level client against real Postgres.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::time::Duration;

use pgweir_testkit::{
    Address, Auth, Certificates, Client, Cluster, ConnectOptions, Error, Script, Tls, first_error, normalize,
    rows, tags,
};

const USER: (&str, &str) = ("app", "it's s3cret");

fn cluster(auth: Auth) -> Cluster {
    Cluster::builder().auth(auth).databases(["app"]).users([USER]).start().unwrap()
}

fn to(address: impl Into<Address>) -> ConnectOptions {
    Client::to(address).user(USER.0, USER.1).database("app")
}

#[tokio::test]
async fn logs_in_by_every_method_over_tcp_and_unix() {
    for auth in [Auth::Trust, Auth::Md5, Auth::Password, Auth::ScramSha256] {
        let cluster = cluster(auth);
        let mut client = to(cluster.primary()).connect().await.unwrap();
        assert_eq!(client.value("select current_user").await.unwrap(), "app");
        assert_eq!(client.parameter("server_encoding").as_deref(), Some("UTF8"));
        assert_eq!(client.backend_key().unwrap().1.len(), 4);
        let mut local = to(Address::socket_of(cluster.primary())).connect().await.unwrap();
        assert_eq!(local.value("select inet_server_addr() is null").await.unwrap(), "t");
        client.close().await.unwrap();
        if auth != Auth::Trust {
            let wrong = Client::to(cluster.primary()).user("app", "wrong").database("app").connect().await;
            let refused = wrong.unwrap_err();
            assert!(matches!(&refused, Error::Server(error) if error.code == "28P01"), "{refused}");
        }
    }
}

#[tokio::test]
async fn tls_is_verified_by_our_authority_and_a_client_certificate_logs_in() {
    let certificates = Certificates::generate().unwrap();
    let other = Certificates::generate().unwrap();
    let builder = Cluster::builder().databases(["app"]).users([USER]);
    let builder = builder.tls(certificates.server_certificate(), certificates.server_key());
    let builder = builder.client_ca(certificates.authority()).hba("hostssl app app 127.0.0.1/32 cert");
    let cluster = builder.start().unwrap();
    let with = |tls| Client::to(cluster.primary()).parameter("user", "app").database("app").tls(tls);
    let mut client = with(Tls::with_client_certificate(&certificates)).connect().await.unwrap();
    assert_eq!(client.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()").await.unwrap(), "t");
    let without = with(Tls::AcceptAny).connect().await.unwrap_err();
    assert!(matches!(without, Error::Server(_) | Error::Io { .. }), "{without}");
    let stranger = with(Tls::verify(&other)).connect().await.unwrap_err();
    assert!(matches!(stranger, Error::Io { .. }), "{stranger}");
}

#[tokio::test]
async fn pipelines_errors_and_copy() {
    let cluster = cluster(Auth::ScramSha256);
    let mut client = to(cluster.primary()).connect().await.unwrap();
    let script = Script::new()
        .run("select $1::int + 1", &[Some("41")])
        .sync()
        .run("select 1/0", &[])
        .run("select 2", &[])
        .sync()
        .query("create temp table t (n int)");
    let frames = client.run(&script).await.unwrap();
    assert_eq!(tags(&frames), "12TDCZ1EZCZ");
    assert_eq!(rows(&frames), [[Some("42".to_owned())]]);
    assert_eq!(first_error(&frames).unwrap().code, "22012");

    client.send(Script::new().query("copy t from stdin").bytes()).await.unwrap();
    client.read_until("CopyInResponse", |frame| frame.tag == b'G').await.unwrap();
    client.send(Script::new().copy_data(b"1\n2\n").copy_done().bytes()).await.unwrap();
    let copied = client.read_until_ready().await.unwrap();
    assert_eq!(copied[0].command_tag().unwrap(), "COPY 2");
    client.send(Script::new().query("copy t from stdin").copy_fail("no").bytes()).await.unwrap();
    assert_eq!(first_error(&client.read_until_ready().await.unwrap()).unwrap().code, "57014");

    // int4pl(int4, int4)
    let called = client.run(&Script::new().function_call(177, &[Some("3"), Some("4")])).await.unwrap();
    assert_eq!((tags(&called).as_str(), called[0].body.as_slice()), ("VZ", &b"\0\0\0\x017"[..]));
}

#[tokio::test]
async fn two_connections_are_the_same_once_normalized() {
    let cluster = cluster(Auth::ScramSha256);
    let (mut one, mut two) =
        (to(cluster.primary()).connect().await.unwrap(), to(cluster.primary()).connect().await.unwrap());
    assert_ne!(one.startup(), two.startup());
    let session =
        |client: &Client| normalize(client.startup().iter().filter(|f| f.tag != b'R').cloned().collect());
    assert_eq!(session(&one), session(&two));
    let script = Script::new().query("listen a").query("notify a, 'x'").run("select 1", &[]).sync();
    let (one, two) = (one.run(&script).await.unwrap(), two.run(&script).await.unwrap());
    assert_ne!(one, two);
    assert_eq!(normalize(one), normalize(two));
}

#[tokio::test]
async fn a_cancel_stops_the_query() {
    let cluster = cluster(Auth::ScramSha256);
    let mut client = to(cluster.primary()).connect().await.unwrap();
    let mut watcher = to(cluster.primary()).connect().await.unwrap();
    client.send(Script::new().query("select pg_sleep(600)").bytes()).await.unwrap();
    let sleeps =
        "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";
    while watcher.value(sleeps).await.unwrap() != "1" {}
    client.cancel().await.unwrap();
    assert_eq!(first_error(&client.read_until_ready().await.unwrap()).unwrap().code, "57014");
}

#[tokio::test]
async fn silence_and_closing_are_clear_errors() {
    let cluster = cluster(Auth::Trust);
    let mut client = to(cluster.primary()).deadline(Duration::from_millis(200)).connect().await.unwrap();
    client.send(Script::new().run("select 1", &[]).flush().bytes()).await.unwrap();
    let late = client.read_until_ready().await.unwrap_err().to_string();
    assert!(late.contains("no ReadyForQuery within 200ms") && late.contains("SELECT 1"), "{late}");
    let (frames, closed) = client.read_while_available(Duration::from_millis(50)).await;
    assert!(frames.is_empty() && !closed);
    client.send(Script::new().sync().terminate().bytes()).await.unwrap();
    client.read_until_ready().await.unwrap();
    let closed = client.read_frame().await.unwrap_err();
    assert!(matches!(closed, Error::Closed { .. }), "{closed}");
}
