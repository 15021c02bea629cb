//! Well-formed messages read right; every truncation, excess and random body is an error, never a panic.

use super::*;
use crate::frame;

/// Frames of every kind, made by hand so that the encoders are not what they are tested with.
const PARSE: &[u8] = b"s1\0SELECT $1, $2\0\0\x02\0\0\0\x17\0\0\0\0";
const BIND: &[u8] = b"p\0s1\0\0\x02\0\0\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01";

#[test]
fn views_read_their_fields() {
    assert_eq!(Query::parse(b"SELECT 1\0"), Ok(Query { sql: b"SELECT 1" }));
    let parse = Parse::parse(PARSE).unwrap();
    assert_eq!((parse.name, parse.sql, parse.type_count), (&b"s1"[..], &b"SELECT $1, $2"[..], 2));
    assert_eq!(parse.type_oids().collect::<Vec<_>>(), [23, 0]);
    assert_eq!(Describe::parse(b"Ss1\0"), Ok(Describe { target: Target::Statement, name: b"s1" }));
    assert_eq!(Close::parse(b"P\0"), Ok(Close { target: Target::Portal, name: b"" }));
    assert_eq!(Execute::parse(b"p\0\0\0\0\x64"), Ok(Execute { portal: b"p", max_rows: 100 }));
    assert_eq!(CopyFail::parse(b"no more\0"), Ok(CopyFail { reason: b"no more" }));
    assert_eq!(Password::parse(b"secret\0").unwrap().bytes, b"secret");
    assert_eq!(FunctionCallHead::parse(b"\0\0\x04\xd2\0\0"), Ok(FunctionCallHead { function: 1234 }));
    assert_eq!(
        SaslInitial::parse(b"SCRAM-SHA-256\0\0\0\0\x02n,"),
        Ok(SaslInitial { mechanism: b"SCRAM-SHA-256", data: Some(b"n,") })
    );
    assert_eq!(SaslInitial::parse(b"X\0\xff\xff\xff\xff"), Ok(SaslInitial { mechanism: b"X", data: None }));
}

#[test]
fn a_bind_gives_values_with_their_formats() {
    let bind = Bind::parse(BIND).unwrap();
    assert_eq!((bind.portal, bind.statement, bind.values_offset), (&b"p"[..], &b"s1"[..], 5));
    assert_eq!(bind.parameters().collect::<Vec<_>>(), [(0, Some(&b"x"[..])), (1, None)]);
    assert_eq!(bind.parameter(1), Some((1, None)));
    assert_eq!(bind.parameter(2), None);
    assert_eq!(bind.result_formats, b"\0\x01");
}

#[test]
fn one_format_is_for_all_and_none_means_text() {
    let one = Bind::parse(b"\0\0\0\x01\0\x01\0\x02\0\0\0\0\0\0\0\0\0\0").unwrap();
    assert_eq!(one.parameters().map(|(format, _)| format).collect::<Vec<_>>(), [1, 1]);
    let none = Bind::parse(b"\0\0\0\0\0\x01\0\0\0\x02\0\xff\0\0").unwrap();
    assert_eq!(none.parameters().collect::<Vec<_>>(), [(0, Some(&b"\0\xff"[..]))]);
}

#[test]
fn a_bind_that_lies_about_its_values_is_refused() {
    let with_length = |length: i32| {
        let mut body = b"\0\0\0\0\0\x01".to_vec();
        body.extend(length.to_be_bytes());
        body.extend(b"xy\0\0");
        body
    };
    assert!(Bind::parse(&with_length(2)).is_ok());
    for length in [-2, i32::MIN, 5, i32::MAX] {
        assert_eq!(Bind::parse(&with_length(length)), Err(MessageError::Truncated), "{length}");
    }
    assert_eq!(Bind::parse(&with_length(-1)), Err(MessageError::Truncated), "xy read as result formats");
    assert_eq!(
        Bind::parse(b"\0\0\0\x02\0\0\0\0\0\x03"),
        Err(MessageError::FormatCount { formats: 2, parameters: 3 })
    );
}

