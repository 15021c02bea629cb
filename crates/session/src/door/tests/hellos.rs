//! From the first byte to the startup packet.

use net::ServerTls;
use tokio::io::AsyncReadExt;
use wire::encode;
use wire::startup::StartupError;

use super::client::{Client, connection, server_tls};
use crate::door::hello::{Hello, Refused, check_replication, hello, negotiate};
use crate::door::refusal::Refusal;

fn startup(parameters: &[(&str, &str)], minor: u16) -> Vec<u8> {
    let mut out = Vec::new();
    encode::startup_message(&mut out, parameters.iter().copied(), minor).unwrap();
    out
}

fn ssl() -> Vec<u8> {
    let mut out = Vec::new();
    encode::ssl_request(&mut out);
    out
}

fn gss() -> Vec<u8> {
    let mut out = Vec::new();
    encode::gss_request(&mut out);
    out
}

/// What the door makes of bytes that come at once, followed by the end of the stream.
async fn given(bytes: &[u8], tls: Option<&ServerTls>) -> Result<Hello, Refused> {
    let (mut client, server) = connection().await;
    client.send(bytes).await;
    let Client(mut stream) = client;
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    hello(server, tls).await
}

fn refusal(result: Result<Hello, Refused>) -> Refusal {
    result.unwrap_err().1
}

#[tokio::test]
async fn a_session_begins_and_nothing_behind_its_packet_is_read() {
    let bytes = [startup(&[("user", "ann")], 0), b"rest".to_vec()].concat();
    let Ok(Hello::Session(mut stream, startup)) = given(&bytes, None).await else { panic!() };
    assert_eq!(startup.user(), "ann");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "rest");
}

#[tokio::test]
async fn requests_for_encryption_are_declined_in_either_order() {
    for requests in [[ssl(), gss()], [gss(), ssl()]] {
        let bytes = [requests.concat(), startup(&[("user", "ann")], 0)].concat();
        let (mut client, server) = connection().await;
        client.send(&bytes).await;
        assert!(matches!(hello(server, None).await, Ok(Hello::Session(..))));
        assert_eq!([client.byte().await, client.byte().await], *b"NN");
    }
}

#[tokio::test]
async fn a_request_that_comes_twice_is_refused() {
    for (request, minor) in [(ssl(), 5679), (gss(), 5680)] {
        let refused = refusal(given(&[request.clone(), request].concat(), None).await);
        let Refusal::Startup(error) = refused else { panic!("{refused}") };
        assert_eq!(error, StartupError::Version { major: 1234, minor });
    }
}

#[tokio::test]
async fn tls_keeps_what_the_client_sends_behind_its_packet() {
    let tls = server_tls();
    let (mut client, server) = connection().await;
    let talk = async {
        client.send(&[gss(), ssl()].concat()[..8]).await;
        assert_eq!(client.byte().await, b'N');
        client.send(&ssl()).await;
        assert_eq!(client.byte().await, b'S');
        let mut client = client.tls("localhost").await;
        client.send(&[startup(&[("user", "ann")], 2), b"rest".to_vec()].concat()).await;
        client
    };
    let (mut client, greeted) = tokio::join!(talk, hello(server, Some(&tls)));
    let Ok(Hello::Session(stream, startup)) = greeted else { panic!() };
    assert_eq!((startup.user(), startup.spoken_minor()), ("ann", 2));
    let mut stream = stream.detach().unwrap().attach().unwrap();
    assert!(stream.is_tls());
    let mut rest = [0; 4];
    stream.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"rest");
    drop(stream);
    assert_eq!(client.message().await, None);
}

#[tokio::test]
async fn bytes_behind_an_ssl_request_are_fatal_before_the_handshake() {
    let tls = server_tls();
    let bytes = [ssl(), startup(&[("user", "mallory")], 0)].concat();
    let refused = refusal(given(&bytes, Some(&tls)).await);
    assert!(matches!(refused, Refusal::PlainAfterTlsRequest), "{refused}");
    // Where TLS is declined, there is nothing that they could be smuggled into.
    assert!(matches!(given(&bytes, None).await, Ok(Hello::Session(..))));
}

