//! RowDescription and DataRow, for those few results that pgweir itself reads.

use crate::frame::{MessageError, Reader};

/// A RowDescription. Every field of it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowDescription<'a> {
    /// How many columns there are.
    pub count: u16,
    fields: &'a [u8],
}

/// One column of a [`RowDescription`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDescription<'a> {
    /// The column's name.
    pub name: &'a [u8],
    /// OID of the table that it comes from, or 0.
    pub table_oid: u32,
    /// Its number in that table, or 0.
    pub column: i16,
    /// OID of its type.
    pub type_oid: u32,
    /// Bytes of the type, or negative if they vary (`pg_type.typlen`).
    pub type_size: i16,
    /// `pg_attribute.atttypmod`.
    pub type_modifier: i32,
    /// 0 for text, 1 for binary.
    pub format: i16,
}

impl<'a> RowDescription<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If the count isn't that of the fields.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let count = reader.u16()?;
        let fields = reader.rest();
        for _ in 0..count {
            FieldDescription::read(&mut reader)?;
        }
        reader.finish()?;
        Ok(Self { count, fields })
    }

    /// The columns in order.
    pub fn iter(&self) -> impl Iterator<Item = FieldDescription<'a>> + use<'a> {
        let mut reader = Reader::new(self.fields);
        std::iter::from_fn(move || FieldDescription::read(&mut reader).ok())
    }
}

impl<'a> FieldDescription<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            name: reader.cstr()?,
            table_oid: reader.u32()?,
            column: reader.i16()?,
            type_oid: reader.u32()?,
            type_size: reader.i16()?,
            type_modifier: reader.i32()?,
            format: reader.i16()?,
        })
    }
}

/// A DataRow. Every length in it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRow<'a> {
    /// How many columns there are.
    pub count: u16,
    values: &'a [u8],
}

impl<'a> DataRow<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If a value's length is below -1 or runs past the message, or the count isn't that of the values.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let count = reader.u16()?;
        let values = reader.rest();
        for _ in 0..count {
            reader.value()?;
        }
        reader.finish()?;
        Ok(Self { count, values })
    }

    /// The values in order; `None` is NULL.
    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let mut reader = Reader::new(self.values);
        std::iter::from_fn(move || reader.value().ok())
    }

    /// The value at `index` (from 0): `None` if there is no such column, `Some(None)` for NULL.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Option<&'a [u8]>> {
        self.iter().nth(index)
    }
}
