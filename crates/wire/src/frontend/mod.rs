//! Views of the messages that a client sends: they borrow from the frame's body and copy nothing.
//!
//! Each `parse` takes the *body* of a whole frame ([`crate::frame::body`]) and accepts it only if every
//! byte has its place. Names and SQL are bytes in the session's `client_encoding`.

mod bind;
#[cfg(test)]
mod tests;

pub use bind::{Bind, BindHead, Parameters};

use crate::frame::{MessageError, Reader};

/// A simple query: one text that may hold several statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The text, without its NUL.
    pub sql: &'a [u8],
}

impl<'a> Query<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the text is not terminated or ends before the message does.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let sql = reader.cstr()?;
        reader.finish()?;
        Ok(Self { sql })
    }
}

/// A Parse: makes a prepared statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The text, without its NUL.
    pub sql: &'a [u8],
    /// How many parameter types are given; the statement may have more parameters.
    pub type_count: u16,
    /// The types as they stand in the message: an OID of four bytes each.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If a string is not terminated, or the types don't fill the rest of the message exactly.
    #[expect(clippy::self_named_constructors, reason = "called as every view's is")]
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let (name, sql) = (reader.name()?, reader.cstr()?);
        let type_count = reader.u16()?;
        let types = reader.bytes(usize::from(type_count) * 4)?;
        reader.finish()?;
        Ok(Self { name, sql, type_count, types })
    }

    /// The types' OIDs in order; 0 where the client leaves it open.
    pub fn type_oids(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.types.chunks_exact(4).map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
    }
}

/// What a Describe or Close is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// `S`
    Statement,
    /// `P`
    Portal,
}

impl Target {
    /// As it stands in the message.
    #[must_use]
    pub const fn as_byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }

    fn named<'a>(message: &'static str, body: &'a [u8]) -> Result<(Self, &'a [u8]), MessageError> {
        let mut reader = Reader::new(body);
        let target = match reader.u8()? {
            b'S' => Self::Statement,
            b'P' => Self::Portal,
            subtype => return Err(MessageError::Subtype { message, subtype }),
        };
        let name = reader.name()?;
        reader.finish()?;
        Ok((target, name))
    }
}

/// A Describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Describe<'a> {
    /// Statement or portal.
    pub target: Target,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Describe<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the target is neither `S` nor `P`, or the name doesn't end where the message does.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        Target::named("DESCRIBE", body).map(|(target, name)| Self { target, name })
    }
}

/// A Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// Statement or portal.
    pub target: Target,
    /// Its name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Close<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the target is neither `S` nor `P`, or the name doesn't end where the message does.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        Target::named("CLOSE", body).map(|(target, name)| Self { target, name })
    }
}

/// An Execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Rows to return at most; 0 or less for all.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If a field is missing or something follows.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let (portal, max_rows) = (reader.name()?, reader.i32()?);
        reader.finish()?;
        Ok(Self { portal, max_rows })
    }
}

/// A CopyFail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFail<'a> {
    /// Why the client gives up.
    pub reason: &'a [u8],
}

impl<'a> CopyFail<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the text doesn't end where the message does.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        Query::parse(body).map(|Query { sql: reason }| Self { reason })
    }
}

/// A PasswordMessage: a clear-text password or an MD5 answer. `Debug` doesn't show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password<'a> {
    /// What the client typed, without its NUL.
    pub bytes: &'a [u8],
}

impl<'a> Password<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the text doesn't end where the message does.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        Query::parse(body).map(|Query { sql: bytes }| Self { bytes })
    }
}

impl std::fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// A SASLInitialResponse. (A SASLResponse is nothing but data: its body is what [`crate::scram`] takes.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    /// The mechanism that the client chose.
    pub mechanism: &'a [u8],
    /// Its first message, if it sends one along.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitial<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the mechanism is not terminated or the data's length isn't that of the rest.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let (mechanism, data) = (reader.cstr()?, reader.value()?);
        reader.finish()?;
        Ok(Self { mechanism, data })
    }
}

/// The beginning of a FunctionCall: all that a pooler needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCallHead {
    /// OID of the function.
    pub function: u32,
}

impl FunctionCallHead {
    /// Takes a prefix of the body, too.
    ///
    /// # Errors
    /// If fewer than four bytes are there.
    pub fn parse(body: &[u8]) -> Result<Self, MessageError> {
        Reader::new(body).u32().map(|function| Self { function })
    }
}
