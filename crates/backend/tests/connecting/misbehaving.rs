//! Servers that no Postgres would be.

use std::time::Duration;

use config::TlsMode;
use net::Stream;
use pgweir_backend::cancel::send_cancel;
use pgweir_backend::connect::{ConnectError, Connected, Login, ServerTarget, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::encode;

use crate::certificate::Certificate;
use crate::{login, target};

/// Logs in to a server that plays `script`, and gives what came of it.
async fn against<F>(
    adapt: impl FnOnce(&mut ServerTarget),
    mode: TlsMode,
    login: &Login,
    script: impl FnOnce(TcpStream) -> F,
) -> Result<Connected, ConnectError>
where
    F: Future<Output = Option<TcpStream>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut target = target("127.0.0.1", listener.local_addr().unwrap().port(), mode);
    adapt(&mut target);
    let play = async {
        let (socket, _) = listener.accept().await.unwrap();
        script(socket).await
    };
    let (outcome, _open) = tokio::join!(connect(&target, login), play);
    outcome
}

/// A server that reads the startup message, answers with `reply` whatever it says, and stays.
async fn replying(login: &Login, reply: Vec<u8>) -> Result<Connected, ConnectError> {
    against(
        |_| (),
        TlsMode::Disable,
        login,
        async |mut socket: TcpStream| {
            read_startup(&mut socket).await;
            // The other side may have closed by now: it has read enough.
            drop(socket.write_all(&reply).await);
            Some(socket)
        },
    )
    .await
}

async fn read_startup(socket: &mut TcpStream) {
    let length = usize::try_from(socket.read_u32().await.unwrap()).unwrap();
    socket.read_exact(&mut vec![0; length - 4]).await.unwrap();
}

async fn read_message(socket: &mut TcpStream) -> Vec<u8> {
    socket.read_u8().await.unwrap();
    let length = usize::try_from(socket.read_u32().await.unwrap()).unwrap();
    let mut body = vec![0; length - 4];
    socket.read_exact(&mut body).await.unwrap();
    body
}

fn welcome() -> Vec<u8> {
    let mut reply = Vec::new();
    encode::authentication_ok(&mut reply);
    encode::parameter_status(&mut reply, b"server_version", b"15.0").unwrap();
    encode::backend_key_data(&mut reply, 7, b"1234").unwrap();
    encode::ready_for_query(&mut reply, wire::backend::TransactionStatus::Idle);
    reply
}

#[tokio::test]
async fn a_plain_welcome_is_taken() {
    let connected = replying(&login(None), welcome()).await.unwrap();
    assert_eq!((connected.pid, &*connected.key), (7, b"1234".as_slice()));
}

#[tokio::test]
async fn what_breaks_the_protocol_is_refused() {
    let ok = b"R\0\0\0\x08\0\0\0\0".as_slice();
    let behind = [welcome(), b"T".to_vec()].concat();
    let in_transaction = [ok, b"Z\0\0\0\x05T"].concat();
    let data_row = [ok, b"D\0\0\0\x06\0\0"].concat();
    let negative = b"R\xff\xff\xff\xff".to_vec();
    let endless = [ok, b"S\x7f\xff\xff\xff"].concat();
    let odd_status = [ok, b"S\0\0\0\x06a\0"].concat();
    let short_key = [ok, b"K\0\0\0\x09\0\0\0\x07x"].concat();
    let gss = b"R\0\0\0\x08\0\0\0\x07".to_vec();
    let continued = b"R\0\0\0\x0c\0\0\0\x0br=x,".to_vec();
    let half_salt = b"R\0\0\0\x0a\0\0\0\x05ab".to_vec();
    let only_unknown = b"R\0\0\0\x0e\0\0\0\x0aFOO\0\0\0".to_vec();
    let many = [ok.to_vec(), b"S\0\0\0\x08a\0b\0".repeat(200_000)].concat();
    let http = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let replies = [
        behind,
        in_transaction,
        data_row,
        negative,
        endless,
        odd_status,
        short_key,
        gss,
        continued,
        half_salt,
        only_unknown,
        many,
        http,
    ];
    for reply in replies {
        let error = replying(&login(Some("secret")), reply.clone()).await.unwrap_err();
        let expected = matches!(
            error,
            ConnectError::Protocol(_)
                | ConnectError::Unexpected(_)
                | ConnectError::Frame(_)
                | ConnectError::Message(_)
                | ConnectError::Unsupported(_)
        );
        assert!(expected, "{error} for {}", reply[..reply.len().min(60)].escape_ascii());
    }
}

