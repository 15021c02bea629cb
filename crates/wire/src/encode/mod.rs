//! Appends messages to a buffer: those to clients, those to servers, and rewritten ones.
//!
//! What is sent seldom (start-up, authentication, results that pgweir makes itself) goes through `pgwire`'s
//! message types; what is sent often, and what must keep a peer's bytes as they are, is written here.

mod reply;
mod request;
mod rewrite;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use reply::{
    Column, authentication_cleartext, authentication_md5, authentication_ok, authentication_sasl,
    backend_key_data, bind_complete, close_complete, command_complete, data_row, empty_query, error_response,
    negotiate_protocol_version, no_data, notice_response, notification_response, parameter_status,
    parse_complete, ready_for_query, row_description, sasl_continue, sasl_final,
};
pub use request::{
    bind, cancel_request, close, copy_done, copy_fail, describe, execute, flush, gss_request, parse,
    password, query, sasl_initial, sasl_response, ssl_request, startup_message, sync, terminate,
};
pub use rewrite::{bind_head, bind_with_statement, close_with_name, describe_with_name, parse_with_name};

use crate::sqlstate::SqlState;

/// A message that can't be written. Nothing of it is in the buffer then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// It would be longer than an Int32 can say.
    #[error("message would be longer than its length field can say")]
    TooLong,
    /// A string of it holds a NUL, which would end it early.
    #[error("string in message contains a zero byte")]
    Nul,
    /// More parameters or columns than an Int16 can count.
    #[error("too many parameters or columns: {0}")]
    TooMany(usize),
    /// The frame to rewrite isn't a whole message of the expected kind.
    #[error("the message to rewrite is malformed")]
    Malformed,
}

impl EncodeError {
    /// `54000` for what is too large, else `08P01`.
    #[must_use]
    pub const fn sqlstate(self) -> SqlState {
        match self {
            Self::TooLong | Self::TooMany(_) => SqlState::PROGRAM_LIMIT_EXCEEDED,
            Self::Nul | Self::Malformed => SqlState::PROTOCOL_VIOLATION,
        }
    }
}

/// Writes type byte and length for a body of `body` bytes that the caller appends next.
fn head(out: &mut Vec<u8>, tag: u8, body: usize) -> Result<(), EncodeError> {
    let length = length_of(body)?;
    out.push(tag);
    out.extend_from_slice(&length);
    Ok(())
}

/// The length field for a body of `body` bytes: it counts itself.
fn length_of(body: usize) -> Result<[u8; 4], EncodeError> {
    let length = body.checked_add(4).ok_or(EncodeError::TooLong)?;
    i32::try_from(length).map(i32::to_be_bytes).map_err(|_| EncodeError::TooLong)
}

fn count_of(count: usize) -> Result<[u8; 2], EncodeError> {
    u16::try_from(count).map(u16::to_be_bytes).map_err(|_| EncodeError::TooMany(count))
}

fn check_nul(text: &[u8]) -> Result<(), EncodeError> {
    // Most are names: looking byte by byte is cheaper then.
    let has_nul = if text.len() <= 16 { text.contains(&0) } else { memchr::memchr(0, text).is_some() };
    if has_nul { Err(EncodeError::Nul) } else { Ok(()) }
}

fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}
