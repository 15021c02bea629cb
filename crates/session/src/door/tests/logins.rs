//! Every method, with right, wrong and missing secrets.

use std::net::SocketAddr;
use std::path::Path;

use config::Config;
use net::{Peer, Stream};
use tokio::io::AsyncWriteExt;
use wire::scram::{ClientBinding, ScramSecret};
use wire::{encode, md5, tag};

use super::client::{Answer, Client, connection, server_tls};
use crate::door::io::farewell;
use crate::door::login::{Claim, authenticate};
use crate::door::secrets::Secrets;

/// Users of every kind; `method` holds for all of them.
fn config(method: &str) -> Config {
    let scram = ScramSecret::from_password(b"stored", b"0123456789abcdef", 64).to_text();
    let hashed = md5::stored(b"hashed", b"old");
    let yaml = format!(
        "databases: {{app: {{cluster: main}}}}\n\
         clusters: {{main: {{nodes: {{one: {{host: 127.0.0.1}}}}}}}}\n\
         auth: {{method: {method}}}\n\
         users:\n\
        \x20 plain: {{passwords: [first, second]}}\n\
        \x20 stored: {{password: '{scram}'}}\n\
        \x20 mixed: {{passwords: [new, '{scram}']}}\n\
        \x20 hashed: {{password: {hashed}}}\n\
        \x20 nothing: {{pool: {{size: 1}}}}\n"
    );
    config::parse_yaml(&yaml, "test.yaml", &|_| None, Path::new(".")).unwrap()
}

/// The server's part, up to where AuthenticationOk would come. Whether it gave keys.
async fn serve(mut stream: Stream, config: &Config, secrets: &Secrets, user: &str) -> Option<bool> {
    let peer = Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 1)));
    let claim = Claim { user, database: "app", peer };
    match authenticate(&mut stream, Vec::new(), claim, config, secrets).await {
        Ok(keys) => {
            let mut ok = Vec::new();
            encode::authentication_ok(&mut ok);
            stream.write_all(&ok).await.unwrap();
            stream.flush().await.unwrap();
            Some(keys.is_some())
        }
        Err(refusal) => {
            let report = refusal.report()?;
            farewell(stream, &report).await;
            None
        }
    }
}

async fn log_in(config: &Config, secrets: &Secrets, user: &str, password: &str) -> Answer {
    let (mut client, server) = connection().await;
    let talk = async move { client.log_in(user, password).await };
    tokio::join!(talk, serve(server, config, secrets, user)).0
}

fn wrong(user: &str) -> Answer {
    Answer::Refused("28P01".to_owned(), format!("password authentication failed for user \"{user}\""))
}

#[tokio::test]
async fn scram_takes_every_secret_but_md5() {
    let (config, secrets) = (config("scram-sha-256"), Secrets::new());
    let right = [
        ("plain", "first"),
        ("plain", "second"),
        ("stored", "stored"),
        ("mixed", "new"),
        ("mixed", "stored"),
    ];
    for (user, password) in right {
        assert_eq!(log_in(&config, &secrets, user, password).await, Answer::Proved, "{user} {password}");
    }
    for (user, password) in [
        ("plain", "third"),
        ("stored", "first"),
        ("mixed", "first"),
        ("hashed", "old"),
        ("nothing", ""),
        ("nobody", "first"),
    ] {
        assert_eq!(log_in(&config, &secrets, user, password).await, wrong(user), "{user} {password}");
    }
}

#[tokio::test]
async fn md5_takes_plain_and_md5_secrets_and_scram_ones_as_what_they_are() {
    let (config, secrets) = (config("md5"), Secrets::new());
    for (user, password) in
        [("plain", "first"), ("plain", "second"), ("hashed", "old"), ("mixed", "new"), ("stored", "stored")]
    {
        assert_eq!(log_in(&config, &secrets, user, password).await, Answer::Proved, "{user} {password}");
    }
    for (user, password) in
        [("plain", "x"), ("hashed", "x"), ("stored", "x"), ("nothing", ""), ("nobody", "x")]
    {
        assert_eq!(log_in(&config, &secrets, user, password).await, wrong(user), "{user} {password}");
    }
}

#[tokio::test]
async fn trust_asks_nothing_and_reject_refuses_all() {
    let secrets = Secrets::new();
    for (method, known, expected) in
        [("trust", "plain", true), ("trust", "nobody", true), ("reject", "plain", false)]
    {
        let config = config(method);
        let (mut client, server) = connection().await;
        let (answer, _) = tokio::join!(client.end(), serve(server, &config, &secrets, known));
        match answer {
            Answer::Refused(code, _) => assert_eq!((code.as_str(), expected), ("28000", false)),
            answer => assert_eq!((answer, expected), (Answer::Proved, true)),
        }
    }
}

#[tokio::test]
async fn over_tls_scram_is_bound_to_the_certificate() {
    let (tls, config, secrets) = (server_tls(), config("scram-sha-256"), Secrets::new());
    for (binding, expected) in [
        (None, Answer::Proved),
        (Some(ClientBinding::Unsupported), Answer::Proved),
        // The client says that -PLUS was not offered, and it was.
        (
            Some(ClientBinding::NotOffered),
            Answer::Refused("28000".to_owned(), "SCRAM channel binding negotiation error".to_owned()),
        ),
        (
            Some(ClientBinding::TlsServerEndPoint(vec![0; 32])),
            Answer::Refused("28000".to_owned(), "SCRAM channel binding check failed".to_owned()),
        ),
    ] {
        let (client, server) = connection().await;
        let talk = async {
            let mut client = client.tls("localhost").await;
            match binding.clone() {
                None => client.log_in("plain", "first").await,
                Some(binding) => {
                    let (kind, body) = client.message().await.unwrap();
                    assert_eq!(kind, tag::AUTHENTICATION);
                    assert!(body.windows(18).any(|name| name == b"SCRAM-SHA-256-PLUS"));
                    client.scram(binding, "first").await
                }
            }
        };
        let serving =
            async { serve(server.accept_tls(&tls).await.unwrap(), &config, &secrets, "plain").await };
        assert_eq!(tokio::join!(talk, serving).0, expected, "{binding:?}");
    }
}

