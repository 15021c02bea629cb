//! What a server may send reads right; what it may not is an error, never a panic.

use super::*;
use crate::error::Severity;
use crate::sqlstate::SqlState;

const ROWS: &[u8] = b"\0\x01id\0\0\0\x40\0\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
const ERROR: &[u8] = b"SFEHLER\0VERROR\0C42P01\0Mno \xfc table\0HLook.\0\0";

#[test]
fn authentication_of_each_kind() {
    assert_eq!(Authentication::parse(b"\0\0\0\0"), Ok(Authentication::Ok));
    assert_eq!(Authentication::parse(b"\0\0\0\x03"), Ok(Authentication::CleartextPassword));
    assert_eq!(Authentication::parse(b"\0\0\0\x05salt"), Ok(Authentication::Md5 { salt: *b"salt" }));
    assert_eq!(Authentication::parse(b"\0\0\0\x0bdata"), Ok(Authentication::SaslContinue(b"data")));
    assert_eq!(Authentication::parse(b"\0\0\0\x0cv=x"), Ok(Authentication::SaslFinal(b"v=x")));
    assert_eq!(Authentication::parse(b"\0\0\0\x07"), Ok(Authentication::Other(7)));
    let sasl = Authentication::parse(b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0").unwrap();
    let Authentication::Sasl { mechanisms } = sasl else { panic!("{sasl:?}") };
    assert_eq!(mechanisms.iter().collect::<Vec<_>>(), [&b"SCRAM-SHA-256-PLUS"[..], b"SCRAM-SHA-256"]);
    assert!(mechanisms.contains("SCRAM-SHA-256") && !mechanisms.contains("SCRAM"));
    for bad in [
        &b""[..],
        b"\0\0\0",
        b"\0\0\0\0x",
        b"\0\0\0\x05sal",
        b"\0\0\0\x05salty",
        b"\0\0\0\x0aX",
        b"\0\0\0\x0aX\0",
    ] {
        assert!(Authentication::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn an_error_tells_its_fields() {
    let error = ErrorFields::parse(ERROR).unwrap();
    assert_eq!(error.sqlstate(), Some(SqlState::UNDEFINED_TABLE));
    assert_eq!(error.severity(), Some(Severity::Error));
    assert_eq!(error.message(), "no \u{fffd} table");
    assert_eq!(error.iter().count(), 5);
    let report = error.to_report();
    assert_eq!((report.code, report.hint.as_deref()), (SqlState::UNDEFINED_TABLE, Some("Look.")));
}

#[test]
fn an_error_without_sqlstate_says_so() {
    assert_eq!(ErrorFields::parse(b"SERROR\0Mx\0\0").unwrap().sqlstate(), None);
    assert_eq!(ErrorFields::parse(b"C42\0\0").unwrap().sqlstate(), None);
    assert_eq!(ErrorFields::parse(b"\0").unwrap().message(), "");
}

#[test]
fn ready_for_query_has_three_states() {
    for status in [TransactionStatus::Idle, TransactionStatus::InTransaction, TransactionStatus::Failed] {
        assert_eq!(ReadyForQuery::parse(&[status.as_byte()]), Ok(ReadyForQuery { status }));
    }
    for bad in [&b""[..], b"X", b"II"] {
        assert!(ReadyForQuery::parse(bad).is_err());
    }
}

#[test]
fn small_messages_read_their_fields() {
    assert_eq!(
        ParameterStatus::parse(b"TimeZone\0UTC\0"),
        Ok(ParameterStatus { name: b"TimeZone", value: b"UTC" })
    );
    assert_eq!(BackendKeyData::parse(b"\0\0\0\x07abcd"), Ok(BackendKeyData { pid: 7, key: b"abcd" }));
    assert!(BackendKeyData::parse(b"\0\0\0\x07abc").is_err());
    assert!(BackendKeyData::parse(&[1; 260]).is_ok());
    assert!(BackendKeyData::parse(&[1; 261]).is_err());
    assert_eq!(CommandComplete::parse(b"INSERT 0 12\0").unwrap().rows(), Some(12));
    assert_eq!(CommandComplete::parse(b"BEGIN\0").unwrap().rows(), None);
    assert_eq!(
        NotificationResponse::parse(b"\0\0\0\x07ch\0\0"),
        Ok(NotificationResponse { pid: 7, channel: b"ch", payload: b"" })
    );
}

#[test]
fn a_negotiated_version_reads_in_both_forms() {
    for version in [&b"\0\x03\0\x02"[..], b"\0\0\0\x02"] {
        let body = [version, b"\0\0\0\x01_pq_.x\0"].concat();
        let message = NegotiateProtocolVersion::parse(&body).unwrap();
        assert_eq!((message.minor, message.option_count, message.options), (2, 1, &b"_pq_.x\0"[..]));
    }
    assert!(NegotiateProtocolVersion::parse(b"\0\0\0\x02\xff\xff\xff\xff").is_err());
}

#[test]
fn rows_and_their_description() {
    let description = RowDescription::parse(ROWS).unwrap();
    let field = description.iter().next().unwrap();
    assert_eq!((field.name, field.type_oid, field.type_size, field.type_modifier), (&b"id"[..], 23, 4, -1));
    let row = DataRow::parse(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff").unwrap();
    assert_eq!(row.iter().collect::<Vec<_>>(), [Some(&b"a"[..]), None]);
    assert_eq!((row.get(1), row.get(2)), (Some(None), None));
    for bad in [&b""[..], b"\0\x01", b"\0\x01\xff\xff\xff\xfe", b"\0\x01\0\0\0\x02a", b"\0\0x"] {
        assert!(DataRow::parse(bad).is_err(), "{bad:?}");
    }
}

fn accepted(body: &[u8]) -> [bool; 8] {
    [
        Authentication::parse(body).is_ok(),
        ErrorFields::parse(body).is_ok(),
        ParameterStatus::parse(body).is_ok(),
        CommandComplete::parse(body).is_ok(),
        NegotiateProtocolVersion::parse(body).is_ok(),
        NotificationResponse::parse(body).is_ok(),
        RowDescription::parse(body).is_ok(),
        DataRow::parse(body).is_ok(),
    ]
}

#[test]
fn every_truncation_is_an_error() {
    let samples: [(usize, &[u8]); 8] = [
        (0, b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
        (1, ERROR),
        (2, b"TimeZone\0UTC\0"),
        (3, b"SELECT 1\0"),
        (4, b"\0\x03\0\0\0\0\0\x01_pq_.x\0"),
        (5, b"\0\0\0\x07ch\0load\0"),
        (6, ROWS),
        (7, b"\0\x02\0\0\0\x01a\xff\xff\xff\xff"),
    ];
    for (view, body) in samples {
        assert!(accepted(body)[view]);
        for cut in 0..body.len() {
            assert!(!accepted(&body[..cut])[view], "view {view} cut at {cut}");
        }
    }
}

#[test]
fn random_bodies_never_panic() {
    let mut random = crate::prng::Prng(0xbac);
    let mut bodies_accepted = 0_u32;
    for _ in 0..20_000 {
        let body: Vec<u8> =
            (0..random.below(40)).map(|_| [0, 0, 0, 1, 10, b'C', 0xff][random.below(7)]).collect();
        bodies_accepted += u32::from(accepted(&body).contains(&true));
        if let Ok(row) = DataRow::parse(&body) {
            assert_eq!(row.iter().count(), usize::from(row.count));
        }
        if let Ok(rows) = RowDescription::parse(&body) {
            assert_eq!(rows.iter().count(), usize::from(rows.count));
        }
        if let Ok(error) = ErrorFields::parse(&body) {
            let _ = error.to_report();
        }
    }
    assert!(bodies_accepted > 100, "the alphabet no longer reaches the good paths: {bodies_accepted}");
}
