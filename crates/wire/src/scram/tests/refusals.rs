//! Someone between, malformed messages, endless work: refused, without a panic.

use super::*;
use crate::prng::Prng;

#[test]
fn someone_between_is_found() {
    // The client would bind, and was told that -PLUS isn't offered, though it is.
    let downgraded = ServerExchange::start(b"SCRAM-SHA-256", b"y,,n=,r=x", Some(HASH), secret("pencil"));
    assert_eq!(downgraded.unwrap_err(), ScramError::Downgrade);
    // The client is bound to another certificate.
    let binding = ClientBinding::TlsServerEndPoint(vec![0xcd; 32]);
    let password = ClientCredential::Password(b"pencil");
    let error = exchange(binding, Some(HASH), password, secret("pencil")).unwrap_err();
    assert_eq!(error, ScramError::ChannelBinding);
    // The server doesn't know the password.
    let client = ClientFirst::new(ClientBinding::Unsupported);
    let (_, server_first) = plain(&client.message()).unwrap();
    let (client, _) = client.answer(&server_first, ClientCredential::Password(b"pencil")).unwrap();
    let forged = format!("v={}", attributes::encode(&[0; 32]));
    assert_eq!(client.verify(forged.as_bytes()).unwrap_err(), ScramError::WrongServer);
}

#[test]
fn a_server_refuses_bad_first_messages() {
    let malformed = |result: Result<(ServerExchange, Vec<u8>), ScramError>| {
        matches!(result, Err(ScramError::Malformed(_)))
    };
    let long_nonce = format!("n,,n=,r={}", "x".repeat(1 << 20));
    for bad in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=",
        "n,,r=x",
        "n,,n=,r=",
        "n,,n=,x=1",
        "x,,n=,r=x",
        ",,n=,r=x",
        "nn,,n=,r=x",
        "n,x,n=,r=x",
        "n,,n=,r=a b",
        "n,,n=,r=é",
        "n,,n=,r=x,",
        "n,,n=,r=x\0",
        "p=tls-server-end-point,,n=,r=x",
        long_nonce.as_str(),
    ] {
        assert!(malformed(plain(bad.as_bytes())), "{}", &bad[..bad.len().min(40)]);
    }
    assert!(malformed(plain(b"n,,n=\xff,r=x")));
    assert!(malformed(plus(b"n,,n=,r=x")));
    assert!(malformed(plus(b"y,,n=,r=x")));
    for unsupported in [&b"n,a=ann,n=,r=x"[..], b"n,,m=1,n=,r=x"] {
        assert!(matches!(plain(unsupported), Err(ScramError::Unsupported(_))));
    }
    assert!(matches!(plus(b"p=tls-unique,,n=,r=x"), Err(ScramError::Unsupported(_))));
    for mechanism in [&b"SCRAM-SHA-1"[..], b"", b"SCRAM-SHA-256-PLUS"] {
        let started = ServerExchange::start(mechanism, b"n,,n=,r=x", None, secret("pencil"));
        assert_eq!(started.unwrap_err(), ScramError::Mechanism);
    }
    assert!(plain(format!("n,,n=ann,r={},x=ignored", "x".repeat(MAX_NONCE)).as_bytes()).is_ok());
}

#[test]
fn a_server_refuses_bad_final_messages() {
    let finish = |client_final: &str| {
        let (server, _) = ServerExchange::start_with_nonce(
            b"SCRAM-SHA-256",
            b"n,,n=,r=abc",
            None,
            secret("pencil").into(),
            "def",
        )
        .unwrap();
        server.finish(client_final.as_bytes()).unwrap_err()
    };
    let proof = attributes::encode(&[0; 32]);
    assert_eq!(finish(&format!("c=biws,r=abcdef,p={proof}")), ScramError::WrongPassword);
    assert_eq!(finish(&format!("c=biws,r=abcdef,x=ignored,p={proof}")), ScramError::WrongPassword);
    assert_eq!(finish(&format!("c=biws,r=abc,p={proof}")), ScramError::Nonce);
    assert_eq!(finish(&format!("c=biws,r=,p={proof}")), ScramError::Nonce);
    assert_eq!(finish(&format!("c=eSws,r=abcdef,p={proof}")), ScramError::ChannelBinding);
    for bad in [
        String::new(),
        format!("c=biws,p={proof}"),
        format!("r=abcdef,c=biws,p={proof}"),
        format!("p={proof}"),
        "c=biws,r=abcdef".to_owned(),
        "c=biws,r=abcdef,p=".to_owned(),
        "c=biws,r=abcdef,p=AAAA".to_owned(),
        "c=biws,r=abcdef,p=!".to_owned(),
        format!("c=biws,r=abcdef,,p={proof}"),
        format!("c=biws,r=abcdef,p={proof},x=1"),
    ] {
        assert!(matches!(finish(&bad), ScramError::Malformed(_)), "{bad}");
    }
}

