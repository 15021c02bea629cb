//! The home of the values in the console's rows: their types, and how each is written in text and in binary format.

use std::borrow::Cow;

/// The longest text of a value, bytes: an `application_name` of a megabyte needn't be shown whole.
const MAX_TEXT: usize = 8_192;

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `text`.
    Text,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `numeric`, whole numbers only.
    Numeric,
}

/// A column of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// A value. Numbers are cut to what their column's type can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Text(Cow<'static, str>),
    Number(u64),
}

/// As many values as the result has columns.
pub(crate) type Row = Vec<Value>;

pub(crate) const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text }
}

pub(crate) const fn int4(name: &'static str) -> Column {
    Column { name, kind: Kind::Int4 }
}

pub(crate) const fn int8(name: &'static str) -> Column {
    Column { name, kind: Kind::Int8 }
}

pub(crate) const fn numeric(name: &'static str) -> Column {
    Column { name, kind: Kind::Numeric }
}

impl Kind {
    /// The OID of the type, `pg_type.oid`.
    pub(crate) const fn oid(self) -> u32 {
        match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric => 1700,
        }
    }

    /// Its size in bytes, `pg_type.typlen`; -1 if it varies.
    pub(crate) const fn size(self) -> i16 {
        match self {
            Self::Text | Self::Numeric => -1,
            Self::Int4 => 4,
            Self::Int8 => 8,
        }
    }

    /// The largest number that it can say.
    const fn largest(self) -> u64 {
        match self {
            Self::Int4 => i32::MAX.unsigned_abs() as u64,
            Self::Int8 => i64::MAX.unsigned_abs(),
            Self::Text | Self::Numeric => u64::MAX,
        }
    }
}

impl Value {
    /// The bytes of the value in a column of this kind, in text format or in binary; `None` is NULL.
    pub(crate) fn encode(&self, kind: Kind, binary: bool) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(Cow::Borrowed(cut(text).as_bytes())),
            Self::Number(number) => {
                let number = (*number).min(kind.largest());
                let bytes = match kind {
                    Kind::Int4 if binary => low_bytes::<4>(number).to_vec(),
                    Kind::Int8 if binary => number.to_be_bytes().to_vec(),
                    Kind::Numeric if binary => binary_numeric(number),
                    Kind::Text | Kind::Int4 | Kind::Int8 | Kind::Numeric => number.to_string().into_bytes(),
                };
                Some(Cow::Owned(bytes))
            }
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<&std::sync::Arc<str>> for Value {
    fn from(text: &std::sync::Arc<str>) -> Self {
        Self::Text(Cow::Owned(text.to_string()))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The last bytes of a number in network order.
fn low_bytes<const N: usize>(number: u64) -> [u8; N] {
    let bytes = number.to_be_bytes();
    let mut low = [0; N];
    low.copy_from_slice(&bytes[8 - N..]);
    low
}

/// As `numeric_send` writes it: the count of digits to the base of 10,000, the weight of the first one, sign, scale,
/// and the digits. Trailing zero digits are left out.
fn binary_numeric(number: u64) -> Vec<u8> {
    let mut digits = Vec::new();
    let mut rest = number;
    while rest > 0 {
        digits.push(low_bytes::<2>(rest % 10_000));
        rest /= 10_000;
    }
    let weight = u64::try_from(digits.len().saturating_sub(1)).unwrap_or(0);
    let trailing = digits.iter().take_while(|digit| **digit == [0, 0]).count();
    digits.drain(..trailing);
    let count = u64::try_from(digits.len()).unwrap_or(0);
    let mut bytes = [low_bytes::<2>(count), low_bytes::<2>(weight), [0, 0], [0, 0]].concat();
    bytes.extend(digits.iter().rev().flatten());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(value: impl Into<Value>, kind: Kind, binary: bool) -> Vec<u8> {
        value.into().encode(kind, binary).unwrap().into_owned()
    }

    #[test]
    fn numbers_are_cut_to_their_type() {
        assert_eq!(encoded(u64::MAX, Kind::Int4, false), b"2147483647");
        assert_eq!(encoded(u64::MAX, Kind::Int4, true), [0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(encoded(u64::MAX, Kind::Int8, true), i64::MAX.to_be_bytes());
        assert_eq!(encoded(u64::MAX, Kind::Numeric, false), b"18446744073709551615");
        assert_eq!(encoded(7_u64, Kind::Int4, true), [0, 0, 0, 7]);
        assert_eq!(Value::Null.encode(Kind::Text, true), None);
    }

    /// What `numeric_send` gives for these.
    #[test]
    fn numerics_are_as_postgres_sends_them() {
        let digits = |bytes: &[u16]| bytes.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>();
        for (number, expected) in [
            (0_u64, &[0_u16, 0, 0, 0][..]),
            (1, &[1, 0, 0, 0, 1]),
            (9_999, &[1, 0, 0, 0, 9_999]),
            (10_000, &[1, 1, 0, 0, 1]),
            (10_001, &[2, 1, 0, 0, 1, 1]),
            (1_234_567_890, &[3, 2, 0, 0, 12, 3_456, 7_890]),
            (300_000_000, &[1, 2, 0, 0, 3]),
            (u64::MAX, &[5, 4, 0, 0, 1_844, 6_744, 737, 955, 1_615][..]),
        ] {
            // 18,446,744,073,709,551,615 is 1844 6744 0737 0955 1615 to the base of 10,000.
            assert_eq!(encoded(number, Kind::Numeric, true), digits(expected), "{number}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "é".repeat(MAX_TEXT);
        let shown = encoded(format!("x{long}"), Kind::Text, false);
        assert_eq!(shown.len(), MAX_TEXT - 1);
        assert!(std::str::from_utf8(&shown).is_ok());
    }
}
