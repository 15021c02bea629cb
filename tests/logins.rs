//! Who is let in, by which proof, and what everybody else is told.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use pgweir_tests::Cases;
use pgweir_tests::world::World;
use testkit::{Certificates, Client, Cluster, Error, Pgweir, ServerError, Setup, Tls, first_error};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_are_let_in_who_prove_who_they_are() {
    let lines = ["host all legacy 127.0.0.1/32 md5", "host all other 127.0.0.1/32 password"];
    let builder = lines.into_iter().fold(Cluster::builder(), testkit::Builder::hba);
    let world = World::start_with(builder);
    let legacy = "set password_encryption = 'md5'; create role legacy login password 'legacy-secret'";
    world.cluster.psql(0, "app", legacy).unwrap();
    let mut cases = Cases::new();
    cases.run("a wrong password and an unknown user are told the same", wrong_password(&world)).await;
    cases.run("an unknown database", unknown_database(&world)).await;
    cases.run("TLS required", tls_required(&world)).await;
    cases.run("TLS offered", tls_offered(&world)).await;
    cases.run("trust", trust(&world)).await;
    cases.run("MD5 with each kind of secret", md5(&world)).await;
    cases.run("SCRAM with each kind of secret", scram(&world)).await;
    cases.run("a SCRAM secret alone logs in at the server too", pass_through(&world)).await;
    cases.run("a server that asks for MD5", server_md5(&world)).await;
    cases.run("a server that refuses pgweir's password", refused_by_the_server(&world)).await;
    cases.run("another user on the server", server_user(&world)).await;
    cases.run("rules: the first match wins", rules(&world)).await;
    cases.run("the console is for its users", console(&world)).await;
    cases.run("no secret is in the log", no_secrets(&world)).await;
    cases.finish();
}

fn to(pgweir: &Pgweir, user: &str, password: &str) -> testkit::ConnectOptions {
    Client::to(pgweir.addr()).user(user, password).database("app")
}

async fn refused(pgweir: &Pgweir, user: &str, password: &str) -> ServerError {
    match to(pgweir, user, password).connect().await {
        Err(Error::Server(error)) => error,
        Err(other) => panic!("{user}: {other}"),
        Ok(_) => panic!("{user} was let in"),
    }
}

/// Logs in and is served.
async fn served(pgweir: &Pgweir, user: &str, password: &str) {
    let client = to(pgweir, user, password).connect().await;
    let mut client = client.unwrap_or_else(|error| panic!("{user}: {error}\n{}", pgweir.log()));
    assert_eq!(client.value("select session_user").await.unwrap(), user);
}

/// The codes of the authentication requests that a login was sent, in their order.
async fn asked(pgweir: &Pgweir, user: &str, password: &str) -> Vec<u8> {
    let client = to(pgweir, user, password).connect().await.unwrap();
    client.startup().iter().filter(|frame| frame.tag == b'R').map(|frame| frame.body[3]).collect()
}

/// The secret that the server stores.
fn stored(world: &World, user: &str) -> String {
    let sql = format!("select rolpassword from pg_authid where rolname = '{user}'");
    world.cluster.psql(0, "app", &sql).unwrap()
}

async fn wrong_password(world: &World) {
    for method in ["scram-sha-256", "md5"] {
        let pgweir = world.pgweir(world.setup().set("auth.method", method)).await;
        let wrong = refused(&pgweir, "app", "wrong").await;
        assert_eq!((wrong.severity.as_str(), wrong.code.as_str()), ("FATAL", "28P01"), "{wrong:?}");
        let unknown = refused(&pgweir, "nobody", "wrong").await;
        assert_eq!(unknown.message.replace("nobody", "app"), wrong.message);
        assert_eq!((unknown.code, unknown.detail, unknown.hint), (wrong.code, wrong.detail, wrong.hint));
        assert_eq!(refused(&pgweir, "app", "").await.code, "28P01");
        assert_eq!(world.direct().await.count().await, 0, "a server was asked");
        served(&pgweir, "app", "app-secret").await;
    }
}

