//! Each encoder's exact bytes, or what the views read back; rewriting; refusals that leave the buffer alone.

use super::*;
use crate::backend::{self, Authentication, TransactionStatus};
use crate::error::ErrorReport;
use crate::frame::{self, Head, MAX_BODY};
use crate::frontend::{self, BindHead, Target};
use crate::sqlstate::SqlState;
use crate::startup::{Initial, parse_initial};
use crate::tag;

/// What `write` appended: one whole frame of this type; its body.
fn body(tag: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&mut out);
    let frame = out.strip_prefix(b"before").unwrap();
    assert_eq!(frame::peek(frame, MAX_BODY), Ok(Some(Head { tag, total: frame.len() })));
    frame::body(frame).to_vec()
}

#[test]
fn authentication_reads_back() {
    let auth = |write: &dyn Fn(&mut Vec<u8>)| body(tag::AUTHENTICATION, write);
    assert_eq!(Authentication::parse(&auth(&authentication_ok)), Ok(Authentication::Ok));
    assert_eq!(
        Authentication::parse(&auth(&authentication_cleartext)),
        Ok(Authentication::CleartextPassword)
    );
    assert_eq!(
        Authentication::parse(&auth(&|out| authentication_md5(out, *b"salt"))),
        Ok(Authentication::Md5 { salt: *b"salt" })
    );
    let sasl = auth(&|out| authentication_sasl(out, &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]));
    assert_eq!(sasl, b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    assert_eq!(
        Authentication::parse(&auth(&|out| sasl_continue(out, b"r=\0"))),
        Ok(Authentication::SaslContinue(b"r=\0"))
    );
    assert_eq!(
        Authentication::parse(&auth(&|out| sasl_final(out, b"v=1"))),
        Ok(Authentication::SaslFinal(b"v=1"))
    );
}

#[test]
fn session_replies_read_back() {
    let key = body(tag::BACKEND_KEY_DATA, |out| backend_key_data(out, 0xffff_fff0, &[7; 32]).unwrap());
    assert_eq!(backend::BackendKeyData::parse(&key).unwrap().pid, 0xffff_fff0);
    assert_eq!(backend::BackendKeyData::parse(&key).unwrap().key, [7; 32]);
    let status = body(tag::PARAMETER_STATUS, |out| parameter_status(out, "a", b"\xff").unwrap());
    assert_eq!(status, b"a\0\xff\0");
    assert_eq!(body(tag::READY_FOR_QUERY, |out| ready_for_query(out, TransactionStatus::Failed)), b"E");
    let version = body(tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        negotiate_protocol_version(out, 2, &["_pq_.x".to_owned()]);
    });
    assert_eq!(version, b"\0\x03\0\x02\0\0\0\x01_pq_.x\0");
    assert_eq!(body(tag::COMMAND_COMPLETE, |out| command_complete(out, "SHOW")), b"SHOW\0");
    for (tag, write) in [
        (tag::EMPTY_QUERY_RESPONSE, empty_query as fn(&mut Vec<u8>)),
        (tag::PARSE_COMPLETE, parse_complete),
        (tag::BIND_COMPLETE, bind_complete),
        (tag::CLOSE_COMPLETE, close_complete),
        (tag::NO_DATA, no_data),
        (tag::SYNC, sync),
        (tag::FLUSH, flush),
        (tag::COPY_DONE, copy_done),
        (tag::TERMINATE, terminate),
    ] {
        assert_eq!(body(tag, write), b"");
    }
}

#[test]
fn errors_carry_all_fields_and_no_zero_bytes() {
    let report =
        ErrorReport::error(SqlState::TOO_MANY_CONNECTIONS, "full\0 up").with_detail("d").with_hint("h");
    let error = body(tag::ERROR_RESPONSE, |out| error_response(out, &report));
    assert_eq!(error, b"SERROR\0VERROR\0C53300\0Mfull up\0Dd\0Hh\0\0");
    let long = ErrorReport::notice("é".repeat(10_000));
    let notice = body(tag::NOTICE_RESPONSE, |out| notice_response(out, &long));
    let text = backend::ErrorFields::parse(&notice).unwrap().message().into_owned();
    assert_eq!(text, "é".repeat(4_096));
}

