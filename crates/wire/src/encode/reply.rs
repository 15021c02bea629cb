//! Messages to clients.

use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{self, FieldDescription};
use pgwire::messages::response::{self, CommandComplete, EmptyQueryResponse};
use pgwire::messages::startup::{self, Authentication, BackendKeyData, SecretKey};

use super::request::append_value;
use super::{EncodeError, check_nul, cstr, head};
use crate::backend::TransactionStatus;
use crate::error::ErrorReport;
use crate::tag;

/// Texts of our own messages are cut here: nobody reads more, and it keeps every message encodable.
const MAX_TEXT: usize = 8_192;

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    bounded(out, &Authentication::Ok);
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(out: &mut Vec<u8>) {
    bounded(out, &Authentication::CleartextPassword);
}

/// AuthenticationMD5Password.
pub fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    bounded(out, &Authentication::MD5Password(salt.to_vec()));
}

/// AuthenticationSASL: the mechanisms offered, best first.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    let mechanisms = mechanisms.iter().map(|mechanism| clean(mechanism)).collect();
    bounded(out, &Authentication::SASL(mechanisms));
}

/// AuthenticationSASLContinue.
pub fn sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    bounded(out, &Authentication::SASLContinue(Bytes::copy_from_slice(data)));
}

/// AuthenticationSASLFinal.
pub fn sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    bounded(out, &Authentication::SASLFinal(Bytes::copy_from_slice(data)));
}

/// NegotiateProtocolVersion: the newest minor version spoken, and the options that aren't known.
///
/// The version is sent whole (3.`minor`), as Postgres does and libpq reads it.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u16, unknown_options: &[String]) {
    let options = unknown_options.iter().map(|option| clean(option)).collect();
    bounded(out, &startup::NegotiateProtocolVersion::new(3 << 16 | i32::from(minor), options));
}

/// BackendKeyData: 4 bytes of key for a client of protocol 3.0, up to 256 for 3.2.
///
/// # Errors
/// [`EncodeError::TooLong`] if the key is not of 4 to 256 bytes.
pub fn backend_key_data(out: &mut Vec<u8>, pid: u32, key: &[u8]) -> Result<(), EncodeError> {
    let pid = i32::from_be_bytes(pid.to_be_bytes());
    synthetic(out, &BackendKeyData::new(pid, SecretKey::Bytes(Bytes::copy_from_slice(key))))
}

/// ParameterStatus. Bytes, as a server reported them: they needn't be UTF-8.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn parameter_status(
    out: &mut Vec<u8>,
    name: impl AsRef<[u8]>,
    value: impl AsRef<[u8]>,
) -> Result<(), EncodeError> {
    let (name, value) = (name.as_ref(), value.as_ref());
    check_nul(name)?;
    check_nul(value)?;
    head(out, tag::PARAMETER_STATUS, name.len() + value.len() + 2)?;
    cstr(out, name);
    cstr(out, value);
    Ok(())
}

/// NotificationResponse. Bytes, in whatever encoding its receiver has asked for.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn notification_response(
    out: &mut Vec<u8>,
    pid: u32,
    channel: &[u8],
    payload: &[u8],
) -> Result<(), EncodeError> {
    check_nul(channel)?;
    check_nul(payload)?;
    head(out, tag::NOTIFICATION_RESPONSE, 4 + channel.len() + payload.len() + 2)?;
    out.extend_from_slice(&pid.to_be_bytes());
    cstr(out, channel);
    cstr(out, payload);
    Ok(())
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    out.extend_from_slice(&[tag::READY_FOR_QUERY, 0, 0, 0, 5, status.as_byte()]);
}

/// ErrorResponse. Texts of more than 8 kB are cut, zero bytes in them dropped.
pub fn error_response(out: &mut Vec<u8>, report: &ErrorReport) {
    bounded(out, &response::ErrorResponse::new(fields(report)));
}

/// NoticeResponse, likewise.
pub fn notice_response(out: &mut Vec<u8>, report: &ErrorReport) {
    bounded(out, &response::NoticeResponse::new(fields(report)));
}