#[tokio::test]
async fn an_error_without_sqlstate_is_still_a_refusal() {
    let error = replying(&login(None), b"E\0\0\0\x0bMfull\0\0".to_vec()).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Refused(report) if report.message == "full"), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_or_closes_is_given_up() {
    let short = Login::new("app", "app", None, Duration::from_millis(20));
    let stays = async |socket: TcpStream| Some(socket);
    let error = against(|_| (), TlsMode::Disable, &short, stays).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }) && !error.is_final(), "{error}");

    let closes = async |mut socket: TcpStream| {
        read_startup(&mut socket).await;
        None
    };
    let error = against(|_| (), TlsMode::Disable, &login(None), closes).await.unwrap_err();
    assert!(matches!(error, ConnectError::Lost(_)) && !error.is_final(), "{error}");
}

#[tokio::test]
async fn plain_bytes_behind_the_answer_to_an_ssl_request_are_dropped() {
    let tls = Certificate::for_localhost().server();
    let injects = async |mut socket: TcpStream| {
        socket.read_exact(&mut [0; 8]).await.unwrap();
        socket.write_all(&[b"S", welcome().as_slice()].concat()).await.unwrap();
        // The handshake can't come about.
        assert!(Stream::from(socket).accept_tls(&tls).await.is_err());
        None
    };
    let error = against(|_| (), TlsMode::Require, &login(None), injects).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");

    let says_something_else = async |mut socket: TcpStream| {
        socket.read_exact(&mut [0; 8]).await.unwrap();
        socket.write_all(b"E\0\0\0\x0bMlies\0\0").await.unwrap();
        Some(socket)
    };
    let error = against(|_| (), TlsMode::Prefer, &login(None), says_something_else).await.unwrap_err();
    assert!(matches!(error, ConnectError::Protocol(_)) && !error.to_string().contains("lies"), "{error}");
}

#[tokio::test]
async fn weaker_methods_are_refused_where_scram_is_required() {
    let mut asks: [Vec<u8>; 3] = Default::default();
    encode::authentication_ok(&mut asks[0]);
    encode::authentication_cleartext(&mut asks[1]);
    encode::authentication_md5(&mut asks[2], *b"salt");
    for ask in asks {
        let script = async |mut socket: TcpStream| {
            read_startup(&mut socket).await;
            socket.write_all(&ask).await.unwrap();
            // Nothing is answered: above all not the password.
            let mut answer = Vec::new();
            drop(socket.read_to_end(&mut answer).await);
            assert!(answer.is_empty(), "{}", answer.escape_ascii());
            None
        };
        let require = |target: &mut ServerTarget| target.require_scram = true;
        let error = against(require, TlsMode::Disable, &login(Some("secret")), script).await.unwrap_err();
        assert!(matches!(error, ConnectError::Forbidden { .. }) && error.is_final(), "{error}");
    }
}

#[tokio::test]
async fn scram_that_the_server_cheats_at_fails() {
    // (the rest of the server's first message, behind the client's nonce; whether to send AuthenticationOk at once)
    let cases = [
        ("X,s=c2FsdA==,i=2147483647", false),
        ("X,s=c2FsdA==,i=0", false),
        (",s=c2FsdA==,i=4096", false),
        ("X,s=,i=4096", false),
        ("X,s=c2FsdA==,i=4096", true),
    ];
    for (rest, skips_the_proof) in cases {
        let script = async |mut socket: TcpStream| {
            read_startup(&mut socket).await;
            let mut reply = Vec::new();
            encode::authentication_sasl(&mut reply, &["SCRAM-SHA-256"]);
            socket.write_all(&reply).await.unwrap();
            let initial = String::from_utf8_lossy(&read_message(&mut socket).await).into_owned();
            let (_, nonce) = initial.split_once("r=").unwrap();
            reply.clear();
            encode::sasl_continue(&mut reply, format!("r={nonce}{rest}").as_bytes());
            socket.write_all(&reply).await.unwrap();
            if skips_the_proof {
                read_message(&mut socket).await;
                socket.write_all(&welcome()).await.unwrap();
            }
            Some(socket)
        };
        let outcome = against(|_| (), TlsMode::Disable, &login(Some("secret")), script).await;
        match outcome.unwrap_err() {
            ConnectError::Scram(_) => assert!(!skips_the_proof, "{rest}"),
            ConnectError::Protocol(_) => assert!(skips_the_proof, "{rest}"),
            other => panic!("{other} for {rest}"),
        }
    }
}

#[tokio::test]
async fn a_cancel_goes_where_its_connection_went() {
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target("localhost", first.local_addr().unwrap().port(), TlsMode::Disable);
    let heard = async {
        let (mut socket, _) = second.accept().await.unwrap();
        let length = usize::try_from(socket.read_u32().await.unwrap()).unwrap();
        let mut body = vec![0; length - 4];
        socket.read_exact(&mut body).await.unwrap();
        body
    };
    let address = second.local_addr().unwrap();
    let (sent, body) = tokio::join!(send_cancel(&target, Some(address), 7, b"1234"), heard);
    sent.unwrap();
    assert_eq!(body, b"\x04\xd2\x16\x2e\0\0\0\x071234");
}
