//! After a client has logged in.

use pgweir_tests::{Cases, eventually};
use testkit::{Client, Script, first_error, tags};

use crate::peer::{MARKER, Peers};

pub(crate) async fn run(peers: &Peers, cases: &mut Cases) {
    cases.run("lengths that no message can have", lengths(peers)).await;
    cases.run("no memory for what a length claims", claims(peers)).await;
    cases.run("malformed messages stay here", malformed(peers)).await;
    cases.run("unknown messages", unknown(peers)).await;
    cases.run("more names than a client may have", many_names(peers)).await;
    cases.run("a text of 20 MB, and one of brackets alone", long_texts(peers)).await;
    cases.run("errors don't log literals", literals(peers)).await;
    cases.run("random bytes", noise(peers)).await;
    cases.run("others are served at last", peers.assert_serves()).await;
}

/// A message's head with that length.
fn head(tag: u8, length: i32) -> Vec<u8> {
    [&[tag][..], &length.to_be_bytes()].concat()
}

/// Postgres closes without a word; pgweir says why.
async fn lengths(peers: &Peers) {
    for tag in *b"QPBDECSHFXdcf" {
        for length in [3, 0, -1, i32::MIN, i32::MAX] {
            let mut client = peers.client().await;
            client.send(&[&head(tag, length)[..], MARKER.as_bytes()].concat()).await.unwrap();
            let answer = client.read_until_closed().await;
            let answer = answer.unwrap_or_else(|error| panic!("{} {length}: {error}", char::from(tag)));
            let error = first_error(&answer).unwrap_or_default();
            assert_eq!(
                (&*error.severity, &*error.code),
                ("FATAL", "08P01"),
                "{} {length}: {answer:?}",
                char::from(tag)
            );
        }
    }
    // Likewise in the middle of everything.
    let beginnings = [
        Script::new().query("SELECT 1"),
        Script::new().query("BEGIN").query("SELECT 1"),
        Script::new().run("SELECT 1", &[]),
        Script::new().run("SELECT 1", &[]).sync(),
        Script::new().run("SELECT 1/0", &[]),
    ];
    for beginning in beginnings {
        for length in [2, i32::MAX] {
            let mut client = peers.client().await;
            client
                .send(beginning.clone().raw(&head(b'P', length)).raw(MARKER.as_bytes()).bytes())
                .await
                .unwrap();
            let answer = client.read_until_closed().await;
            let answer = answer.unwrap_or_else(|error| panic!("behind {beginning:?} {length}: {error}"));
            let last = answer.last().and_then(testkit::Frame::server_error).unwrap_or_default();
            assert_eq!((&*last.severity, &*last.code), ("FATAL", "08P01"), "{answer:?}");
            assert!(answer.len() > 1, "what came before is answered: {answer:?}");
        }
    }
    // And in COPY, which is rolled back.
    let mut client = peers.client().await;
    client.query("CREATE TABLE IF NOT EXISTS copied (line text)").await.unwrap();
    client.send(Script::new().query("COPY copied FROM STDIN").bytes()).await.unwrap();
    client.read_until("CopyInResponse", |frame| frame.tag == b'G').await.unwrap();
    client.send(Script::new().copy_data(b"one\n").raw(&head(b'd', 1)).bytes()).await.unwrap();
    let answer = client.read_until_closed().await.unwrap();
    assert_eq!(first_error(&answer).unwrap_or_default().code, "08P01", "{answer:?}");
    assert_eq!(peers.client().await.value("SELECT count(*) FROM copied").await.unwrap(), "0");
}

/// Clients that announce much and send little.
async fn claims(peers: &Peers) {
    let before = resident(peers.pgweir.pid());
    let mut clients = Vec::new();
    let claims = [(b'Q', 15 << 20), (b'P', 15 << 20), (b'B', 15 << 20), (b'B', 900 << 20), (b'F', 15 << 20)];
    for (tag, length) in claims {
        for _ in 0..5 {
            let mut client = peers.client().await;
            client.send(&head(tag, length)).await.unwrap();
            client.send(b"SELECT").await.unwrap();
            clients.push(client);
        }
    }
    peers.assert_serves().await;
    let grown = resident(peers.pgweir.pid()).saturating_sub(before);
    assert!(grown < 50 << 20, "{grown} bytes for {} clients that sent nothing", clients.len());
}

/// Memory of a process, in bytes.
fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
}

/// The bodies of messages that can't be read, each with what must not be passed on.
fn malformed_messages() -> Vec<(u8, Vec<u8>)> {
    let with = |before: &[u8], after: &[u8]| [before, MARKER.as_bytes(), after].concat();
    vec![
        (b'Q', with(b"SELECT '", b"'")),
        (b'Q', with(b"SELECT 1\0", b"\0")),
        (b'P', with(b"", b"\0SELECT 1")),
        (b'P', with(b"", b"\0SELECT 1\0\0\x05\0\0\0\x17")),
        (b'P', with(b"", b"\0SELECT 1\0\0\0x")),
        (b'B', with(b"\0\0\0\0\0\x01\0\0\x10\0", b"\0\0")),
        (b'B', with(b"\0\0\0\0\0\x01\xff\xff\xff\xfe", b"\0\0")),
        (b'B', with(b"\0\0\0\0\0\x01\x7f\xff\xff\xff", b"\0\0")),
        (b'B', with(b"\0\0\0\x09\0\x01", b"")),
        (b'B', with(b"\0\0\0\0\0\x01\0\0\0\x01x\0\0", b"")),
        (b'B', with(b"", b"")),
        (b'D', with(b"X", b"\0")),
        (b'D', with(b"S", b"")),
        (b'C', with(b"P", b"\0x")),
        (b'E', with(b"", b"\0\0\0")),
        (b'S', with(b"", b"")),
        (b'H', with(b"", b"")),
    ]
}