fn fields(report: &ErrorReport) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', report.severity.as_str().to_owned()),
        (b'V', report.severity.as_str().to_owned()),
        (b'C', report.code.as_str().to_owned()),
        (b'M', clean(&report.message)),
    ];
    fields.extend(report.detail.as_deref().map(|detail| (b'D', clean(detail))));
    fields.extend(report.hint.as_deref().map(|hint| (b'H', clean(hint))));
    fields
}

/// A column of a result that pgweir makes itself: always in text format, of no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: &'a str,
    /// OID of its type, e.g. 25 for text.
    pub type_oid: u32,
    /// `pg_type.typlen`: bytes, or -1 if they vary.
    pub size: i16,
}

impl<'a> Column<'a> {
    /// A column of type `text`.
    #[must_use]
    pub const fn text(name: &'a str) -> Self {
        Self { name, type_oid: 25, size: -1 }
    }

    /// A column of type `int4`.
    #[must_use]
    pub const fn int4(name: &'a str) -> Self {
        Self { name, type_oid: 23, size: 4 }
    }

    /// A column of type `int8`.
    #[must_use]
    pub const fn int8(name: &'a str) -> Self {
        Self { name, type_oid: 20, size: 8 }
    }
}

/// RowDescription.
///
/// # Errors
/// [`EncodeError::TooMany`] past 32,767 columns.
pub fn row_description(out: &mut Vec<u8>, columns: &[Column<'_>]) -> Result<(), EncodeError> {
    i16::try_from(columns.len()).map_err(|_| EncodeError::TooMany(columns.len()))?;
    let field = |column: &Column<'_>| {
        FieldDescription::new(clean(column.name), 0, 0, column.type_oid, column.size, -1, 0)
    };
    synthetic(out, &data::RowDescription::new(columns.iter().map(field).collect()))
}

/// DataRow; `None` is NULL.
///
/// # Errors
/// [`EncodeError::TooMany`] past 32,767 columns, [`EncodeError::TooLong`].
pub fn data_row(out: &mut Vec<u8>, values: &[Option<&[u8]>]) -> Result<(), EncodeError> {
    let count = i16::try_from(values.len()).map_err(|_| EncodeError::TooMany(values.len()))?;
    let size: usize = values.iter().map(|value| 4 + value.map_or(0, <[u8]>::len)).sum();
    super::length_of(size + 2)?;
    let mut row = Vec::with_capacity(size);
    for value in values {
        append_value(&mut row, *value);
    }
    synthetic(out, &data::DataRow::new(BytesMut::from(&row[..]), count))
}

/// CommandComplete with this tag, e.g. `SHOW`.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    bounded(out, &CommandComplete::new(clean(tag)));
}

/// EmptyQueryResponse.
pub fn empty_query(out: &mut Vec<u8>) {
    bounded(out, &EmptyQueryResponse::new());
}

/// ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag::PARSE_COMPLETE, 0, 0, 0, 4]);
}

/// BindComplete.
pub fn bind_complete(out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag::BIND_COMPLETE, 0, 0, 0, 4]);
}

/// CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag::CLOSE_COMPLETE, 0, 0, 0, 4]);
}

/// NoData.
pub fn no_data(out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag::NO_DATA, 0, 0, 0, 4]);
}

/// Appends a message of `pgwire`'s, all of it or nothing.
fn synthetic(out: &mut Vec<u8>, message: &impl Message) -> Result<(), EncodeError> {
    let mut encoded = BytesMut::new();
    message.encode(&mut encoded).map_err(|_| EncodeError::TooLong)?;
    out.extend_from_slice(&encoded);
    Ok(())
}

/// Appends a message that can't be too long, because all its texts went through [`clean`].
fn bounded(out: &mut Vec<u8>, message: &impl Message) {
    let appended = synthetic(out, message);
    debug_assert_eq!(appended, Ok(()));
}

/// A text that a message can carry: no zero bytes (they would end it early), and of bounded length.
fn clean(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "")
}
