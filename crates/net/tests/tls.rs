//! TLS: what each mode verifies, direct TLS, client certificates, channel binding, and errors that name the file.

#![allow(clippy::unwrap_used, reason = "a test may fail so")]

mod common;

use std::io::Write;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use common::{Authority, handshake, receive, send, tcp_pair, unix_pair, unverified};
use pgweir_net::{ClientCertificate, ClientTls, ServerTls, Stream, TlsError, Verify};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

async fn client_result(client: &ClientTls, host: &str, server: &ServerTls) -> Result<(), String> {
    let (client, _) = handshake(tcp_pair().await, client, host, server).await;
    client.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn each_mode_verifies_what_it_says() {
    let ours = Authority::new();
    let others = Authority::new();
    let server = ours.issue("db1.example").server();
    let tls = |verify, ca: &Authority| ClientTls::new(verify, Some(&ca.ca())).unwrap();

    client_result(&tls(Verify::Full, &ours), "db1.example", &server).await.unwrap();
    client_result(&tls(Verify::Authority, &ours), "db2.example", &server).await.unwrap();
    client_result(&tls(Verify::Authority, &ours), "not a host name", &server).await.unwrap();
    client_result(&tls(Verify::Nothing, &others), "db2.example", &server).await.unwrap();

    let wrong_name = client_result(&tls(Verify::Full, &ours), "db2.example", &server).await.unwrap_err();
    assert!(wrong_name.contains("db2.example"), "{wrong_name}");
    let no_name = client_result(&tls(Verify::Full, &ours), "not a host name", &server).await.unwrap_err();
    assert!(no_name.contains("not a host name"), "{no_name}");
    for verify in [Verify::Authority, Verify::Full] {
        let stranger = client_result(&tls(verify, &others), "db1.example", &server).await.unwrap_err();
        assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    }
}

#[tokio::test]
async fn a_servers_own_certificate_may_be_the_authority() {
    let folder = Authority::new();
    let mut params = CertificateParams::new(["db.example".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = folder.self_signed("own", params.clone(), &KeyPair::generate().unwrap());
    let other = folder.self_signed("other", params.clone(), &KeyPair::generate().unwrap());
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = folder.self_signed("expired", params, &KeyPair::generate().unwrap());
    let tls = |verify, ca: &Path| ClientTls::new(verify, Some(ca)).unwrap();

    let pinned = tls(Verify::Full, &own.certificate);
    client_result(&pinned, "db.example", &own.server()).await.unwrap();
    client_result(&pinned, "other.example", &own.server()).await.unwrap_err();
    client_result(&pinned, "db.example", &other.server()).await.unwrap_err();
    let authority = tls(Verify::Authority, &own.certificate);
    client_result(&authority, "other.example", &own.server()).await.unwrap();
    client_result(&authority, "db.example", &other.server()).await.unwrap_err();
    let pinned = tls(Verify::Authority, &expired.certificate);
    let error = client_result(&pinned, "db.example", &expired.server()).await.unwrap_err();
    assert!(error.contains("expired"), "{error}");
}

#[tokio::test]
async fn direct_tls_is_seen_without_taking_a_byte_and_needs_its_protocol() {
    let authority = Authority::new();
    let server_tls = authority.issue("localhost").server();

    let (client, server) = tcp_pair().await;
    let accept = async {
        assert!(server.opens_with_tls().await.unwrap());
        server.accept_direct_tls(&server_tls).await
    };
    let client_tls = unverified();
    let (client, server) = tokio::join!(client.connect_tls(&client_tls, "localhost"), accept);
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    send(&mut client, b"hello").await;
    assert_eq!(receive(&mut server, 5).await, b"hello");
    assert_eq!(server.tls().unwrap().info(), client.tls().unwrap().info());
    assert_eq!(server.tls().unwrap().info().version, "TLSv1.3");

    for (protocols, sent_s_request) in [(vec![], true), (vec![b"http/1.1".to_vec()], false)] {
        let (direct, asked) = (
            foreign_client(&server_tls, &protocols, true).await,
            foreign_client(&server_tls, &protocols, false).await,
        );
        assert!(direct.is_err(), "{protocols:?}");
        assert_eq!(asked.is_ok(), sent_s_request, "{protocols:?}");
    }

    let (mut client, server) = tcp_pair().await;
    send(&mut client, b"\0\0\0\x08").await;
    assert!(!server.opens_with_tls().await.unwrap());
}

/// What the server says to a client that offers other protocols by ALPN than ours.
async fn foreign_client(
    server_tls: &ServerTls,
    protocols: &[Vec<u8>],
    direct: bool,
) -> std::io::Result<Stream> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(accept_any());
    config.alpn_protocols = protocols.to_vec();
    let (Stream::Tcp(client), server) = tcp_pair().await else { panic!("not TCP") };
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let accept = async {
        if direct { server.accept_direct_tls(server_tls).await } else { server.accept_tls(server_tls).await }
    };
    tokio::join!(connector.connect("localhost".try_into().unwrap(), client), accept).1
}

fn accept_any() -> std::sync::Arc<dyn rustls::client::danger::ServerCertVerifier> {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    #[derive(Debug)]
    struct AcceptAny;
    impl ServerCertVerifier for AcceptAny {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
    std::sync::Arc::new(AcceptAny)
}

#[tokio::test]
async fn direct_tls_is_not_looked_for_on_a_unix_socket() {
    let (mut client, server) = unix_pair();
    send(&mut client, &[0x16]).await;
    assert!(!server.opens_with_tls().await.unwrap());
}

#[tokio::test]
async fn plain_bytes_before_the_handshake_are_fatal() {
    let server_tls = Authority::new().issue("localhost").server();
    let (mut client, server) = tcp_pair().await;
    send(&mut client, b"\0\0\0\x20\0\x03\0\0user\0mallory\0\0").await;
    let client_tls = unverified();
    let (_, server) =
        tokio::join!(client.connect_tls(&client_tls, "localhost"), server.accept_tls(&server_tls));
    assert_eq!(server.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn client_certificates_are_asked_for() {
    let authority = Authority::new();
    let files = authority.issue("localhost");
    let load = |need| ServerTls::load(&files.certificate, &files.key, Some((&authority.ca(), need))).unwrap();
    for (need, accepted) in [(ClientCertificate::Optional, true), (ClientCertificate::Required, false)] {
        let (_, server) = handshake(tcp_pair().await, &unverified(), "localhost", &load(need)).await;
        assert_eq!(server.is_ok(), accepted, "{need:?}: {server:?}");
    }
}

#[tokio::test]
async fn both_sides_bind_to_the_same_certificate() {
    let authority = Authority::new();
    let files = authority.issue("localhost");
    let pair = handshake(tcp_pair().await, &unverified(), "localhost", &files.server()).await;
    let (client, server) = (pair.0.unwrap(), pair.1.unwrap());
    assert_eq!(client.end_point_binding(), Some(digest(&SHA256, &files.der).as_ref()));
    assert_eq!(server.end_point_binding(), client.end_point_binding());
    assert_eq!(client.tls().unwrap().peer_certificate(), Some(files.der.as_slice()));
    assert_eq!(server.tls().unwrap().peer_certificate(), None);
    assert_eq!(tcp_pair().await.0.end_point_binding(), None);
}

#[tokio::test]
async fn the_binding_follows_the_certificates_signature() {
    let folder = Authority::new();
    for (name, algorithm) in [("p384", &PKCS_ECDSA_P384_SHA384), ("ed25519", &PKCS_ED25519)] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let files = folder.self_signed(name, params, &key);
        let pair = handshake(tcp_pair().await, &unverified(), "localhost", &files.server()).await;
        let expected = (name == "p384").then(|| digest(&SHA384, &files.der));
        let expected = expected.as_ref().map(AsRef::as_ref);
        assert_eq!(pair.0.unwrap().end_point_binding(), expected, "{name}");
        assert_eq!(pair.1.unwrap().end_point_binding(), expected, "{name}");
    }
}

#[test]
fn errors_name_the_file() {
    let authority = Authority::new();
    let files = authority.issue("localhost");
    let stranger = authority.issue("elsewhere");
    let path = |name: &str, content: &str| {
        let path = authority.folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
        path
    };
    let missing = authority.folder.path().join("missing.pem");
    let empty = path("empty.pem", "");
    let broken = path("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let load = |certificate: &Path, key: &Path| ServerTls::load(certificate, key, None).unwrap_err();
    let trust = |ca: &Path| ClientTls::new(Verify::Full, Some(ca)).unwrap_err();
    for (error, file) in [
        (load(&missing, &files.key), &missing),
        (load(&empty, &files.key), &empty),
        (load(&files.certificate, &missing), &missing),
        (load(&files.certificate, &empty), &empty),
        (load(&files.certificate, &stranger.key), &stranger.key),
        (trust(&missing), &missing),
        (trust(&empty), &empty),
        (trust(&broken), &broken),
    ] {
        assert!(error.to_string().contains(&*file.to_string_lossy()), "{error} for {}", file.display());
    }
    assert!(matches!(ClientTls::new(Verify::Full, None), Err(TlsError::NoAuthorities)));
}
