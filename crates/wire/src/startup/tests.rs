//! First packets: good ones, and each kind of bad one.

use super::*;
use crate::prng::Prng;

fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
}

const V3: u32 = 3 << 16;

fn start(rest: &[u8]) -> Result<StartupParameters, StartupError> {
    match parse_initial(&packet(V3 | 2, rest))? {
        Some((Initial::Start(parameters), _)) => Ok(parameters),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_starts() {
    let started =
        start(b"user\0ann\0database\0shop\0application_name\0web\0options\0-c a=1\0_pq_.x\0on\0\0").unwrap();
    assert_eq!((started.user(), started.database(), started.minor()), ("ann", "shop", 2));
    assert_eq!(started.settings().collect::<Vec<_>>(), [("a", "1"), ("application_name", "web")]);
    assert_eq!(started.protocol_options(), ["_pq_.x"]);
    assert_eq!(started.option_settings().len(), 1);
    assert_eq!(started.all().len(), 4);
}

#[test]
fn the_database_defaults_to_the_user_and_the_last_of_two_counts() {
    assert_eq!(start(b"user\0ann\0\0").unwrap().database(), "ann");
    assert_eq!(start(b"user\0ann\0database\0\0\0").unwrap().database(), "ann");
    assert_eq!(start(b"user\0ann\0user\0bob\0\0").unwrap().user(), "bob");
}

#[test]
fn a_client_that_asks_for_more_is_told_what_there_is() {
    let asked = |minor: u32, rest: &[u8]| match parse_initial(&packet(V3 | minor, rest)) {
        Ok(Some((Initial::Start(started), _))) => (started.spoken_minor(), started.must_negotiate()),
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(0, b"user\0ann\0\0"), (0, false));
    assert_eq!(asked(2, b"user\0ann\0\0"), (2, false));
    assert_eq!(asked(9_999, b"user\0ann\0\0"), (2, true));
    assert_eq!(asked(0, b"user\0ann\0_pq_.x\0\0\0"), (0, true));
}

#[test]
fn requests_without_parameters() {
    assert_eq!(parse_initial(&packet(SSL_CODE, b"")), Ok(Some((Initial::Ssl, 8))));
    assert_eq!(parse_initial(&packet(GSS_CODE, b"")), Ok(Some((Initial::Gss, 8))));
    // What follows the request is not part of it: the session decides that it is fatal.
    let more = [packet(SSL_CODE, b""), b"more".to_vec()].concat();
    assert_eq!(parse_initial(&more), Ok(Some((Initial::Ssl, 8))));
    assert_eq!(parse_initial(&packet(SSL_CODE, b"x")), Err(StartupError::RequestLength("SSL request")));
}

#[test]
fn a_cancel_key_has_4_to_256_bytes() {
    for length in [4, 32, 256] {
        let rest = [&7_u32.to_be_bytes()[..], &vec![9; length]].concat();
        let expected = Initial::Cancel { pid: 7, key: vec![9; length] };
        assert_eq!(format!("{expected:?}"), "Cancel { pid: 7, .. }");
        assert_eq!(parse_initial(&packet(CANCEL_CODE, &rest)), Ok(Some((expected, 12 + length))));
    }
    for rest in [vec![], vec![0; 3], vec![0; 4], vec![0; 7], vec![0; 261]] {
        let error = parse_initial(&packet(CANCEL_CODE, &rest)).unwrap_err();
        assert_eq!((error.report(), error), (None, StartupError::RequestLength("cancel request")));
    }
}

#[test]
fn impossible_lengths_are_closed_in_silence_from_their_first_four_bytes() {
    for length in (0..8).chain([10_005, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1603_0100]) {
        let error = parse_initial(&u32::to_be_bytes(length)).unwrap_err();
        assert_eq!((error.report(), error), (None, StartupError::Length), "{length}");
    }
    assert_eq!(parse_initial(b"GET / HTTP/1.1\r\n"), Err(StartupError::Length));
    assert_eq!(parse_initial(&10_004_u32.to_be_bytes()), Ok(None));
    assert!(begins_tls(0x16) && !begins_tls(0));
}

#[test]
fn bad_layouts_are_protocol_violations() {
    for bad in [
        &b""[..],
        b"user",
        b"user\0",
        b"user\0ann",
        b"user\0ann\0",
        b"user\0ann\0database\0",
        b"user\0ann\0database\0\0",
        b"user\0ann\0\0\0",
        b"user\0ann\0\0x",
    ] {
        let error = start(bad).unwrap_err();
        assert_eq!(error, StartupError::Layout, "{bad:?}");
        assert_eq!(error.report().unwrap().code, SqlState::PROTOCOL_VIOLATION);
    }
}

#[test]
fn other_refusals_carry_their_sqlstate() {
    let code = |result: Result<StartupParameters, StartupError>| result.unwrap_err().report().unwrap().code;
    assert_eq!(code(start(b"database\0shop\0\0")), SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    assert_eq!(code(start(b"user\0\0\0")), SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    assert_eq!(code(start(b"user\0\xff\0\0")), SqlState::CHARACTER_NOT_IN_REPERTOIRE);
    assert_eq!(code(start(b"user\0ann\0\xff\0x\0\0")), SqlState::CHARACTER_NOT_IN_REPERTOIRE);
    assert_eq!(code(start(b"user\0ann\0options\0-c=\0\0")), SqlState::PROTOCOL_VIOLATION);
    assert_eq!(code(start(b"user\0ann\0options\0-e\0\0")), SqlState::SYNTAX_ERROR);
    let version = parse_initial(&packet(2 << 16, b"user\0ann\0\0")).unwrap_err();
    assert_eq!(version, StartupError::Version { major: 2, minor: 0 });
    assert_eq!(version.report().unwrap().code, SqlState::FEATURE_NOT_SUPPORTED);
}

#[test]
fn every_prefix_asks_for_more() {
    let whole = packet(V3, b"user\0ann\0database\0shop\0\0");
    for cut in 0..whole.len() {
        assert_eq!(parse_initial(&whole[..cut]), Ok(None), "{cut}");
    }
    assert_eq!(parse_initial(&whole).unwrap().unwrap().1, whole.len());
}

#[test]
fn random_packets_never_panic() {
    let mut random = Prng(0x57a7);
    let mut started = 0_u32;
    for _ in 0..20_000 {
        let words: [&[u8]; 9] =
            [b"user\0", b"ann\0", b"\0", b"options\0", b"-c a=1\0", b"-c =\\\0", b"\xff\0", b"x", b"_pq_.\0"];
        let rest: Vec<u8> = (0..random.below(9)).flat_map(|_| words[random.below(9)]).copied().collect();
        started += u32::from(start(&rest).is_ok());
        let noise: Vec<u8> =
            (0..random.below(24)).map(|_| [0, 0, 4, 9, 0xd2, 0x16, 0x2e][random.below(7)]).collect();
        let _ = parse_initial(&noise);
    }
    assert!(started > 50, "{started}");
}