#[test]
fn results_read_back() {
    let columns = [Column::text("name"), Column::int4("n")];
    let description = body(tag::ROW_DESCRIPTION, |out| row_description(out, &columns).unwrap());
    let read = backend::RowDescription::parse(&description).unwrap();
    let fields: Vec<_> = read.iter().map(|field| (field.name, field.type_oid, field.type_size)).collect();
    assert_eq!(fields, [(&b"name"[..], 25, -1), (b"n", 23, 4)]);
    let row = body(tag::DATA_ROW, |out| data_row(out, &[Some(b"x\0"), None]).unwrap());
    assert_eq!(row, b"\0\x02\0\0\0\x02x\0\xff\xff\xff\xff");
}

#[test]
fn requests_read_back() {
    let mut out = Vec::new();
    startup_message(&mut out, [("user", "ann"), ("options", "-c a=1")], 2).unwrap();
    let Some((Initial::Start(started), length)) = parse_initial(&out).unwrap() else { panic!() };
    assert_eq!((started.user(), started.minor(), length), ("ann", 2, out.len()));

    for (write, initial) in [(ssl_request as fn(&mut Vec<u8>), Initial::Ssl), (gss_request, Initial::Gss)] {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(parse_initial(&out), Ok(Some((initial, 8))));
    }
    let mut out = Vec::new();
    cancel_request(&mut out, 7, &[1; 32]).unwrap();
    assert_eq!(parse_initial(&out), Ok(Some((Initial::Cancel { pid: 7, key: vec![1; 32] }, 44))));

    let secret = body(tag::PASSWORD, |out| password(out, b"secret").unwrap());
    assert_eq!(frontend::Password::parse(&secret).unwrap().bytes, b"secret");
    let first = body(tag::PASSWORD, |out| sasl_initial(out, "SCRAM-SHA-256", b"n,,").unwrap());
    assert_eq!(frontend::SaslInitial::parse(&first).unwrap().data, Some(&b"n,,"[..]));
    assert_eq!(body(tag::PASSWORD, |out| sasl_response(out, b"c=").unwrap()), b"c=");
    assert_eq!(body(tag::QUERY, |out| query(out, b"SELECT 1").unwrap()), b"SELECT 1\0");
    assert_eq!(body(tag::COPY_FAIL, |out| copy_fail(out, "no").unwrap()), b"no\0");
    assert_eq!(body(tag::EXECUTE, |out| execute(out, b"p", 5).unwrap()), b"p\0\0\0\0\x05");
    assert_eq!(body(tag::DESCRIBE, |out| describe(out, Target::Portal, b"p").unwrap()), b"Pp\0");
    assert_eq!(body(tag::CLOSE, |out| close(out, Target::Statement, b"s").unwrap()), b"Ss\0");
    let parsed = body(tag::PARSE, |out| parse(out, b"s", b"SELECT $1", &[23]).unwrap());
    assert_eq!(parsed, b"s\0SELECT $1\0\0\x01\0\0\0\x17");
    let bound = body(tag::BIND, |out| bind(out, b"", b"s", &[Some(b"1"), None]).unwrap());
    assert_eq!(bound, b"\0s\0\0\0\0\x02\0\0\0\x011\xff\xff\xff\xff\0\0");
}

#[test]
fn rewriting_changes_the_name_only() {
    let frame = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    let original = frame(&|out| parse(out, b"old", b"SELECT \xff", &[23, 0]).unwrap());
    let expected = frame(&|out| parse(out, b"pgweir_1", b"SELECT \xff", &[23, 0]).unwrap());
    assert_eq!(frame(&|out| parse_with_name(out, b"pgweir_1", &original).unwrap()), expected);

    let original = frame(&|out| bind(out, b"port", b"old", &[Some(b"v"), None]).unwrap());
    let expected = frame(&|out| bind(out, b"port", b"pgweir_1", &[Some(b"v"), None]).unwrap());
    assert_eq!(frame(&|out| bind_with_statement(out, b"pgweir_1", &original).unwrap()), expected);
    // In parts: the head from what has arrived, and the rest as it comes.
    let names = BindHead::parse(&frame::body(&original)[..12], original.len() - 5).unwrap().unwrap();
    let mut out = Vec::new();
    bind_head(&mut out, names.portal, b"pgweir_1", original.len(), names.values_offset).unwrap();
    out.extend_from_slice(&frame::body(&original)[names.values_offset..]);
    assert_eq!(out, expected);

    for target in [Target::Statement, Target::Portal] {
        let original = frame(&|out| describe(out, target, b"old").unwrap());
        let expected = frame(&|out| describe(out, target, b"new").unwrap());
        assert_eq!(frame(&|out| describe_with_name(out, b"new", &original).unwrap()), expected);
        let original = frame(&|out| close(out, target, b"old").unwrap());
        let expected = frame(&|out| close(out, target, b"").unwrap());
        assert_eq!(frame(&|out| close_with_name(out, b"", &original).unwrap()), expected);
    }
}

