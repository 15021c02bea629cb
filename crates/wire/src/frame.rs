//! Where a message begins and ends, and a bounded reader for what is inside.

use thiserror::Error;

use crate::sqlstate::SqlState;

/// Bytes before the body of a tagged message: its type and its length field.
pub const HEADER: usize = 5;

/// A name up to here is looked at byte by byte.
const SHORT: usize = 12;

/// The longest body that Postgres takes for a message that carries data (1 GB less one byte).
pub const MAX_BODY: usize = 0x3fff_ffff;

/// Type and whole size of the message at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The type byte; see [`crate::tag`].
    pub tag: u8,
    /// Bytes of the whole message: the type byte and what the length field counts.
    pub total: usize,
}

impl Head {
    /// Bytes of the body.
    #[inline]
    #[must_use]
    pub const fn body(self) -> usize {
        self.total - HEADER
    }
}

/// A length field that no message can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length does not even cover its own four bytes.
    #[error("invalid message length {0}")]
    TooShort(i32),
    /// The body is longer than the caller takes.
    #[error("message of {body} bytes is longer than the {max} that are allowed")]
    TooLong {
        /// Bytes of the announced body.
        body: usize,
        /// Bytes that are allowed.
        max: usize,
    },
}

impl FrameError {
    /// `08P01`, as Postgres has it.
    #[must_use]
    pub const fn sqlstate(self) -> SqlState {
        SqlState::PROTOCOL_VIOLATION
    }
}

/// Looks at the head of the message at the front of `buf`; `None` if fewer than five bytes are there.
///
/// The body needn't be there. Its length is checked against `max_body` (bytes), and nothing is allocated
/// for it.
///
/// # Errors
/// If the length is below 4 (or negative) or over the limit: the stream is out of step and must be closed.
#[inline]
pub fn peek(buf: &[u8], max_body: usize) -> Result<Option<Head>, FrameError> {
    let Some(&[tag, a, b, c, d]) = buf.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    if length < 4 {
        return Err(FrameError::TooShort(length));
    }
    let length = length.unsigned_abs() as usize;
    if length - 4 > max_body {
        return Err(FrameError::TooLong { body: length - 4, max: max_body });
    }
    Ok(Some(Head { tag, total: length + 1 }))
}

/// The body of a whole frame: what follows type byte and length field. Empty if the frame is shorter.
#[inline]
#[must_use]
pub fn body(frame: &[u8]) -> &[u8] {
    frame.get(HEADER..).unwrap_or_default()
}

/// A frame whose content doesn't fit its type. The wordings are those that Postgres' users know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// A field runs past the end of the message.
    #[error("insufficient data left in message")]
    Truncated,
    /// A field of one byte is missing.
    #[error("no data left in message")]
    NoByte,
    /// A string has no NUL at its end.
    #[error("invalid string in message")]
    Unterminated,
    /// Bytes are left after the last field.
    #[error("invalid message format")]
    Trailing,
    /// Describe or Close of something that is neither a statement nor a portal.
    #[error("invalid {message} message subtype {subtype}")]
    Subtype {
        /// The message, in capitals.
        message: &'static str,
        /// Its first byte.
        subtype: u8,
    },
    /// A byte or code that the protocol doesn't know here.
    #[error("invalid {0} in message")]
    Invalid(&'static str),
    /// A Bind whose count of formats is neither 0, 1 nor the count of its parameters.
    #[error("bind message has {formats} parameter formats but {parameters} parameters")]
    FormatCount {
        /// Parameter format codes in the message.
        formats: u16,
        /// Parameters in the message.
        parameters: u16,
    },
}

impl MessageError {
    /// `08P01`, as Postgres has it.
    #[must_use]
    pub const fn sqlstate(self) -> SqlState {
        SqlState::PROTOCOL_VIOLATION
    }
}

