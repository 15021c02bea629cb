//! The home of literal values: from a place in the text to what it means.

use std::borrow::Cow;

use crate::LexSettings;
use crate::facts::Literal;

/// The value of a literal, unescaped; a number as decimal text. `None` if it cannot be surely decoded: bit strings,
/// escapes that no character has, what the settings forbid.
#[must_use]
pub fn literal_text(sql: &[u8], literal: Literal, settings: LexSettings) -> Option<Cow<'_, [u8]>> {
    if !settings.safe_encoding {
        return None;
    }
    decode(sql, literal, settings.standard_conforming_strings)
}

pub(crate) fn decode(sql: &[u8], literal: Literal, conforming: bool) -> Option<Cow<'_, [u8]>> {
    let place = |at: u32| usize::try_from(at).ok();
    let text = sql.get(place(literal.start)?..place(literal.end)?)?;
    match (text.first()?, text.get(1)) {
        (b'\'', _) => quoted(text, !conforming),
        (b'e' | b'E', Some(b'\'')) => quoted(&text[1..], true),
        (b'n' | b'N', Some(b'\'')) => quoted(&text[1..], !conforming),
        (b'u' | b'U', Some(b'&')) => unicode(&text[2..]).map(Cow::Owned),
        (b'$', _) => dollar(text).map(Cow::Borrowed),
        (b'0'..=b'9' | b'.', _) => number(text),
        _ => None,
    }
}

/// `$tag$ … $tag$`.
fn dollar(text: &[u8]) -> Option<&[u8]> {
    let tag = memchr::memchr(b'$', text.get(1..)?)? + 2;
    text.get(tag..text.len().checked_sub(tag)?)
}

/// `'…'`, and what continues it on later lines.
fn quoted(text: &[u8], escapes: bool) -> Option<Cow<'_, [u8]>> {
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    if memchr::memchr2(b'\'', b'\\', inner).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let mut value = Vec::with_capacity(inner.len());
    let mut at = 1;
    loop {
        match *text.get(at)? {
            b'\'' if text.get(at + 1) == Some(&b'\'') => {
                value.push(b'\'');
                at += 2;
            }
            b'\'' => match continuation(text, at + 1) {
                Some(next) => at = next,
                None => return Some(Cow::Owned(value)),
            },
            b'\\' if escapes => at = escape(text, at + 1, &mut value)?,
            byte => {
                value.push(byte);
                at += 1;
            }
        }
    }
}

/// Past the quote of a string that continues the one that ended before `at`.
fn continuation(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *text.get(at)? {
            b'\'' => return Some(at + 1),
            b'-' => at += memchr::memchr2(b'\n', b'\r', text.get(at..)?)?,
            _ => at += 1,
        }
    }
}

/// Appends the escape that follows a backslash; the place after it.
fn escape(text: &[u8], at: usize, value: &mut Vec<u8>) -> Option<usize> {
    let byte = *text.get(at)?;
    let simple = match byte {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'0'..=b'7' => {
            let (code, next) = digits(text, at, 8, 3)?;
            value.push(u8::try_from(code & 0xff).ok().filter(|&code| code != 0)?);
            return Some(next);
        }
        b'x' => {
            let Some((code, next)) = digits(text, at + 1, 16, 2) else {
                value.push(b'x');
                return Some(at + 1);
            };
            value.push(u8::try_from(code).ok().filter(|&code| code != 0)?);
            return Some(next);
        }
        b'u' => return character(text, at + 1, 4, value),
        b'U' => return character(text, at + 1, 8, value),
        other => other,
    };
    value.push(simple);
    Some(at + 1)
}

/// A code point of exactly this many hexadecimal digits; surrogates are not put together.
fn character(text: &[u8], at: usize, length: usize, value: &mut Vec<u8>) -> Option<usize> {
    let (code, next) = digits(text, at, 16, length)?;
    if next != at + length {
        return None;
    }
    let character = char::from_u32(code).filter(|&character| character != '\0')?;
    value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(next)
}

/// At least one and at most `most` digits; their value and the place after them.
fn digits(text: &[u8], start: usize, radix: u32, most: usize) -> Option<(u32, usize)> {
    let mut code = 0_u32;
    let mut at = start;
    while at < start + most {
        let digit = text.get(at).and_then(|&byte| char::from(byte).to_digit(radix));
        let Some(digit) = digit else { break };
        code = code.checked_mul(radix)?.checked_add(digit)?;
        at += 1;
    }
    (at > start).then_some((code, at))
}

/// `U&'…'` after its prefix, with the escape character that UESCAPE says.
fn unicode(text: &[u8]) -> Option<Vec<u8>> {
    let close = closing_uescape(text);
    let (body, sign) = match close {
        Some((end, sign)) => (text.get(..end)?, sign),
        None => (text, b'\\'),
    };
    let plain = quoted(body.trim_ascii_end(), false)?;
    let mut value = Vec::with_capacity(plain.len());
    let mut at = 0;
    while let Some(&byte) = plain.get(at) {
        if byte != sign {
            value.push(byte);
            at += 1;
        } else if plain.get(at + 1) == Some(&sign) {
            value.push(sign);
            at += 2;
        } else if plain.get(at + 1) == Some(&b'+') {
            at = character(&plain, at + 2, 6, &mut value)?;
        } else {
            at = character(&plain, at + 1, 4, &mut value)?;
        }
    }
    Some(value)
}

/// Where `UESCAPE '!'` begins at the end of a token, and its sign.
fn closing_uescape(text: &[u8]) -> Option<(usize, u8)> {
    let rest = text.strip_suffix(b"'")?;
    let (&sign, rest) = rest.split_last()?;
    let rest = rest.strip_suffix(b"'")?.trim_ascii_end();
    let end = rest.len().checked_sub(7)?;
    if sign == b'\'' || !rest.get(end..)?.eq_ignore_ascii_case(b"uescape") {
        return None;
    }
    // It must stand outside the string: a quote or white space comes before it.
    let before = rest.get(..end)?.trim_ascii_end();
    (before.len() > 1 && before.last() == Some(&b'\'')).then_some((before.len(), sign))
}

/// A number as decimal text, without underscores.
fn number(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let radix = match text.get(..2) {
        Some(b"0x" | b"0X") => 16,
        Some(b"0o" | b"0O") => 8,
        Some(b"0b" | b"0B") => 2,
        _ => 10,
    };
    if radix == 10 && !text.contains(&b'_') {
        return Some(Cow::Borrowed(text));
    }
    let bare: String = text.iter().filter(|&&byte| byte != b'_').map(|&byte| char::from(byte)).collect();
    if radix == 10 {
        return Some(Cow::Owned(bare.into_bytes()));
    }
    let value = u128::from_str_radix(bare.get(2..)?, radix).ok()?;
    Some(Cow::Owned(value.to_string().into_bytes()))
}