/// The error is Postgres', the connection goes on, and in a transaction it fails the transaction.
async fn malformed(peers: &Peers) {
    for (tag, body) in malformed_messages() {
        let shown = format!("{} {}", char::from(tag), body.escape_ascii());
        let statement = Script::new().parse("", "SELECT $1::text", &[]);
        let script = if tag == b'B' { statement } else { Script::new() }.message(tag, &body);
        let script = if matches!(tag, b'Q' | b'S') { script } else { script.sync() };
        let (mut through, mut direct) = (peers.client().await, peers.direct_client().await);
        for begin in ["SELECT 1", "BEGIN"] {
            through.query(begin).await.unwrap();
            direct.query(begin).await.unwrap();
            through.send(script.bytes()).await.unwrap();
            direct.send(script.bytes()).await.unwrap();
            let (here, there) =
                (through.read_until_ready().await.unwrap(), direct.read_until_ready().await.unwrap());
            let told =
                |frames: &[testkit::Frame]| first_error(frames).map(|error| (error.code, error.message));
            let code = told(&here).map(|(code, _)| code);
            assert_eq!(code.as_deref(), Some("08P01"), "{shown}: {here:?}, not {there:?}");
            assert_eq!(tags(&here), tags(&there), "{shown}: {here:?}, not {there:?}");
            assert_eq!(here.last(), there.last(), "{shown}");
            let (here, there) =
                (through.query("SELECT 1").await.unwrap(), direct.query("SELECT 1").await.unwrap());
            assert_eq!(told(&here), told(&there), "{shown}, afterwards");
        }
    }
}

async fn unknown(peers: &Peers) {
    for tag in (0..=255_u8).filter(|tag| !b"QPBDECSHFXdcf".contains(tag)) {
        let mut client = peers.client().await;
        client.send(Script::new().message(tag, MARKER.as_bytes()).bytes()).await.unwrap();
        let answer = client.read_until_closed().await.unwrap();
        let error = first_error(&answer).unwrap_or_default();
        assert_eq!(
            error.to_string(),
            format!("FATAL 08P01: invalid frontend message type {tag}"),
            "{answer:?}"
        );
    }
}

async fn many_names(peers: &Peers) {
    let mut client = peers.client().await;
    let mut refused = None;
    for from in (0..100_000).step_by(500) {
        let names = from..from + 500;
        let script = names.fold(Script::new(), |script, i| script.parse(&format!("s{i}"), "SELECT 1", &[]));
        let answer = client.run(&script.sync()).await.unwrap();
        refused = first_error(&answer);
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("there is an end to it");
    assert_eq!(refused.code, "54000", "{refused}");
    assert!(refused.hint.is_some(), "{refused:?}");
    // What is there can still be used, and given back.
    let script = Script::new().bind("", "s0", &[]).execute("", 0).close_statement("s1");
    let answer = client.run(&script.parse("s1", "SELECT 2", &[]).sync()).await.unwrap();
    assert_eq!(tags(&answer), "2DC31Z");
}

async fn long_texts(peers: &Peers) {
    let mut client = peers.client().await;
    let text = format!("SELECT length('{}')", "x".repeat(20 << 20));
    assert_eq!(client.value(&text).await.unwrap(), (20 << 20).to_string());
    let brackets = format!("SELECT {}", "(".repeat(200_000));
    let answer = client.query(&brackets).await.unwrap();
    let direct = peers.direct_client().await.query(&brackets).await.unwrap();
    assert_eq!(first_error(&answer), first_error(&direct));
    assert_eq!(client.value("SELECT 1").await.unwrap(), "1");
}

async fn literals(peers: &Peers) {
    let mut client = peers.client().await;
    client.query("SELECT 'a literal of a client' / 0").await.unwrap();
    client.query("SELEC 'a literal of a client'").await.unwrap();
    let script = Script::new().run("SELECT $1::int", &[Some("a literal of a client")]).sync();
    client.run(&script).await.unwrap();
}

/// Bytes from a small generator, whole messages of them and not: the sessions may end, pgweir may not.
async fn noise(peers: &Peers) {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_be_bytes()[3]
    };
    for round in 0..150 {
        let mut client = peers.client().await;
        let mut script = Script::new();
        for _ in 0..8 {
            let tag = b"QPBDECSHFdcf"[usize::from(next()) % 12];
            let mut body: Vec<u8> =
                (0..next() % 40).map(|_| (next() % 8).wrapping_mul(next() % 40)).collect();
            if round % 3 == 0 {
                body.push(0);
            }
            script = script.message(tag, &body);
        }
        client.send(script.sync().terminate().bytes()).await.unwrap();
        client.read_until_closed().await.unwrap();
    }
    // They leave nothing behind.
    let mut direct: Client = peers.direct_client().await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND state <> 'idle' AND pid <> pg_backend_pid()";
    let none =
        eventually("transactions left open", async || direct.value(open).await.unwrap(), |open| open == "0")
            .await;
    none.unwrap();
}
