//! A key's value as the configuration spells it: text byte by byte, integers in decimal, uuids in lower case.

use std::borrow::Cow;
use std::io::Write;

use config::KeyType;
use sql::facts::Value;

use crate::decision::{ParameterValue, Request};

/// A value in the spelling of the configuration's lists.
pub(super) enum Canonical<'a> {
    Long(Cow<'a, [u8]>),
    Short(Short),
}

/// Room for a bigint or a uuid, without an allocation.
pub(super) struct Short {
    bytes: [u8; 36],
    length: usize,
}

/// Why a value says no shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// NULL belongs to no shard.
    Null,
    /// Its value isn't known: there was no Bind, or not of so many parameters.
    Unbound,
    /// Not surely a value of the key's type, as the server would read it.
    NotOfType(KeyType),
}

// Oids of pg_type.dat.
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const UNKNOWN: u32 = 705;
const VARCHAR: u32 = 1043;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
/// Left to the server, which takes the column's.
const UNSAID: u32 = 0;

impl<'a> Canonical<'a> {
    /// The canonical value of a literal or parameter that is compared with, or stored in, a key of this type.
    pub(super) fn of(request: &Request<'a>, of: KeyType, value: Value) -> Result<Canonical<'a>, Problem> {
        match value {
            Value::Literal(index) => {
                let literal = usize::try_from(index).ok().and_then(|index| request.literals.get(index));
                let literal = *literal.ok_or(Problem::Unbound)?;
                // A number is no text: the server would refuse the comparison, and spell it anew on INSERT.
                if of != KeyType::Bigint && !literal.string {
                    return Err(Problem::NotOfType(of));
                }
                let text =
                    sql::literal_text(request.sql, literal, request.lex).ok_or(Problem::NotOfType(of))?;
                Canonical::from_cow(of, text).ok_or(Problem::NotOfType(of))
            }
            Value::Parameter(number) => {
                let value = request
                    .parameters
                    .and_then(|parameters| parameters.value(number))
                    .ok_or(Problem::Unbound)?;
                let bytes = value.bytes.ok_or(Problem::Null)?;
                Canonical::of_parameter(of, &value, bytes).ok_or(Problem::NotOfType(of))
            }
        }
    }

    fn of_parameter(of: KeyType, value: &ParameterValue<'a>, bytes: &'a [u8]) -> Option<Canonical<'a>> {
        match (of, value.binary, value.type_oid) {
            (KeyType::Text, _, UNSAID | TEXT | VARCHAR | UNKNOWN)
            | (KeyType::Bigint, false, UNSAID | INT2 | INT4 | INT8 | NUMERIC | UNKNOWN)
            | (KeyType::Uuid, false, UNSAID | UUID | UNKNOWN) => {
                Canonical::from_cow(of, Cow::Borrowed(bytes))
            }
            (KeyType::Bigint, true, UNSAID | INT2 | INT4 | INT8) => {
                binary_integer(value.type_oid, bytes).map(Canonical::integer)
            }
            (KeyType::Uuid, true, UNSAID | UUID) => bytes.try_into().ok().map(Canonical::uuid),
            _ => None,
        }
    }

    /// The canonical value of a text that the server would read as this type; `None` if it isn't surely one.
    pub(super) fn from_text(of: KeyType, text: &'a [u8]) -> Option<Canonical<'a>> {
        Canonical::from_cow(of, Cow::Borrowed(text))
    }

    fn from_cow(of: KeyType, text: Cow<'a, [u8]>) -> Option<Canonical<'a>> {
        match of {
            // The configuration is UTF-8: in another encoding the same bytes would be another text.
            KeyType::Text => std::str::from_utf8(&text).is_ok().then_some(Canonical::Long(text)),
            KeyType::Bigint => text_integer(&text).map(Canonical::integer),
            KeyType::Uuid => text_uuid(&text).map(Canonical::uuid),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Canonical::Long(text) => text,
            Canonical::Short(short) => &short.bytes[..short.length],
        }
    }

    fn integer(value: i64) -> Canonical<'a> {
        Canonical::short(format_args!("{value}"))
    }

    fn uuid(value: [u8; 16]) -> Canonical<'a> {
        let value = u128::from_be_bytes(value);
        let group = |shift: u32, bits: u32| (value >> shift) & ((1 << bits) - 1);
        Canonical::short(format_args!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            group(96, 32),
            group(80, 16),
            group(64, 16),
            group(48, 16),
            group(0, 48)
        ))
    }

    /// The longest are `-9223372036854775808` and a uuid, of 36 bytes.
    fn short(text: std::fmt::Arguments<'_>) -> Canonical<'a> {
        let mut bytes = [0; 36];
        let mut rest = bytes.as_mut_slice();
        // Both fit; what wouldn't is cut off, and matches nothing that it shouldn't.
        let _ = rest.write_fmt(text);
        let length = 36 - rest.len();
        Canonical::Short(Short { bytes, length })
    }
}

/// An integer as int8in reads it, in decimal: space around it and a sign are allowed. (Hexadecimal and underscores
/// are only read by newer servers.)
fn text_integer(text: &[u8]) -> Option<i64> {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let start = text.iter().position(|byte| !space(byte))?;
    let end = text.iter().rposition(|byte| !space(byte))?;
    std::str::from_utf8(&text[start..=end]).ok()?.parse().ok()
}

/// A big-endian integer of the type's length; where the type wasn't said the length tells it.
fn binary_integer(type_oid: u32, bytes: &[u8]) -> Option<i64> {
    match (type_oid, bytes.len()) {
        (UNSAID | INT2, 2) => Some(i64::from(i16::from_be_bytes(bytes.try_into().ok()?))),
        (UNSAID | INT4, 4) => Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?))),
        (UNSAID | INT8, 8) => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// A uuid as uuid_in reads it: hexadecimal of either case, in braces or not, a hyphen after any four digits or none.
fn text_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = match text {
        [b'{', inner @ .., b'}'] => inner,
        text => text,
    };
    let mut uuid = [0; 16];
    let mut digits = 0;
    let mut may_be_hyphen = false;
    for &byte in text {
        if byte == b'-' && may_be_hyphen && digits < 32 {
            may_be_hyphen = false;
            continue;
        }
        let digit = u8::try_from(char::from(byte).to_digit(16)?).ok()?;
        let place = uuid.get_mut(digits / 2)?;
        *place = (*place << 4) | digit;
        digits += 1;
        may_be_hyphen = digits % 4 == 0;
    }
    (digits == 32).then_some(uuid)
}