async fn unknown_database(world: &World) {
    let pgweir = world.pgweir(world.setup()).await;
    let error = pgweir.client("app", "nowhere").connect().await.unwrap_err();
    let Error::Server(error) = error else { panic!("{error}") };
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", "3D000"));
    assert_eq!(error.message, "database \"nowhere\" does not exist");
    // Who isn't logged in isn't told which databases there are.
    let client = Client::to(pgweir.addr()).user("app", "wrong").database("nowhere");
    assert!(client.connect().await.unwrap_err().to_string().contains("28P01"));
}

async fn tls_required(world: &World) {
    let certificates = Certificates::generate().unwrap();
    let pgweir = world.pgweir(world.setup().tls(&certificates, "require")).await;
    let mut plain = Client::open(pgweir.addr()).await.unwrap();
    let parameters = b"user\0app\0database\0app\0\0";
    let length = u32::try_from(8 + parameters.len()).unwrap().to_be_bytes();
    plain.send(&[&length[..], b"\0\x03\0\0", parameters].concat()).await.unwrap();
    let frames = plain.read_until_closed().await.unwrap();
    assert_eq!(testkit::tags(&frames), "E", "a password was asked for: {frames:?}");
    assert_eq!(first_error(&frames).unwrap().code, "28000");
    let config = certificates.client_config(false);
    let mut client = to(&pgweir, "app", "app-secret").tls(Tls::With(config)).connect().await.unwrap();
    assert_eq!(client.value("select 1").await.unwrap(), "1");
}

async fn tls_offered(world: &World) {
    let certificates = Certificates::generate().unwrap();
    let pgweir = world.pgweir(world.setup().tls(&certificates, "prefer")).await;
    served(&pgweir, "app", "app-secret").await;
    let direct = Tls::Direct(certificates.client_config(false));
    for tls in [Tls::AcceptAny, Tls::With(certificates.client_config(false)), direct] {
        let mut client = to(&pgweir, "app", "app-secret").tls(tls).connect().await.unwrap();
        let long = "select repeat('x', 300000)";
        assert_eq!(client.value(long).await.unwrap().len(), 300_000);
        // Cancelled over TLS as well.
        client.cancel().await.unwrap();
        assert_eq!(client.value("select 1").await.unwrap(), "1");
    }
}

async fn trust(world: &World) {
    let pgweir = world.pgweir(world.setup().set("auth.method", "trust")).await;
    served(&pgweir, "app", "anything").await;
    assert_eq!(asked(&pgweir, "app", "").await, [0]);
}

/// In a `Setup`, with the password to be used at the server beside it.
fn with_secret(setup: Setup, user: &str, secret: &str, server: &str) -> Setup {
    setup.set(
        &format!("users.{user}"),
        &format!("{{password: \"{secret}\", server: {{password: \"{server}\"}}}}"),
    )
}

fn md5_secret(user: &str, password: &str) -> String {
    wire::md5::stored(user.as_bytes(), password.as_bytes())
}

async fn md5(world: &World) {
    let setup = || world.setup().set("auth.method", "md5");
    let pgweir = world.pgweir(setup()).await;
    assert_eq!(asked(&pgweir, "app", "app-secret").await, [5, 0]);
    let secret = md5_secret("app", "app-secret");
    let pgweir = world.pgweir(with_secret(setup(), "app", &secret, "app-secret")).await;
    assert_eq!(asked(&pgweir, "app", "app-secret").await, [5, 0]);
    assert_eq!(refused(&pgweir, "app", &secret).await.code, "28P01", "the secret itself was taken");
    // With a SCRAM secret it is SCRAM.
    let pgweir = world.pgweir(with_secret(setup(), "app", &stored(world, "app"), "app-secret")).await;
    assert_eq!(asked(&pgweir, "app", "app-secret").await, [10, 11, 12, 0]);
    assert_eq!(refused(&pgweir, "app", "wrong").await.code, "28P01");
}

async fn scram(world: &World) {
    let pgweir = world.pgweir(world.setup()).await;
    assert_eq!(asked(&pgweir, "app", "app-secret").await, [10, 11, 12, 0]);
    let pgweir = world.pgweir(with_secret(world.setup(), "app", &stored(world, "app"), "app-secret")).await;
    assert_eq!(asked(&pgweir, "app", "app-secret").await, [10, 11, 12, 0]);
    assert_eq!(refused(&pgweir, "app", "wrong").await.code, "28P01");
    // An MD5 secret proves nothing by SCRAM; the client isn't told why.
    let pgweir =
        world.pgweir(with_secret(world.setup(), "app", &md5_secret("app", "app-secret"), "app-secret")).await;
    let error = refused(&pgweir, "app", "app-secret").await;
    assert_eq!(error.message, "password authentication failed for user \"app\"");
}