#[tokio::test]
async fn inside_tls_a_second_request_is_refused() {
    let tls = server_tls();
    for request in [ssl(), gss()] {
        let (mut client, server) = connection().await;
        let talk = async {
            client.send(&ssl()).await;
            assert_eq!(client.byte().await, b'S');
            let mut client = client.tls("localhost").await;
            client.send(&request).await;
            client
        };
        let (_client, greeted) = tokio::join!(talk, hello(server, Some(&tls)));
        let refused = refusal(greeted);
        assert!(matches!(refused, Refusal::Startup(StartupError::Version { .. })), "{refused}");
    }
}

#[tokio::test]
async fn direct_tls_needs_tls_and_may_still_cancel() {
    let tls = server_tls();
    let (client, server) = connection().await;
    let talk = async {
        let mut client = client.tls("localhost").await;
        let mut cancel = Vec::new();
        encode::cancel_request(&mut cancel, 7, b"abcd").unwrap();
        client.send(&cancel).await;
        client
    };
    let (_client, greeted) = tokio::join!(talk, hello(server, Some(&tls)));
    let Ok(Hello::Cancel { pid: 7, key, .. }) = greeted else { panic!("{greeted:?}") };
    assert_eq!(key, b"abcd");

    let refused = refusal(given(&[0x16, 3, 1, 0, 4], None).await);
    assert!(matches!(refused, Refusal::NoDirectTls), "{refused}");
}

#[tokio::test]
async fn what_is_no_packet_is_closed_without_a_word() {
    for length in (0..8).chain([10_005, 0x1000_0000, u32::MAX]) {
        let refused = refusal(given(&[&length.to_be_bytes()[..], &[0; 16]].concat(), None).await);
        assert!(refused.report().is_none(), "{length}: {refused}");
    }
    let refused = refusal(given(&startup(&[("user", "ann")], 0)[..12], None).await);
    assert!(matches!(refused, Refusal::Broken(_)), "{refused}");
    assert!(matches!(given(b"", None).await, Ok(Hello::Nothing)));
}

#[tokio::test]
async fn newer_minors_and_unknown_options_are_negotiated() {
    let told = |parameters: &[(&str, &str)], minor| {
        let packet = startup(parameters, minor);
        async move {
            let Ok(Hello::Session(_, startup)) = given(&packet, None).await else { panic!() };
            let mut out = Vec::new();
            negotiate(&startup, &mut out);
            out
        }
    };
    assert!(told(&[("user", "ann")], 0).await.is_empty());
    assert!(told(&[("user", "ann")], 2).await.is_empty());
    assert_eq!(told(&[("user", "ann")], 9).await, b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0");
    let options = told(&[("user", "ann"), ("_pq_.x", "1")], 0).await;
    assert!(options.starts_with(b"v") && options.ends_with(b"\0\0\0\x01_pq_.x\0"), "{options:?}");
}

#[tokio::test]
async fn replication_is_refused_unless_it_says_no() {
    let check = |value: &'static str| async move {
        let packet = startup(&[("user", "ann"), ("replication", value)], 0);
        let Ok(Hello::Session(_, startup)) = given(&packet, None).await else { panic!() };
        check_replication(&startup).map_err(|refusal| refusal.report().unwrap().code.to_string())
    };
    for no in ["false", "OFF", "0", "no"] {
        assert_eq!(check(no).await, Ok(()));
    }
    for yes in ["true", "database", "On", "1"] {
        assert_eq!(check(yes).await, Err("0A000".to_owned()));
    }
    assert_eq!(check("perhaps").await, Err("22023".to_owned()));
}

#[tokio::test]
async fn a_refused_client_reads_why_though_it_said_more() {
    let (mut client, server) = connection().await;
    client.send(&[startup(&[("user", "ann")], 0), vec![b'x'; 4_096]].concat()).await;
    let Ok(Hello::Session(stream, _)) = hello(server, None).await else { panic!() };
    let report = Refusal::Stopping.report().unwrap();
    let read = async {
        let (kind, body) = client.message().await.unwrap();
        assert_eq!(kind, wire::tag::ERROR_RESPONSE);
        assert!(body.windows(5).any(|code| code == b"57P03"));
        assert_eq!(client.message().await, None);
        drop(client);
    };
    tokio::join!(read, crate::door::io::farewell(stream, &report));
}
