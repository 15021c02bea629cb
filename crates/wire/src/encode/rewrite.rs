//! A client's messages with another statement name; every other byte stays as it came.
//!
//! All take a whole frame (type byte, length, body), but for [`bind_head`], which serves Binds too long to
//! be held. New names are our own and hold no NUL, which is checked nonetheless.

use super::request::targeted;
use super::{EncodeError, check_nul, cstr, head};
use crate::frame::{self, HEADER, Reader};
use crate::frontend::{BindHead, Close, Describe};
use crate::tag;

/// The Parse in `original`, for a statement called `new_name`.
///
/// # Errors
/// [`EncodeError::Malformed`] if it has no name, [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn parse_with_name(out: &mut Vec<u8>, new_name: &[u8], original: &[u8]) -> Result<(), EncodeError> {
    check_nul(new_name)?;
    let mut reader = Reader::new(body_of(tag::PARSE, original)?);
    reader.cstr().map_err(|_| EncodeError::Malformed)?;
    let rest = reader.rest();
    head(out, tag::PARSE, new_name.len() + 1 + rest.len())?;
    cstr(out, new_name);
    out.extend_from_slice(rest);
    Ok(())
}

/// The Bind in `original`, of the statement called `new_statement`; its portal and values stay.
///
/// # Errors
/// [`EncodeError::Malformed`] if it has no names, [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn bind_with_statement(
    out: &mut Vec<u8>,
    new_statement: &[u8],
    original: &[u8],
) -> Result<(), EncodeError> {
    let body = body_of(tag::BIND, original)?;
    let names = match BindHead::parse(body, body.len()) {
        Ok(Some(names)) => names,
        Ok(None) | Err(_) => return Err(EncodeError::Malformed),
    };
    bind_head(out, names.portal, new_statement, original.len(), names.values_offset)?;
    out.extend_from_slice(&body[names.values_offset..]);
    Ok(())
}

/// The head of a Bind with these names, in place of one of `old_total` bytes ([`frame::Head::total`]) whose
/// names took `old_names` bytes of its body ([`BindHead::values_offset`]): type byte, new length, names.
/// The original's body from `old_names` on is to follow as it is.
///
/// # Errors
/// [`EncodeError::Malformed`] if the old sizes can't be, [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn bind_head(
    out: &mut Vec<u8>,
    portal: &[u8],
    statement: &[u8],
    old_total: usize,
    old_names: usize,
) -> Result<(), EncodeError> {
    check_nul(portal)?;
    check_nul(statement)?;
    let rest = old_total.checked_sub(HEADER + old_names).ok_or(EncodeError::Malformed)?;
    head(out, tag::BIND, rest.checked_add(portal.len() + statement.len() + 2).ok_or(EncodeError::TooLong)?)?;
    cstr(out, portal);
    cstr(out, statement);
    Ok(())
}

/// The Describe in `original`, of what is called `new_name`.
///
/// # Errors
/// [`EncodeError::Malformed`] if it is no Describe, [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn describe_with_name(out: &mut Vec<u8>, new_name: &[u8], original: &[u8]) -> Result<(), EncodeError> {
    check_nul(new_name)?;
    let body = body_of(tag::DESCRIBE, original)?;
    let describe = Describe::parse(body).map_err(|_| EncodeError::Malformed)?;
    targeted(out, tag::DESCRIBE, describe.target, new_name)
}

/// The Close in `original`, of what is called `new_name`.
///
/// # Errors
/// [`EncodeError::Malformed`] if it is no Close, [`EncodeError::Nul`], [`EncodeError::TooLong`].
pub fn close_with_name(out: &mut Vec<u8>, new_name: &[u8], original: &[u8]) -> Result<(), EncodeError> {
    check_nul(new_name)?;
    let body = body_of(tag::CLOSE, original)?;
    let close = Close::parse(body).map_err(|_| EncodeError::Malformed)?;
    targeted(out, tag::CLOSE, close.target, new_name)
}

/// The body of a frame of this type that is whole, no more and no less.
fn body_of(tag: u8, original: &[u8]) -> Result<&[u8], EncodeError> {
    match frame::peek(original, usize::MAX) {
        Ok(Some(found)) if found.tag == tag && found.total == original.len() => Ok(frame::body(original)),
        _ => Err(EncodeError::Malformed),
    }
}
