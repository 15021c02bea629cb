//! Bind: its names from a prefix of the frame, or the whole of it with every value checked.

use crate::frame::{MessageError, Reader};

/// The two names at the front of a Bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindHead<'a> {
    /// The portal that it makes; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The prepared statement; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Where, in the body, the part begins that no rewrite touches: formats, values, result formats.
    pub values_offset: usize,
}

impl<'a> BindHead<'a> {
    /// Reads the names from the part of the body that has arrived, `prefix`, of `body_len` bytes in all.
    ///
    /// `None`: the names are not complete yet. Bound what you wait for: a name may be as long as the frame.
    ///
    /// # Errors
    /// If the body is whole and yet a name is not terminated.
    pub fn parse(prefix: &'a [u8], body_len: usize) -> Result<Option<Self>, MessageError> {
        let prefix = &prefix[..prefix.len().min(body_len)];
        let mut reader = Reader::new(prefix);
        let names = reader.name().and_then(|portal| Ok((portal, reader.name()?)));
        match names {
            Ok((portal, statement)) => {
                Ok(Some(Self { portal, statement, values_offset: prefix.len() - reader.remaining() }))
            }
            Err(_) if prefix.len() < body_len => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A whole Bind. Every length in it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal that it makes; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The prepared statement; empty for the unnamed one.
    pub statement: &'a [u8],
    /// See [`BindHead::values_offset`].
    pub values_offset: usize,
    /// How many parameters there are.
    pub parameter_count: u16,
    /// Format codes of the results, two bytes each: none, one for all, or one for each column.
    pub result_formats: &'a [u8],
    formats: &'a [u8],
    values: &'a [u8],
}

impl<'a> Bind<'a> {
    /// Takes what Postgres takes: any format codes (it judges them later), 0 to 65,535 parameters.
    ///
    /// # Errors
    /// If a value's length is below -1 or runs past the message, a count doesn't fit, or bytes are left.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let names = BindHead::parse(body, body.len())?.ok_or(MessageError::Unterminated)?;
        names.and_values(body)
    }
}

impl<'a> BindHead<'a> {
    /// The whole Bind that these are the names of.
    ///
    /// # Errors
    /// As [`Bind::parse`].
    pub fn and_values(self, body: &'a [u8]) -> Result<Bind<'a>, MessageError> {
        let Self { portal, statement, values_offset } = self;
        let mut reader = Reader::new(body.get(values_offset..).ok_or(MessageError::Truncated)?);
        let format_count = reader.u16()?;
        let formats = reader.bytes(usize::from(format_count) * 2)?;
        let parameter_count = reader.u16()?;
        if format_count > 1 && format_count != parameter_count {
            return Err(MessageError::FormatCount { formats: format_count, parameters: parameter_count });
        }

        let from_values = reader.rest();
        for _ in 0..parameter_count {
            reader.value()?;
        }
        let values = &from_values[..from_values.len() - reader.remaining()];

        let result_count = reader.u16()?;
        let result_formats = reader.bytes(usize::from(result_count) * 2)?;
        reader.finish()?;
        Ok(Bind { portal, statement, values_offset, parameter_count, result_formats, formats, values })
    }
}

impl<'a> Bind<'a> {
    /// The parameters in order, each with its format code (0 is text, 1 is binary).
    #[must_use]
    pub fn parameters(&self) -> Parameters<'a> {
        Parameters { formats: self.formats, values: Reader::new(self.values), next: 0 }
    }

    /// The parameter at `index` (from 0): its format code and value. Walks over those before it.
    #[must_use]
    pub fn parameter(&self, index: usize) -> Option<(i16, Option<&'a [u8]>)> {
        self.parameters().nth(index)
    }
}

/// Iterates over a [`Bind`]'s parameters: format code, and value or `None` for NULL.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    formats: &'a [u8],
    values: Reader<'a>,
    next: usize,
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (i16, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let value = self.values.value().ok()?;
        let at = if self.formats.len() == 2 { 0 } else { self.next * 2 };
        let format = self.formats.get(at..at + 2).map_or(0, |code| i16::from_be_bytes([code[0], code[1]]));
        self.next += 1;
        Some((format, value))
    }
}