#[test]
fn rewriting_refuses_what_is_no_whole_message_of_its_kind() {
    type Rewrite = fn(&mut Vec<u8>, &[u8], &[u8]) -> Result<(), EncodeError>;
    let rewrites: [Rewrite; 4] = [parse_with_name, bind_with_statement, describe_with_name, close_with_name];
    let mut originals = vec![Vec::new(); 4];
    parse(&mut originals[0], b"s", b"SELECT 1", &[]).unwrap();
    bind(&mut originals[1], b"p", b"s", &[]).unwrap();
    describe(&mut originals[2], Target::Portal, b"p").unwrap();
    close(&mut originals[3], Target::Portal, b"p").unwrap();
    for (kind, rewrite) in rewrites.iter().enumerate() {
        let mut out = Vec::new();
        for (other, original) in originals.iter().enumerate() {
            for cut in 0..original.len() {
                assert_eq!(rewrite(&mut out, b"n", &original[..cut]), Err(EncodeError::Malformed));
            }
            if other != kind {
                assert_eq!(rewrite(&mut out, b"n", original), Err(EncodeError::Malformed));
            }
        }
        let longer = [&originals[kind][..], b"x"].concat();
        assert_eq!(rewrite(&mut out, b"n", &longer), Err(EncodeError::Malformed));
        assert_eq!(rewrite(&mut out, b"n\0", &originals[kind]), Err(EncodeError::Nul));
        assert_eq!(out, b"", "nothing is written by a refusal");
    }
}

#[test]
fn a_rewrite_never_exceeds_the_length_field() {
    let mut out = Vec::new();
    let longest = usize::try_from(i32::MAX).unwrap() + 1;
    // The longest Bind there can be, with empty names, takes a name of 0 bytes and none more.
    bind_head(&mut out, b"", b"", longest, 2).unwrap();
    assert_eq!(out, [&b"B\x7f\xff\xff\xff"[..], b"\0\0"].concat());
    out.clear();
    assert_eq!(bind_head(&mut out, b"", b"s", longest, 2), Err(EncodeError::TooLong));
    assert_eq!(bind_head(&mut out, b"", b"s", usize::MAX, 2), Err(EncodeError::TooLong));
    assert_eq!(bind_head(&mut out, b"", b"s", 6, 2), Err(EncodeError::Malformed));
    assert_eq!(out, b"");
}

#[test]
fn refusals_leave_the_buffer_alone() {
    let mut out = Vec::new();
    assert_eq!(query(&mut out, b"SELECT\0 1"), Err(EncodeError::Nul));
    assert_eq!(password(&mut out, b"\0"), Err(EncodeError::Nul));
    assert_eq!(parse(&mut out, b"s\0", b"", &[]), Err(EncodeError::Nul));
    assert_eq!(execute(&mut out, b"p\0", 0), Err(EncodeError::Nul));
    assert_eq!(startup_message(&mut out, [("user", "a\0b")], 0), Err(EncodeError::Nul));
    assert_eq!(
        startup_message(&mut out, [("user", "a".repeat(10_000).as_str())], 0),
        Err(EncodeError::TooLong)
    );
    assert_eq!(bind(&mut out, b"", b"", &vec![None; 65_536]), Err(EncodeError::TooMany(65_536)));
    assert_eq!(parse(&mut out, b"", b"", &vec![0; 65_536]), Err(EncodeError::TooMany(65_536)));
    assert_eq!(data_row(&mut out, &vec![None; 32_768]), Err(EncodeError::TooMany(32_768)));
    assert_eq!(
        row_description(&mut out, &vec![Column::text("c"); 32_768]),
        Err(EncodeError::TooMany(32_768))
    );
    assert_eq!(backend_key_data(&mut out, 1, &[0; 257]), Err(EncodeError::TooLong));
    assert_eq!(cancel_request(&mut out, 1, &[0; 257]), Err(EncodeError::TooLong));
    assert_eq!(parameter_status(&mut out, "a\0", "b"), Err(EncodeError::Nul));
    assert_eq!(out, b"");
    assert_eq!(EncodeError::TooMany(65_536).sqlstate(), SqlState::PROGRAM_LIMIT_EXCEEDED);
    bind(&mut out, b"", b"", &vec![None; 65_535]).unwrap();
    assert_eq!(frontend::Bind::parse(frame::body(&out)).unwrap().parameter_count, 65_535);
}
