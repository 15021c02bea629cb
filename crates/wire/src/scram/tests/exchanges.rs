//! Whole exchanges: the RFC's, ours against ours, ours against another client.

use postgres_protocol::authentication::sasl as other;

use super::*;

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