#[tokio::test]
async fn a_proof_gives_keys_where_no_password_is_known() {
    let secrets = Secrets::new();
    for (method, user, password, keys) in [
        ("scram-sha-256", "stored", "stored", true),
        ("md5", "stored", "stored", true),
        ("scram-sha-256", "mixed", "stored", false),
        ("scram-sha-256", "plain", "first", false),
        ("md5", "hashed", "old", false),
        ("trust", "stored", "", false),
    ] {
        let config = config(method);
        let (mut client, server) = connection().await;
        let talk = async {
            if method == "trust" { client.end().await } else { client.log_in(user, password).await }
        };
        let (answer, given) = tokio::join!(talk, serve(server, &config, &secrets, user));
        assert_eq!((answer, given), (Answer::Proved, Some(keys)), "{method} {user}");
    }
}

/// What the client is told if it answers the first question with these bytes.
async fn answered(bytes: &[u8]) -> Answer {
    let (config, secrets) = (config("scram-sha-256"), Secrets::new());
    let (mut client, server) = connection().await;
    let talk = async {
        client.message().await.unwrap();
        client.send(bytes).await;
        let Client(stream) = &mut client;
        stream.shutdown().await.unwrap();
        client.end().await
    };
    tokio::join!(talk, serve(server, &config, &secrets, "stored")).0
}

#[tokio::test]
async fn only_an_answer_is_an_answer() {
    let mut startup = Vec::new();
    encode::startup_message(&mut startup, [("user", "ann")], 0).unwrap();
    let mut initial = Vec::new();
    encode::sasl_initial(&mut initial, "SCRAM-SHA-1", b"n,,n=,r=abc").unwrap();
    for bytes in [
        b"Q\0\0\0\x0dSELECT 1\0".as_slice(),
        b"d\0\0\0\x04",
        &startup,
        b"p\0\0\0\x03",
        b"p\xff\xff\xff\xff",
        b"p\x7f\xff\xff\xff",
        b"p\0\x01\0\x04",
        b"p\0\0\0\x05x",
        &initial,
    ] {
        let answer = answered(bytes).await;
        assert!(matches!(&answer, Answer::Refused(code, _) if code == "08P01"), "{bytes:?}: {answer:?}");
    }
    assert_eq!(answered(b"").await, Answer::Closed);
    assert_eq!(answered(b"p\0\0\xff\xff and no more").await, Answer::Closed);
}

#[tokio::test]
async fn a_client_may_wait_to_be_asked_for_its_first_message() {
    let (config, secrets) = (config("scram-sha-256"), Secrets::new());
    let (mut client, server) = connection().await;
    let talk = async {
        client.message().await.unwrap();
        client.send(b"p\0\0\0\x16SCRAM-SHA-256\0\xff\xff\xff\xff").await;
        assert_eq!(client.message().await.unwrap().1, 11_i32.to_be_bytes());
        client.send(b"p\0\0\0\x0fn,,n=,r=abc").await;
        let (_, body) = client.message().await.unwrap();
        assert!(body[4..].starts_with(b"r=abc"));
        client.0.shutdown().await.unwrap();
    };
    tokio::join!(talk, serve(server, &config, &secrets, "stored"));
}

#[tokio::test]
async fn salts_stay_and_tell_nothing() {
    let (config, secrets) = (config("scram-sha-256"), Secrets::new());
    let mut salts = Vec::new();
    for user in ["plain", "plain", "nobody", "nobody", "hashed"] {
        let (mut client, server) = connection().await;
        let talk = async {
            client.message().await.unwrap();
            client.send(b"p\0\0\0\x21SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc").await;
            let (_, body) = client.message().await.unwrap();
            client.0.shutdown().await.unwrap();
            let text = String::from_utf8(body[4..].to_vec()).unwrap();
            text.split_once(",s=").unwrap().1.to_owned()
        };
        salts.push(tokio::join!(talk, serve(server, &config, &secrets, user)).0);
    }
    assert_eq!(salts[0], salts[1]);
    assert_eq!(salts[2], salts[3]);
    assert_ne!(salts[0], salts[2]);
    assert_ne!(salts[2], salts[4]);
    assert!(salts.iter().all(|salt| salt.len() == salts[0].len() && salt.ends_with(",i=4096")));
}

#[tokio::test]
async fn a_changed_password_counts_at_once() {
    let secrets = Secrets::new();
    let before = config("scram-sha-256");
    secrets.warm(&before.users).await;
    let mut after = before.clone();
    let second = before.users["plain"].passwords[1].clone();
    after.users.get_mut("plain").unwrap().passwords = vec![second];
    assert_eq!(log_in(&before, &secrets, "plain", "first").await, Answer::Proved);
    assert_eq!(log_in(&after, &secrets, "plain", "first").await, wrong("plain"));
    assert_eq!(log_in(&after, &secrets, "plain", "second").await, Answer::Proved);
    after.users.clear();
    secrets.warm(&after.users).await;
    assert_eq!(log_in(&after, &secrets, "plain", "second").await, wrong("plain"));
}