#[test]
fn a_client_refuses_bad_first_messages() {
    let answer = |server_first: &str| {
        ClientFirst::with_nonce(ClientBinding::Unsupported, "abc".to_owned())
            .answer(server_first.as_bytes(), ClientCredential::Password(b"pencil"))
            .map(|_| ())
            .unwrap_err()
    };
    // Refused before PBKDF2 begins: the counts past the bound would take minutes to years.
    for count in [0, 1_000_001, 2_147_483_647, u64::MAX] {
        assert_eq!(answer(&format!("r=abcdef,s=AAAA,i={count}")), ScramError::Iterations(count));
    }
    assert_eq!(answer("r=abc,s=AAAA,i=1"), ScramError::Nonce, "nothing added");
    assert_eq!(answer("r=xyzdef,s=AAAA,i=1"), ScramError::Nonce);
    assert_eq!(answer("m=x,r=abcdef,s=AAAA,i=1"), ScramError::Unsupported("mandatory extension"));
    let long_nonce = format!("r=abc{},s=AAAA,i=1", "x".repeat(1 << 20));
    let long_salt = format!("r=abcdef,s={},i=1", "AAAA".repeat(1 << 18));
    for bad in [
        "",
        "r=",
        "r=abcdef",
        "r=abcdef,s=AAAA",
        "r=abcdef,s=,i=1",
        "r=abcdef,s=!,i=1",
        "r=abcdef,s=AAAA,i=x",
        "r=abcdef,s=AAAA,i=-1",
        "r=abcdef,s=AAAA,i=",
        "s=AAAA,r=abcdef,i=1",
        "x",
        "\0",
        &long_nonce,
        &long_salt,
    ] {
        assert!(matches!(answer(bad), ScramError::Malformed(_)), "{}", &bad[..bad.len().min(40)]);
    }
}

#[test]
fn a_client_reads_the_servers_last_word() {
    let last = |server_final: &[u8]| {
        ClientFirst::with_nonce(ClientBinding::Unsupported, "abc".to_owned())
            .answer(b"r=abcdef,s=AAAA,i=1", ClientCredential::Password(b"pencil"))
            .unwrap()
            .0
            .verify(server_final)
            .unwrap_err()
    };
    assert_eq!(last(b"e=invalid-proof"), ScramError::Refused("invalid-proof".to_owned()));
    for bad in [&b""[..], b"v=", b"v=AAAA", b"x=1", b"v", b"\xff"] {
        assert!(matches!(last(bad), ScramError::Malformed(_)), "{bad:?}");
    }
}

#[test]
fn damaged_messages_never_panic_and_never_log_in() {
    let mut random = Prng(0x5c4a);
    let mut logins = 0_u32;
    for _ in 0..4_000 {
        let client = ClientFirst::with_nonce(ClientBinding::Unsupported, "abc".to_owned());
        let first = damage(&client.message(), &mut random);
        let started = ServerExchange::start_with_nonce(
            b"SCRAM-SHA-256",
            &first,
            None,
            Candidates::from(ScramSecret::from_password(b"pencil", b"salt", 1)),
            "def",
        );
        let Ok((server, server_first)) = started else { continue };
        let damaged = damage(&server_first, &mut random);
        let Ok((_, client_final)) = client.answer(&damaged, ClientCredential::Password(b"pencil")) else {
            continue;
        };
        let untouched = damaged == server_first && first == b"n,,n=,r=abc";
        let accepted = server.finish(&damage(&client_final, &mut random)).is_ok();
        assert!(!accepted || untouched);
        logins += u32::from(accepted);
    }
    assert!(logins > 10, "hardly any exchange stays whole: {logins}");
}

/// One byte changed, put in or cut off; or nothing, one time in four.
fn damage(message: &[u8], random: &mut Prng) -> Vec<u8> {
    let mut message = message.to_vec();
    let at = random.below(message.len());
    let byte = b",=nrpcvsi\0\xffA1"[random.below(13)];
    match random.below(4) {
        0 => message[at] = byte,
        1 => message.insert(at, byte),
        2 => message.truncate(at),
        _ => {}
    }
    message
}
