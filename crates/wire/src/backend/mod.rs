//! Views of the messages that a server sends: they borrow from the frame's body and copy nothing.
//!
//! Each `parse` takes the *body* of a whole frame ([`crate::frame::body`]). A server that sends what they
//! refuse is out of its mind: its connection is dropped.

mod authentication;
mod report;
mod rows;
#[cfg(test)]
mod tests;

pub use authentication::{Authentication, Mechanisms};
pub use report::ErrorFields;
pub use rows::{DataRow, FieldDescription, RowDescription};

use crate::frame::{MessageError, Reader};

/// The state of a session's transaction, as ReadyForQuery has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed one; all but ROLLBACK is refused.
    Failed,
}

impl TransactionStatus {
    /// From its byte.
    #[inline]
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// As it stands in the message.
    #[inline]
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// A ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyForQuery {
    /// Where the session's transaction stands.
    pub status: TransactionStatus,
}

impl ReadyForQuery {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the body isn't one known byte.
    #[inline]
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        match body {
            &[byte] => TransactionStatus::from_byte(byte)
                .map(|status| Self { status })
                .ok_or(MessageError::Invalid("transaction status")),
            [] => Err(MessageError::Truncated),
            _ => Err(MessageError::Trailing),
        }
    }
}

/// A ParameterStatus: a setting that the server reports, and its value now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// The setting.
    pub name: &'a [u8],
    /// Its value, in the client's encoding.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If it isn't two strings.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let (name, value) = (reader.cstr()?, reader.cstr()?);
        reader.finish()?;
        Ok(Self { name, value })
    }
}

/// A BackendKeyData: what a CancelRequest must name. `Debug` doesn't show the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// Process id of the server's process.
    pub pid: u32,
    /// The key: 4 bytes in protocol 3.0, up to 256 in 3.2.
    pub key: &'a [u8],
}

impl<'a> BackendKeyData<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the key has fewer than 4 or more than 256 bytes.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let pid = reader.u32()?;
        match reader.rest() {
            key @ [_, _, _, _, ..] if key.len() <= 256 => Ok(Self { pid, key }),
            _ => Err(MessageError::Invalid("cancel key length")),
        }
    }
}

impl std::fmt::Debug for BackendKeyData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendKeyData").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// A CommandComplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// E.g. `SELECT 5`, `INSERT 0 1`.
    pub tag: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the tag doesn't end where the message does.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let tag = reader.cstr()?;
        reader.finish()?;
        Ok(Self { tag })
    }

    /// The number of rows at the end of the tag, if it has one.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        let number = self.tag.rsplit(|byte| *byte == b' ').next()?;
        std::str::from_utf8(number).ok()?.parse().ok()
    }
}

/// A NegotiateProtocolVersion: the server knows less than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// The newest minor version of protocol 3 that the server speaks.
    pub minor: u16,
    /// How many `_pq_.` options it doesn't know.
    pub option_count: u32,
    /// Their names as they stand in the message, each with its NUL.
    pub options: &'a [u8],
}

impl<'a> NegotiateProtocolVersion<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the count of options isn't that of the strings.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        // Servers send the whole version, major and minor; the documents say the minor one. Both read right.
        let [_, _, high, low] = reader.u32()?.to_be_bytes();
        let minor = u16::from_be_bytes([high, low]);
        let option_count = reader.u32()?;
        let options = reader.rest();
        for _ in 0..option_count {
            reader.cstr()?;
        }
        reader.finish()?;
        Ok(Self { minor, option_count, options })
    }
}

/// A NotificationResponse: what NOTIFY sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// Process id of the notifying server process.
    pub pid: u32,
    /// The channel.
    pub channel: &'a [u8],
    /// What it carries; may be empty.
    pub payload: &'a [u8],
}

impl<'a> NotificationResponse<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If a field is missing or something follows.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let (pid, channel, payload) = (reader.u32()?, reader.cstr()?, reader.cstr()?);
        reader.finish()?;
        Ok(Self { pid, channel, payload })
    }
}