/// pgweir knows no password: the key that the client's login showed logs in at the server.
async fn pass_through(world: &World) {
    let setup = world.setup().user("app", &stored(world, "app"));
    let pgweir = world.pgweir(setup).await;
    served(&pgweir, "app", "app-secret").await;
    assert_eq!(refused(&pgweir, "app", "wrong").await.code, "28P01");
    served(&pgweir, "app", "app-secret").await;
    // From a users file likewise.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("userlist.txt");
    std::fs::write(&path, format!("\"app\" \"{}\"\n", stored(world, "app"))).unwrap();
    let setup = world.setup().set("users", "{admin: {password: admin-password}}");
    let setup = setup.set("auth.users_file", &format!("\"{}\"", path.display()));
    served(&world.pgweir(setup).await, "app", "app-secret").await;
}

async fn server_md5(world: &World) {
    let pgweir = world.pgweir(world.setup().user("legacy", "legacy-secret")).await;
    served(&pgweir, "legacy", "legacy-secret").await;
}

async fn refused_by_the_server(world: &World) {
    let pgweir = world.pgweir(with_secret(world.setup(), "app", "mine", "not-the-servers")).await;
    let error = refused(&pgweir, "app", "mine").await;
    assert_eq!((error.severity.as_str(), error.code.as_str()), ("FATAL", "28P01"), "{error:?}");
    // It says whose password was wrong.
    let words = format!("{} {}", error.message, error.detail.unwrap_or_default());
    assert!(words.contains("server"), "{words}");
}

async fn server_user(world: &World) {
    let setup = world.setup().user("tenant", "tenant-secret");
    let setup = setup.set("users.tenant.server", "{user: app, password: app-secret}");
    let pgweir = world.pgweir(setup).await;
    let mut client = to(&pgweir, "tenant", "tenant-secret").connect().await.unwrap();
    assert_eq!(client.value("select session_user").await.unwrap(), "app");
}

async fn rules(world: &World) {
    let setup = world.setup().set(
        "auth.rules",
        "[{users: [app], databases: [second], method: reject}, {users: [app], method: trust}, \
          {from: [10.0.0.0/8], method: trust}, {users: [other], method: md5}]",
    );
    let pgweir = world.pgweir(setup).await;
    let client = Client::to(pgweir.addr()).user("app", "app-secret").database("second");
    let error = client.connect().await.unwrap_err().to_string();
    assert!(error.contains("28000") && error.contains("rejected"), "{error}");
    assert_eq!(asked(&pgweir, "app", "").await, [0]);
    let client = to(&pgweir, "other", "wrong").connect().await.unwrap_err().to_string();
    assert!(client.contains("28P01"), "{client}");
    // No rule matches: the general method.
    let error = refused(&pgweir, "nobody", "").await;
    assert_eq!(error.code, "28P01");
}

async fn console(world: &World) {
    let pgweir = world.pgweir(world.setup()).await;
    for database in ["pgweir", "pgbouncer"] {
        let error = pgweir.client("app", database).connect().await.unwrap_err().to_string();
        assert!(error.contains("42501"), "{error}");
        let admin =
            pgweir.client(testkit::ADMIN, database).connect().await.unwrap().query("SHOW VERSION").await;
        assert_eq!(testkit::rows(&admin.unwrap()).len(), 1);
    }
}

async fn no_secrets(world: &World) {
    let pgweir = world.pgweir(world.setup()).await;
    served(&pgweir, "app", "app-secret").await;
    refused(&pgweir, "app", "a-wrong-one").await;
    let mut client = to(&pgweir, "app", "app-secret").connect().await.unwrap();
    client.query("select 'a-literal' / 0").await.unwrap();
    client.query("alter role app password 'app-secret'").await.unwrap();
    let log = pgweir.log();
    for secret in ["app-secret", "a-wrong-one", "a-literal", "admin-password", "SCRAM-SHA-256$"] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
    assert!(log.contains("app"), "nothing was logged:\n{log}");
}