/// Reads fields from a message's body, never past its end. All numbers are big-endian.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the first byte of `body`.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`MessageError::NoByte`] if none is left.
    pub fn u8(&mut self) -> Result<u8, MessageError> {
        let (byte, rest) = self.0.split_first().ok_or(MessageError::NoByte)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// An Int16.
    ///
    /// # Errors
    /// [`MessageError::Truncated`].
    pub fn i16(&mut self) -> Result<i16, MessageError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// An Int16 that is a count: Postgres reads those as 0 to 65,535.
    ///
    /// # Errors
    /// [`MessageError::Truncated`].
    pub fn u16(&mut self) -> Result<u16, MessageError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// An Int32.
    ///
    /// # Errors
    /// [`MessageError::Truncated`].
    pub fn i32(&mut self) -> Result<i32, MessageError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// An Int32 that has no sign: an OID, a process id.
    ///
    /// # Errors
    /// [`MessageError::Truncated`].
    pub fn u32(&mut self) -> Result<u32, MessageError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A String, without its NUL. Its encoding is the session's client_encoding, so it is bytes.
    ///
    /// # Errors
    /// [`MessageError::Unterminated`] if no NUL is left.
    pub fn cstr(&mut self) -> Result<&'a [u8], MessageError> {
        let end = memchr::memchr(0, self.0).ok_or(MessageError::Unterminated)?;
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    /// The same where it is mostly short or empty, as names are: looking byte by byte is cheaper then.
    ///
    /// # Errors
    /// [`MessageError::Unterminated`] if no NUL is left.
    #[inline]
    pub fn name(&mut self) -> Result<&'a [u8], MessageError> {
        let near = &self.0[..self.0.len().min(SHORT)];
        let Some(end) = near.iter().position(|byte| *byte == 0) else { return self.cstr() };
        let text = &near[..end];
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`MessageError::Truncated`] if fewer are left.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(MessageError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A value after its Int32 length: `None` for length -1 (NULL).
    ///
    /// # Errors
    /// [`MessageError::Truncated`] if the length is below -1 or runs past the end.
    pub fn value(&mut self) -> Result<Option<&'a [u8]>, MessageError> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| MessageError::Truncated)?;
                self.bytes(length).map(Some)
            }
        }
    }

    /// All that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Bytes that are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`MessageError::Trailing`] if something is left.
    pub const fn finish(self) -> Result<(), MessageError> {
        if self.0.is_empty() { Ok(()) } else { Err(MessageError::Trailing) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(MessageError::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_needs_five_bytes_and_no_body() {
        let frame = b"Q\0\0\0\x0dSELECT 1\0";
        for cut in 0..HEADER {
            assert_eq!(peek(&frame[..cut], MAX_BODY), Ok(None));
        }
        for cut in HEADER..=frame.len() {
            assert_eq!(peek(&frame[..cut], MAX_BODY), Ok(Some(Head { tag: b'Q', total: 14 })));
        }
        assert_eq!(Head { tag: b'Q', total: 14 }.body(), body(frame).len());
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        for length in [i32::MIN, -1, 0, 1, 2, 3] {
            let mut head = vec![b'Q'];
            head.extend(length.to_be_bytes());
            assert_eq!(peek(&head, usize::MAX), Err(FrameError::TooShort(length)));
        }
        let mut head = vec![b'Q'];
        head.extend(i32::MAX.to_be_bytes());
        assert_eq!(peek(&head, MAX_BODY), Err(FrameError::TooLong { body: 2_147_483_643, max: MAX_BODY }));
        assert_eq!(peek(&head, usize::MAX), Ok(Some(Head { tag: b'Q', total: 2_147_483_648 })));
    }

    #[test]
    fn the_limit_counts_the_body() {
        assert_eq!(peek(b"Q\0\0\0\x06ab", 2), Ok(Some(Head { tag: b'Q', total: 7 })));
        assert_eq!(peek(b"Q\0\0\0\x07abc", 2), Err(FrameError::TooLong { body: 3, max: 2 }));
    }

    #[test]
    fn a_reader_stays_inside() {
        let mut reader = Reader::new(b"a\0\x01\x02\0\0\0\x02xy\xff\xff\xff\xffrest");
        assert_eq!(reader.cstr(), Ok(&b"a"[..]));
        assert_eq!(reader.u16(), Ok(0x0102));
        assert_eq!(reader.value(), Ok(Some(&b"xy"[..])));
        assert_eq!(reader.value(), Ok(None));
        assert_eq!(reader.remaining(), 4);
        assert_eq!(reader.bytes(5), Err(MessageError::Truncated));
        assert_eq!(reader.cstr(), Err(MessageError::Unterminated));
        assert_eq!(reader.finish(), Err(MessageError::Trailing));
        assert_eq!(reader.rest(), b"rest");
        for bad in [&b"\xff\xff\xff\xfe"[..], b"\x80\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x01", b"\0\0"] {
            assert_eq!(Reader::new(bad).value(), Err(MessageError::Truncated), "{bad:?}");
        }
    }
}
