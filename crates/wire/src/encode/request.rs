//! Messages to servers. All are rare: what clients send is forwarded as it came.

use super::{EncodeError, check_nul, count_of, cstr, head, length_of};
use crate::frontend::Target;
use crate::startup::{CANCEL_CODE, GSS_CODE, SSL_CODE};
use crate::tag;

/// A StartupMessage for protocol 3.`minor`, with these parameters in this order.
///
/// # Errors
/// [`EncodeError::Nul`]; [`EncodeError::TooLong`] past what a server takes ([`crate::startup::MAX_PACKET`]).
pub fn startup_message<'p>(
    out: &mut Vec<u8>,
    parameters: impl IntoIterator<Item = (&'p str, &'p str)>,
    minor: u16,
) -> Result<(), EncodeError> {
    let mut body = (3_u32 << 16 | u32::from(minor)).to_be_bytes().to_vec();
    for (name, value) in parameters {
        check_nul(name.as_bytes())?;
        check_nul(value.as_bytes())?;
        cstr(&mut body, name.as_bytes());
        cstr(&mut body, value.as_bytes());
    }
    body.push(0);
    if body.len() > crate::startup::MAX_PACKET {
        return Err(EncodeError::TooLong);
    }
    out.extend_from_slice(&length_of(body.len())?);
    out.extend_from_slice(&body);
    Ok(())
}

/// An SSLRequest. The answer is a single byte, `S` or `N`.
pub fn ssl_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 8]);
    out.extend_from_slice(&SSL_CODE.to_be_bytes());
}

/// A GSSENCRequest (for tests: pgweir never asks for it).
pub fn gss_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 8]);
    out.extend_from_slice(&GSS_CODE.to_be_bytes());
}

/// A CancelRequest for the session with this process id and key.
///
/// # Errors
/// [`EncodeError::TooLong`] for a key of more than 256 bytes.
pub fn cancel_request(out: &mut Vec<u8>, pid: u32, key: &[u8]) -> Result<(), EncodeError> {
    if key.len() > 256 {
        return Err(EncodeError::TooLong);
    }
    out.extend_from_slice(&length_of(8 + key.len())?);
    out.extend_from_slice(&CANCEL_CODE.to_be_bytes());
    out.extend_from_slice(&pid.to_be_bytes());
    out.extend_from_slice(key);
    Ok(())
}

/// A PasswordMessage: a clear-text password or an MD5 answer.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn password(out: &mut Vec<u8>, password: &[u8]) -> Result<(), EncodeError> {
    one_string(out, tag::PASSWORD, password)
}

/// A SASLInitialResponse with the mechanism chosen and the first message of its exchange.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn sasl_initial(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) -> Result<(), EncodeError> {
    check_nul(mechanism.as_bytes())?;
    let data_length = i32::try_from(data.len()).map_err(|_| EncodeError::TooLong)?;
    head(out, tag::PASSWORD, mechanism.len() + 5 + data.len())?;
    cstr(out, mechanism.as_bytes());
    out.extend_from_slice(&data_length.to_be_bytes());
    out.extend_from_slice(data);
    Ok(())
}

/// A SASLResponse: the next message of the exchange.
///
/// # Errors
/// [`EncodeError::TooLong`].
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) -> Result<(), EncodeError> {
    head(out, tag::PASSWORD, data.len())?;
    out.extend_from_slice(data);
    Ok(())
}

/// A simple Query.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn query(out: &mut Vec<u8>, sql: &[u8]) -> Result<(), EncodeError> {
    one_string(out, tag::QUERY, sql)
}

/// A CopyFail, with a reason that the server quotes in its error.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn copy_fail(out: &mut Vec<u8>, reason: &str) -> Result<(), EncodeError> {
    one_string(out, tag::COPY_FAIL, reason.as_bytes())
}

/// A Parse. `types` are OIDs of the first parameters' types, 0 where the server may choose.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooMany`], [`EncodeError::TooLong`].
pub fn parse(out: &mut Vec<u8>, name: &[u8], sql: &[u8], types: &[u32]) -> Result<(), EncodeError> {
    check_nul(name)?;
    check_nul(sql)?;
    let count = count_of(types.len())?;
    head(out, tag::PARSE, name.len() + sql.len() + 4 + types.len() * 4)?;
    cstr(out, name);
    cstr(out, sql);
    out.extend_from_slice(&count);
    for oid in types {
        out.extend_from_slice(&oid.to_be_bytes());
    }
    Ok(())
}

/// A Bind with parameters in text format (`None` is NULL), asking for results in text format.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooMany`], [`EncodeError::TooLong`].
pub fn bind(
    out: &mut Vec<u8>,
    portal: &[u8],
    statement: &[u8],
    parameters: &[Option<&[u8]>],
) -> Result<(), EncodeError> {
    check_nul(portal)?;
    check_nul(statement)?;
    let count = count_of(parameters.len())?;
    let values: usize = parameters.iter().map(|value| 4 + value.map_or(0, <[u8]>::len)).sum();
    head(out, tag::BIND, portal.len() + statement.len() + 2 + 2 + 2 + values + 2)?;
    cstr(out, portal);
    cstr(out, statement);
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&count);
    for value in parameters {
        append_value(out, *value);
    }
    out.extend_from_slice(&[0, 0]);
    Ok(())
}

/// A Describe of a statement or portal.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn describe(out: &mut Vec<u8>, target: Target, name: &[u8]) -> Result<(), EncodeError> {
    check_nul(name)?;
    targeted(out, tag::DESCRIBE, target, name)
}

/// A Close of a statement or portal.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn close(out: &mut Vec<u8>, target: Target, name: &[u8]) -> Result<(), EncodeError> {
    check_nul(name)?;
    targeted(out, tag::CLOSE, target, name)
}

/// An Execute; `max_rows` 0 is all of them.
///
/// # Errors
/// [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn execute(out: &mut Vec<u8>, portal: &[u8], max_rows: i32) -> Result<(), EncodeError> {
    check_nul(portal)?;
    head(out, tag::EXECUTE, portal.len() + 5)?;
    cstr(out, portal);
    out.extend_from_slice(&max_rows.to_be_bytes());
    Ok(())
}

/// A Sync.
pub fn sync(out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag::SYNC, 0, 0, 0, 4]);
}

/// A Flush.
pub fn flush(out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag::FLUSH, 0, 0, 0, 4]);
}

/// A CopyDone.
pub fn copy_done(out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag::COPY_DONE, 0, 0, 0, 4]);
}

/// A Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    out.extend_from_slice(&[tag::TERMINATE, 0, 0, 0, 4]);
}

/// Describe's and Close's shape; the name is known to hold no NUL.
pub(super) fn targeted(out: &mut Vec<u8>, tag: u8, target: Target, name: &[u8]) -> Result<(), EncodeError> {
    head(out, tag, name.len() + 2)?;
    out.push(target.as_byte());
    cstr(out, name);
    Ok(())
}

/// A value after its length. That the message's length fits has been checked, so the value's does.
pub(super) fn append_value(out: &mut Vec<u8>, value: Option<&[u8]>) {
    let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value.unwrap_or_default());
}

fn one_string(out: &mut Vec<u8>, tag: u8, text: &[u8]) -> Result<(), EncodeError> {
    check_nul(text)?;
    head(out, tag, text.len() + 1)?;
    cstr(out, text);
    Ok(())
}