#[test]
fn a_bind_may_have_65535_parameters() {
    let mut body = b"\0\0\0\0\xff\xff".to_vec();
    for _ in 0..65_535 {
        body.extend(b"\0\0\0\x011");
    }
    body.extend(b"\0\0");
    let bind = Bind::parse(&body).unwrap();
    assert_eq!((bind.parameter_count, bind.parameters().count()), (65_535, 65_535));
    body[5] = 0xfe;
    assert!(Bind::parse(&body).is_err());
}

#[test]
fn the_names_of_a_bind_are_read_from_a_prefix() {
    for cut in 0..5 {
        assert_eq!(BindHead::parse(&BIND[..cut], BIND.len()), Ok(None), "{cut}");
    }
    for cut in 5..=BIND.len() {
        let head = BindHead::parse(&BIND[..cut], BIND.len()).unwrap().unwrap();
        assert_eq!(head, BindHead { portal: b"p", statement: b"s1", values_offset: 5 });
    }
    assert_eq!(BindHead::parse(b"portal", 6), Err(MessageError::Unterminated));
    assert_eq!(BindHead::parse(b"portal\0s", 8), Err(MessageError::Unterminated));
    // What lies beyond the body belongs to the next message.
    assert_eq!(BindHead::parse(b"portal\0s\0", 8), Err(MessageError::Unterminated));
}

#[test]
fn unknown_targets_are_refused() {
    assert_eq!(Describe::parse(b"Xs1\0"), Err(MessageError::Subtype { message: "DESCRIBE", subtype: b'X' }));
    assert_eq!(Close::parse(b"\0\0"), Err(MessageError::Subtype { message: "CLOSE", subtype: 0 }));
}

#[test]
fn a_nul_inside_is_the_end_and_what_follows_is_an_error() {
    assert_eq!(Query::parse(b"SELECT\0 1\0"), Err(MessageError::Trailing));
    assert_eq!(Password::parse(b"pass\0word\0"), Err(MessageError::Trailing));
}

/// Does any view accept it? (All are tried.)
fn accepted(body: &[u8]) -> [bool; 9] {
    [
        Query::parse(body).is_ok(),
        Parse::parse(body).is_ok(),
        Bind::parse(body).is_ok(),
        Describe::parse(body).is_ok(),
        Close::parse(body).is_ok(),
        Execute::parse(body).is_ok(),
        CopyFail::parse(body).is_ok(),
        Password::parse(body).is_ok(),
        SaslInitial::parse(body).is_ok(),
    ]
}

#[test]
fn every_truncation_and_every_excess_is_an_error() {
    let samples: [(usize, &[u8]); 7] = [
        (0, b"SELECT 1\0"),
        (1, PARSE),
        (2, BIND),
        (3, b"Ss1\0"),
        (4, b"Pp\0"),
        (5, b"p\0\0\0\0\x64"),
        (8, b"SCRAM-SHA-256\0\0\0\0\x02n,"),
    ];
    for (view, body) in samples {
        assert!(accepted(body)[view]);
        for cut in 0..body.len() {
            assert!(!accepted(&body[..cut])[view], "view {view} cut at {cut}");
        }
        let longer = [body, b"!"].concat();
        assert!(!accepted(&longer)[view], "view {view} with excess");
    }
}

#[test]
fn random_bodies_never_panic() {
    let mut random = crate::prng::Prng(0x5eed);
    let mut bodies_accepted = 0_u32;
    for _ in 0..20_000 {
        // Small alphabets make counts, NULs and subtypes likely.
        let body: Vec<u8> =
            (0..random.below(40)).map(|_| [0, 0, 1, 2, b'S', 0xff][random.below(6)]).collect();
        bodies_accepted += u32::from(accepted(&body).contains(&true));
        if let Ok(bind) = Bind::parse(&body) {
            assert_eq!(bind.parameters().count(), usize::from(bind.parameter_count));
        }
        let _ = BindHead::parse(&body, body.len() + random.below(3));
        let _ = frame::peek(&body, 100);
    }
    assert!(bodies_accepted > 100, "the alphabet no longer reaches the good paths: {bodies_accepted}");
}
