//! Before a client has proved who it is.

use std::sync::Arc;
use std::time::Duration;

use pgweir_tests::Cases;
use testkit::{Client, Script, Tls, tags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::peer::{GSS_REQUEST, MARKER, Peers, SSL_REQUEST, of_app, say, startup};

pub(crate) async fn run(peers: &Peers, cases: &mut Cases) {
    cases.run("startup packets of length 0 to 7 and huge ones are closed", lengths(peers)).await;
    cases.run("startup packets that aren't laid out as such", layouts(peers)).await;
    cases.run("empty option names", options(peers)).await;
    cases.run("one byte at a time", slowly(peers)).await;
    cases.run("plain bytes behind SSLRequest", behind_ssl_request(peers)).await;
    cases.run("encryption asked for again", asked_again(peers)).await;
    cases.run("a second startup packet during authentication", second_startup(peers)).await;
    cases.run("direct TLS without ALPN, or with another one", direct_tls(peers)).await;
    cases.run("TLS is required", tls_required(peers)).await;
    cases.run("SCRAM messages that are none", scram(peers)).await;
    cases.run("a nonce of a megabyte", long_nonce(peers)).await;
    cases.run("unknown user and wrong password", unknown_user(peers)).await;
    cases.run("a query before authentication", query_first(peers)).await;
    cases.run("names that aren't text", names(peers)).await;
    cases.run("cancels with wrong keys", cancels(peers)).await;
    cases.run("the console is for its users", console(peers)).await;
    cases.run("others are served", peers.assert_serves()).await;
}

async fn lengths(peers: &Peers) {
    for length in [0, 1, 2, 3, 4, 5, 6, 7, 10_001, 100_000, i32::MAX, -1, i32::MIN] {
        let packet = [&length.to_be_bytes()[..], &[0, 3, 0, 0], b"user\0app\0\0"].concat();
        let (through, direct) =
            (say(peers.pgweir.addr(), &[(&packet, 0)]).await, say(peers.direct(), &[(&packet, 0)]).await);
        assert_eq!(through.code(0).is_some(), direct.code(0).is_some(), "{length}: {through:?} {direct:?}");
    }
}

/// Startup packets of which Postgres says the same.
async fn layouts(peers: &Peers) {
    let bodies: [&[u8]; 7] = [
        b"user\0app\0database\0app\0",
        b"user\0app\0database\0app",
        b"user\0app\0database\0\0\0",
        b"user\0app\0odd\0\0",
        b"database\0app\0\0",
        b"user\0\0database\0app\0\0",
        b"",
    ];
    for body in bodies {
        let packet = startup(body);
        let (through, direct) =
            (say(peers.pgweir.addr(), &[(&packet, 0)]).await, say(peers.direct(), &[(&packet, 0)]).await);
        // Where Postgres goes on to ask for a password, so does pgweir, until its login timeout.
        let asks = direct.frames(0).first().is_some_and(|frame| frame.tag == b'R');
        if asks {
            assert_eq!(
                tags(&through.frames(0)).chars().next(),
                Some('R'),
                "{body:?}: {:?}",
                through.frames(0)
            );
        } else {
            assert_eq!(through.error(0), direct.error(0), "{body:?}");
        }
    }
    // Postgres answers these in the form of protocol 2.
    for version in [[0, 2, 0, 0], [0, 4, 0, 0], [0xff; 4]] {
        let packet = [&17_u32.to_be_bytes()[..], &version, b"user\0ab\0\0"].concat();
        let answer = say(peers.pgweir.addr(), &[(&packet, 0)]).await;
        assert_eq!(answer.code(0).as_deref(), Some("0A000"), "{version:?}: {answer:?}");
    }
}

async fn options(peers: &Peers) {
    for options in ["-c=", "-c =1", "--=", "-c", "-Z", "-c work_mem"] {
        let body = format!("user\0app\0database\0app\0options\0{options}\0\0");
        let answer = say(peers.pgweir.addr(), &[(&startup(body.as_bytes()), 0)]).await;
        let (severity, code, _) = answer.error(0).unwrap_or_default();
        assert_eq!(severity, "FATAL", "{options}: {:?}", answer.frames(0));
        let malformed = options.contains('=');
        assert!(!malformed || code == "08P01", "{options}: {:?}", answer.frames(0));
    }
}

/// A client that sends a byte now and then is sent away; others get in meanwhile.
async fn slowly(peers: &Peers) {
    let mut stream = TcpStream::connect(peers.pgweir.addr()).await.unwrap();
    let mut answer = Vec::new();
    for byte in of_app().iter().cycle().take(20).chain(&[0; 200]) {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        let wait = Duration::from_millis(100);
        match tokio::time::timeout(wait, stream.read_buf(&mut answer)).await {
            Err(_) => peers.assert_serves().await,
            Ok(Ok(1..)) => {}
            Ok(_) => return,
        }
    }
    panic!("it was never closed");
}

async fn behind_ssl_request(peers: &Peers) {
    let bytes = [&SSL_REQUEST[..], &of_app()].concat();
    let answer = say(peers.pgweir.addr(), &[(&bytes, 0)]).await;
    assert_eq!(answer.code(0).as_deref(), Some("08P01"), "{answer:?}");
    // So are those behind one that comes in pieces.
    let answer = say(peers.pgweir.addr(), &[(&SSL_REQUEST[..5], 0), (&bytes[5..], 0)]).await;
    assert_eq!(answer.code(0).as_deref(), Some("08P01"), "{answer:?}");
}

async fn asked_again(peers: &Peers) {
    // GSSENCRequest is answered N; then it may not come again, but SSLRequest may.
    let (again, other) = (
        [(&GSS_REQUEST[..], 1), (&GSS_REQUEST[..], 0)],
        [(&GSS_REQUEST[..], 1), (&SSL_REQUEST[..], 1), (b"\0\0\0\0" as &[u8], 0)],
    );
    let through = say(peers.pgweir.addr(), &again).await;
    assert_eq!(through.bytes.first(), Some(&b'N'));
    assert_eq!(through.code(1).as_deref(), Some("0A000"));
    let through = say(peers.pgweir.addr(), &other).await;
    assert_eq!(through.bytes.get(..2), Some(&b"NS"[..]), "{through:?}");
    // A second SSLRequest is no handshake.
    let through = say(peers.pgweir.addr(), &[(&SSL_REQUEST, 1), (&SSL_REQUEST, 0)]).await;
    assert_eq!(through.bytes.first(), Some(&b'S'));
    assert!(through.frames(1).iter().all(|frame| frame.tag != b'R'), "{through:?}");
}

async fn second_startup(peers: &Peers) {
    let twice = [(&*of_app(), 9), (&*of_app(), 0)];
    let (through, direct) = (say(peers.pgweir.addr(), &twice).await, say(peers.direct(), &twice).await);
    assert_eq!(tags(&through.frames(0)), "RE");
    assert_eq!(through.code(0), direct.code(0));
}

async fn direct_tls(peers: &Peers) {
    let Tls::With(config) = Tls::verify(&peers.certificates) else { panic!("it gives a configuration") };
    for alpn in [Vec::new(), vec![b"http/1.1".to_vec()], vec![b"postgresql".to_vec()]] {
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = alpn.clone();
        let stream = TcpStream::connect(peers.pgweir.addr()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let talk = async {
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            stream.write_all(&of_app()).await?;
            stream.read_u8().await
        };
        let answer = tokio::time::timeout(Duration::from_secs(20), talk).await.unwrap();
        let right = alpn.first().is_some_and(|name| name == b"postgresql");
        assert_eq!(answer.ok(), right.then_some(b'R'), "{alpn:?}");
    }
}

async fn tls_required(peers: &Peers) {
    let answer = say(peers.strict.addr(), &[(&of_app(), 0)]).await;
    assert_eq!(tags(&answer.frames(0)), "E", "no password is asked for");
    assert_eq!(answer.error(0).map(|(severity, ..)| severity).as_deref(), Some("FATAL"));
    let inside = peers.strict.client("app", "app").tls(Tls::verify(&peers.certificates)).connect().await;
    assert_eq!(inside.unwrap().value("SELECT 1").await.unwrap(), "1");
}

/// SASLInitialResponse.
fn sasl_first(mechanism: &str, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    let body = [mechanism.as_bytes(), b"\0", &length.to_be_bytes(), data].concat();
    Script::new().message(b'p', &body).bytes().to_vec()
}

async fn scram(peers: &Peers) {
    let start = of_app();
    let first = sasl_first("SCRAM-SHA-256", b"n,,n=,r=abcdefghijklmnop");
    let firsts: [Vec<u8>; 6] = [
        sasl_first("SCRAM-SHA-256", b""),
        sasl_first("SCRAM-SHA-256", b"n,,"),
        sasl_first("SCRAM-SHA-256", b"x,,n=,r=abc"),
        sasl_first("SCRAM-SHA-256", b"n,,m=ext,n=,r=abc"),
        sasl_first("SCRAM-SHA-256", b"n,,n=,r=\xff\0abc"),
        sasl_first("SCRAM-SHA-1", b"n,,n=,r=abc"),
    ];
    for bad in &firsts {
        let talk = [(&*start, 9), (&**bad, 0)];
        let (through, direct) = (say(peers.pgweir.addr(), &talk).await, say(peers.direct(), &talk).await);
        assert_eq!(
            through.code(0),
            direct.code(0),
            "{:?}: {:?}, not {:?}",
            bad.escape_ascii().to_string(),
            through.frames(0),
            direct.frames(0)
        );
    }
    // Finals: the nonce is missing, another one, the proof is missing or no base64.
    for bad in [
        "",
        "c=biws",
        "c=biws,p=AAAA",
        "c=biws,r=other,p=AAAA",
        "c=biws,r=abcdefghijklmnop",
        "r=x,c=y,p=z",
        "c=biws,r=,p=",
    ] {
        let last = Script::new().message(b'p', bad.as_bytes());
        let talk = [(&*start, 9), (&*first, 9), (last.bytes(), 0)];
        let (through, direct) = (say(peers.pgweir.addr(), &talk).await, say(peers.direct(), &talk).await);
        assert_eq!(tags(&through.frames(0)), "RRE", "{bad}");
        assert_eq!(
            through.code(0),
            direct.code(0),
            "{bad}: {:?}, not {:?}",
            through.frames(0),
            direct.frames(0)
        );
    }
}

async fn long_nonce(peers: &Peers) {
    let data = format!("n,,n=,r={}", "x".repeat(1 << 20));
    let answer =
        say(peers.pgweir.addr(), &[(&of_app(), 9), (&sasl_first("SCRAM-SHA-256", data.as_bytes()), 0)]).await;
    assert!(matches!(&*tags(&answer.frames(0)), "R" | "RE"), "{:?}", answer.frames(0));
    // So does a length that says more than a password may have.
    let head = [b"p", &i32::MAX.to_be_bytes()[..]].concat();
    let answer = say(peers.pgweir.addr(), &[(&of_app(), 9), (&head, 0)]).await;
    assert!(matches!(&*tags(&answer.frames(0)), "R" | "RE"), "{:?}", answer.frames(0));
}

async fn unknown_user(peers: &Peers) {
    let mut told = Vec::new();
    for user in ["app", "nobody"] {
        let refused = Client::to(peers.pgweir.addr()).user(user, "wrong").database("app").connect().await;
        told.push(refused.unwrap_err().to_string().replace(user, "…"));
        let start = startup(format!("user\0{user}\0database\0app\0\0").as_bytes());
        let first = sasl_first("SCRAM-SHA-256", b"n,,n=,r=abcdefghijklmnop");
        let answer = say(peers.pgweir.addr(), &[(&start, 9), (&first, 9)]).await;
        // The same messages, and a salt and iterations of the same form.
        let forms: Vec<_> = answer.frames(0).iter().map(|frame| (frame.tag, frame.body.len())).collect();
        told.push(format!("{:?}", &forms[..2]));
    }
    assert_eq!(told[..2], told[2..]);
    assert!(told[0].contains("28P01"), "{told:?}");
}

async fn query_first(peers: &Peers) {
    let query = Script::new().query(&format!("SELECT '{MARKER}'"));
    let talk = [(&*of_app(), 9), (query.bytes(), 0)];
    let (through, direct) = (say(peers.pgweir.addr(), &talk).await, say(peers.direct(), &talk).await);
    assert_eq!(tags(&through.frames(0)), "RE");
    assert_eq!(through.code(0), direct.code(0));
    // Without a startup packet its type is the beginning of a length.
    let answer = say(peers.pgweir.addr(), &[(query.bytes(), 0)]).await;
    assert!(answer.frames(0).iter().all(|frame| frame.tag == b'E'), "{answer:?}");
}

async fn names(peers: &Peers) {
    let bodies: [&[u8]; 4] = [
        b"user\0\xff\xfe\0database\0app\0\0",
        b"user\0app\0database\0\xc3\x28\0\0",
        b"user\0app\0database\0app\0application_name\0\xff\0\0",
        b"user\0app\0database\0app\0\xff\0x\0\0",
    ];
    for body in bodies {
        let answer = say(peers.pgweir.addr(), &[(&startup(body), 0)]).await;
        let frames = answer.frames(0);
        assert!(frames.iter().all(|frame| matches!(frame.tag, b'R' | b'E')), "{frames:?}");
    }
    let name = "x".repeat(9000);
    let answer =
        say(peers.pgweir.addr(), &[(&startup(format!("user\0{name}\0database\0{name}\0\0").as_bytes()), 0)])
            .await;
    assert!(answer.frames(0).iter().all(|frame| frame.tag == b'E'), "{:?}", answer.frames(0).len());
}

/// None of them hits, and nobody waits for them.
async fn cancels(peers: &Peers) {
    let mut client = peers.client().await;
    let (pid, key) = client.backend_key().unwrap();
    let slow = async { client.value("SELECT 'not cancelled' FROM pg_sleep(1)").await.unwrap() };
    let wrong = async {
        for i in 0..=255_u8 {
            let mut key = key.clone();
            key[0] ^= i | 1;
            let pid = if i % 2 == 0 { pid } else { pid.wrapping_add(u32::from(i)) };
            let length = u32::try_from(12 + key.len()).unwrap();
            let packet =
                [&length.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), &pid.to_be_bytes(), &key].concat();
            assert_eq!(say(peers.pgweir.addr(), &[(&packet, 0)]).await.bytes, b"");
        }
        for body in [&b""[..], b"\0\0", b"\0\0\0\x01", &[7; 300]] {
            let length = u32::try_from(8 + body.len()).unwrap();
            let packet = [&length.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), body].concat();
            say(peers.pgweir.addr(), &[(&packet, 0)]).await;
        }
    };
    let (value, ()) = tokio::join!(slow, wrong);
    assert_eq!(value, "not cancelled");
}

async fn console(peers: &Peers) {
    for database in ["pgweir", "pgbouncer"] {
        let refused = peers.pgweir.client("app", database).connect().await.unwrap_err().to_string();
        assert!(refused.contains("42501") || refused.contains("28P01"), "{refused}");
    }
}
