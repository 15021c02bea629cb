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
        may_be_hyphen = digits.is_multiple_of(4);
    }
    (digits == 32).then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(of: KeyType, binary: bool, type_oid: u32, bytes: &[u8]) -> Option<String> {
        let value = ParameterValue { bytes: Some(bytes), binary, type_oid };
        let canonical = Canonical::of_parameter(of, &value, bytes)?;
        Some(String::from_utf8(canonical.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn integers_are_decimal_whatever_they_came_as() {
        let cases: [(bool, u32, &[u8], Option<&str>); 19] = [
            (false, UNSAID, b"7", Some("7")),
            (false, INT8, b" \t+007\n", Some("7")),
            (false, INT4, b"-9223372036854775808", Some("-9223372036854775808")),
            (false, INT8, b"9223372036854775808", None),
            (false, NUMERIC, b"7", Some("7")),
            (false, NUMERIC, b"7.0", None),
            (false, UNSAID, b"0x7", None),
            (false, UNSAID, b"1_000", None),
            (false, UNSAID, b"", None),
            (false, UNSAID, b" ", None),
            (false, UNSAID, b"- 7", None),
            (false, TEXT, b"7", None),
            (true, INT2, &[0xff, 0xf9], Some("-7")),
            (true, INT4, &[0, 0, 0, 7], Some("7")),
            (true, INT8, &[0xff; 8], Some("-1")),
            (true, UNSAID, &[0, 0, 0, 0, 0, 0, 0, 7], Some("7")),
            (true, INT8, &[0, 0, 0, 7], None),
            (true, UNSAID, &[7], None),
            (true, NUMERIC, &[0, 0, 0, 7], None),
        ];
        for (binary, oid, bytes, expected) in cases {
            assert_eq!(parameter(KeyType::Bigint, binary, oid, bytes).as_deref(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn uuids_are_lower_case_with_hyphens() {
        let plain = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let texts = [
            plain,
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ];
        for text in texts {
            assert_eq!(parameter(KeyType::Uuid, false, UNSAID, text.as_bytes()).as_deref(), Some(plain));
        }
        let wrong = [
            "",
            "{}",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
            "a0e-ebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
            "-a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ];
        for text in wrong {
            assert_eq!(parameter(KeyType::Uuid, false, UNSAID, text.as_bytes()), None, "{text}");
        }
        let binary = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff];
        assert_eq!(
            parameter(KeyType::Uuid, true, UUID, &binary).as_deref(),
            Some("00000000-0000-0000-0000-0000000000ff")
        );
        assert_eq!(parameter(KeyType::Uuid, true, UUID, &binary[1..]), None);
    }

    #[test]
    fn text_is_its_bytes() {
        for (binary, oid) in [(false, UNSAID), (true, UNSAID), (true, TEXT), (false, VARCHAR)] {
            assert_eq!(parameter(KeyType::Text, binary, oid, b" US").as_deref(), Some(" US"));
        }
        const BPCHAR: u32 = 1042;
        assert_eq!(parameter(KeyType::Text, false, BPCHAR, b"US"), None, "its trailing spaces don't count");
        assert_eq!(parameter(KeyType::Text, true, INT4, b"US  "), None);
        assert_eq!(parameter(KeyType::Text, false, TEXT, b"K\xf6ln"), None, "not UTF-8");
    }
}
