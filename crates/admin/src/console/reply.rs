//! Results as messages: with result formats and without parameters, which is all that the console has.

use ::wire::tag;

use crate::value::{Column, Value};

/// In which format each column is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Formats {
    /// All as text.
    #[default]
    Text,
    /// All in binary.
    Binary,
    /// Each as said: true for binary.
    Each(Vec<bool>),
}

impl Formats {
    fn is_binary(&self, column: usize) -> bool {
        match self {
            Self::Text => false,
            Self::Binary => true,
            Self::Each(formats) => formats.get(column).copied().unwrap_or(false),
        }
    }
}

/// RowDescription.
pub(super) fn row_description(out: &mut Vec<u8>, columns: &[Column], formats: &Formats) {
    message(out, tag::ROW_DESCRIPTION, |out| {
        count(out, columns.len());
        for (at, column) in columns.iter().enumerate() {
            out.extend_from_slice(column.name.as_bytes());
            out.push(0);
            out.extend_from_slice(&[0; 6]); // of no table, and no attribute of one
            out.extend_from_slice(&column.kind.oid().to_be_bytes());
            out.extend_from_slice(&column.kind.size().to_be_bytes());
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            out.extend_from_slice(&i16::from(formats.is_binary(at)).to_be_bytes());
        }
    });
}

/// DataRow.
pub(super) fn data_row(out: &mut Vec<u8>, columns: &[Column], row: &[Value], formats: &Formats) {
    message(out, tag::DATA_ROW, |out| {
        count(out, row.len());
        for (at, (column, value)) in columns.iter().zip(row).enumerate() {
            match value.encode(column.kind, formats.is_binary(at)) {
                None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                Some(bytes) => {
                    out.extend_from_slice(&length(bytes.len()));
                    out.extend_from_slice(&bytes);
                }
            }
        }
    });
}

/// ParameterDescription of a statement without parameters.
pub(super) fn no_parameters(out: &mut Vec<u8>) {
    message(out, tag::PARAMETER_DESCRIPTION, |out| count(out, 0));
}

/// PortalSuspended.
pub(super) fn portal_suspended(out: &mut Vec<u8>) {
    message(out, tag::PORTAL_SUSPENDED, |_| ());
}

fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = length(out.len() - start);
    out[start..start + 4].copy_from_slice(&length);
}

/// Texts are cut to 8 kB and there are a few dozen columns: no length comes near to the limit.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).unwrap_or(i32::MAX).to_be_bytes()
}

fn count(out: &mut Vec<u8>, columns: usize) {
    out.extend_from_slice(&i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{int4, text};
    use ::wire::encode;

    const COLUMNS: &[Column] = &[text("name"), int4("port")];

    /// In text format a result is what `wire` writes.
    #[test]
    fn text_results_are_as_any_other() {
        let mut ours = Vec::new();
        row_description(&mut ours, COLUMNS, &Formats::Text);
        data_row(&mut ours, COLUMNS, &["a".into(), 5432_u64.into()], &Formats::Text);
        data_row(&mut ours, COLUMNS, &[Value::Null, 0_u64.into()], &Formats::Text);
        let mut theirs = Vec::new();
        encode::row_description(&mut theirs, &[encode::Column::text("name"), encode::Column::int4("port")])
            .unwrap();
        encode::data_row(&mut theirs, &[Some(b"a"), Some(b"5432")]).unwrap();
        encode::data_row(&mut theirs, &[None, Some(b"0")]).unwrap();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn binary_is_said_and_written_where_it_is_wanted() {
        let formats = Formats::Each(vec![false, true]);
        let mut out = Vec::new();
        row_description(&mut out, COLUMNS, &formats);
        assert_eq!(out[out.len() - 2..], [0, 1]);
        assert_eq!(out[out.len() - 2 - 18 - 5..][..2], [0, 0]);
        out.clear();
        data_row(&mut out, COLUMNS, &["a".into(), 5432_u64.into()], &formats);
        assert_eq!(out, b"D\0\0\0\x13\0\x02\0\0\0\x01a\0\0\0\x04\0\0\x15\x38");
    }
}
