//! Whole exchanges: the RFC's, ours against ours, ours against another client; and all that must fail.

use postgres_protocol::authentication::sasl as other;

use super::*;
use crate::prng::Prng;

const SALT: &[u8] = b"0123456789abcdef";
const HASH: &[u8] = &[0xab; 32];

fn secret(password: &str) -> ScramSecret {
    // Few iterations: how many there are changes nothing but the time.
    ScramSecret::from_password(password.as_bytes(), SALT, 16)
}

fn plain(client_first: &[u8]) -> Result<(ServerExchange, Vec<u8>), ScramError> {
    ServerExchange::start(SCRAM_SHA_256.as_bytes(), client_first, None, secret("pencil"))
}

fn plus(client_first: &[u8]) -> Result<(ServerExchange, Vec<u8>), ScramError> {
    ServerExchange::start(SCRAM_SHA_256_PLUS.as_bytes(), client_first, Some(HASH), secret("pencil"))
}

/// Our client against our server, with the certificate hashes that each of them sees.
fn exchange(
    binding: ClientBinding,
    server_hash: Option<&[u8]>,
    credential: ClientCredential<'_>,
    candidates: impl Into<Candidates>,
) -> Result<(ServerSuccess, ScramKeys), ScramError> {
    let client = ClientFirst::new(binding);
    let mechanism = client.mechanism().as_bytes();
    let (server, server_first) =
        ServerExchange::start(mechanism, &client.message(), server_hash, candidates)?;
    let (client, client_final) = client.answer(&server_first, credential)?;
    let success = server.finish(&client_final)?;
    let keys = client.verify(&success.server_final)?;
    Ok((success, keys))
}

#[test]
fn the_example_of_rfc_7677() {
    let secret = ScramSecret::from_password(
        b"pencil",
        &attributes::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(),
        4_096,
    );
    let (server, server_first) = ServerExchange::start_with_nonce(
        b"SCRAM-SHA-256",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        None,
        secret.into(),
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(server_first).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let success = server
        .finish(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        .unwrap();
    assert_eq!(success.server_final, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn both_sides_agree_with_every_binding() {
    for (binding, server_hash) in [
        (ClientBinding::Unsupported, None),
        (ClientBinding::NotOffered, None),
        (ClientBinding::Unsupported, Some(HASH)),
        (ClientBinding::TlsServerEndPoint(HASH.to_vec()), Some(HASH)),
    ] {
        let password = ClientCredential::Password(b"pencil");
        let (success, keys) = exchange(binding.clone(), server_hash, password, secret("pencil")).unwrap();
        assert_eq!(success.into_keys(), keys, "{binding:?}");
    }
}

#[test]
fn another_client_logs_in_to_our_server() {
    for (binding, mechanism, hash) in [
        (other::ChannelBinding::unsupported(), other::SCRAM_SHA_256, None),
        (other::ChannelBinding::unrequested(), other::SCRAM_SHA_256, None),
        (other::ChannelBinding::tls_server_end_point(HASH.to_vec()), other::SCRAM_SHA_256_PLUS, Some(HASH)),
    ] {
        let mut client = other::ScramSha256::new("pencil\u{ad}".as_bytes(), binding);
        let (server, server_first) =
            ServerExchange::start(mechanism.as_bytes(), client.message(), hash, secret("pencil")).unwrap();
        client.update(&server_first).unwrap();
        let success = server.finish(client.message()).unwrap();
        client.finish(&success.server_final).unwrap();
    }
}

#[test]
fn a_secret_made_elsewhere_is_the_one_made_here() {
    let theirs = ScramSecret::parse(&postgres_protocol::password::scram_sha_256(b"pencil")).unwrap();
    assert_eq!(ScramSecret::from_password(b"pencil", theirs.salt(), theirs.iterations()), theirs);
}

#[test]
fn a_wrong_password_and_an_unknown_user_fail_alike() {
    let wrong = |candidates: ScramSecret| {
        exchange(ClientBinding::Unsupported, None, ClientCredential::Password(b"wrong"), candidates)
            .unwrap_err()
    };
    assert_eq!(wrong(secret("pencil")), ScramError::WrongPassword);
    assert_eq!(wrong(ScramSecret::mock(b"nobody", &[1; 32], 16)), ScramError::WrongPassword);
    assert_eq!(ScramError::WrongPassword.sqlstate(), SqlState::INVALID_PASSWORD);

    let shape = |candidates: ScramSecret| {
        let (_, server_first) =
            ServerExchange::start(b"SCRAM-SHA-256", b"n,,n=,r=x", None, candidates).unwrap();
        server_first.len()
    };
    assert_eq!(shape(secret("pencil")), shape(ScramSecret::mock(b"nobody", &[1; 32], 16)));
}

#[test]
fn while_a_password_changes_both_are_good() {
    let candidates = Candidates::new(secret("old"), vec![secret("new")]).unwrap();
    for (candidate, password) in [&b"old"[..], b"new"].into_iter().enumerate() {
        let credential = ClientCredential::Password(password);
        let (success, _) =
            exchange(ClientBinding::Unsupported, None, credential, candidates.clone()).unwrap();
        assert_eq!(success.candidate, candidate);
    }
    let neither = ClientCredential::Password(b"older");
    let error = exchange(ClientBinding::Unsupported, None, neither, candidates).unwrap_err();
    assert_eq!(error, ScramError::WrongPassword);

    let other_salt = ScramSecret::from_password(b"new", b"another salt", 16);
    let other_count = ScramSecret::from_password(b"new", SALT, 17);
    for other in [other_salt, other_count] {
        assert_eq!(Candidates::new(secret("old"), vec![other]), Err(ScramError::MixedSecrets));
    }
}

#[test]
fn a_clients_login_passes_through_to_a_server() {
    let password = ClientCredential::Password(b"pencil");
    let (success, _) = exchange(ClientBinding::Unsupported, None, password, secret("pencil")).unwrap();
    let client_key = *success.client_key();
    let keys = ScramKeys::from_client_key(client_key, secret("pencil"));
    assert_eq!(keys, success.into_keys());

    exchange(ClientBinding::Unsupported, None, ClientCredential::Keys(&keys), secret("pencil")).unwrap();
    let other = ScramSecret::from_password(b"pencil", b"another salt", 16);
    let error = exchange(ClientBinding::Unsupported, None, ClientCredential::Keys(&keys), other).unwrap_err();
    assert_eq!(error, ScramError::OtherSecret);
}

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
fn the_best_binding_is_chosen() {
    use crate::backend::Authentication;
    let choose = |list: &[u8], hash: Option<Vec<u8>>| match Authentication::parse(list) {
        Ok(Authentication::Sasl { mechanisms }) => ClientBinding::choose(&mechanisms, hash),
        other => panic!("{other:?}"),
    };
    let both = b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
    let one = b"\0\0\0\x0aSCRAM-SHA-256\0\0";
    let hash = || Some(HASH.to_vec());
    assert_eq!(choose(both, hash()), Some(ClientBinding::TlsServerEndPoint(HASH.to_vec())));
    assert_eq!(choose(both, None), Some(ClientBinding::Unsupported));
    assert_eq!(choose(one, hash()), Some(ClientBinding::NotOffered));
    assert_eq!(choose(one, None), Some(ClientBinding::Unsupported));
    assert_eq!(choose(b"\0\0\0\x0aOAUTHBEARER\0\0", hash()), None);
    assert_eq!(ServerExchange::mechanisms(true), [SCRAM_SHA_256_PLUS, SCRAM_SHA_256]);
    assert_eq!(ServerExchange::mechanisms(false), [SCRAM_SHA_256]);
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
