//! SCRAM's grammar: `a=value` attributes between commas, nonces, and base64 of exact length.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{MAX_NONCE, ScramError};

/// Takes attributes off the front of a message, in the order that the grammar prescribes.
pub(super) struct Attributes<'a>(Option<&'a str>);

impl<'a> Attributes<'a> {
    pub(super) fn new(message: &'a str) -> Self {
        Self(Some(message))
    }

    /// The value of the next attribute, which must have this name.
    pub(super) fn expect(&mut self, name: char) -> Result<&'a str, ScramError> {
        match self.next()? {
            (found, value) if found == name => Ok(value),
            _ => Err(ScramError::Malformed("attribute is missing or out of order")),
        }
    }

    /// Name and value of the next attribute.
    pub(super) fn next(&mut self) -> Result<(char, &'a str), ScramError> {
        let rest = self.0.ok_or(ScramError::Malformed("message is too short"))?;
        let (attribute, rest) = match rest.split_once(',') {
            Some((attribute, rest)) => (attribute, Some(rest)),
            None => (rest, None),
        };
        self.0 = rest;
        let mut characters = attribute.chars();
        match (characters.next(), characters.next()) {
            (Some(name), Some('=')) if name.is_ascii_alphabetic() => Ok((name, characters.as_str())),
            _ => Err(ScramError::Malformed("attribute without name and value")),
        }
    }

    /// Is nothing left?
    pub(super) fn at_end(&self) -> bool {
        self.0.is_none()
    }
}

/// Text of a message; `=` and `,` and what follows are for the caller.
pub(super) fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.contains(&0) {
        return Err(ScramError::Malformed("message contains a zero byte"));
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("message is not valid UTF-8"))
}

/// A nonce of the peer: printable ASCII, neither missing nor of senseless length.
pub(super) fn check_nonce(nonce: &str) -> Result<&str, ScramError> {
    if nonce.is_empty() {
        return Err(ScramError::Malformed("nonce is missing"));
    }
    if nonce.len() > MAX_NONCE {
        return Err(ScramError::Malformed("nonce is too long"));
    }
    if !nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
        return Err(ScramError::Malformed("nonce has unprintable characters"));
    }
    Ok(nonce)
}

/// A nonce of our own: 18 random bytes as 24 printable characters.
pub(super) fn new_nonce() -> String {
    STANDARD.encode(rand::random::<[u8; 18]>())
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    STANDARD.decode(text).map_err(|_| ScramError::Malformed("value is not valid base64"))
}

pub(super) fn decode_key(text: &str) -> Result<[u8; 32], ScramError> {
    decode(text)?.try_into().map_err(|_| ScramError::Malformed("value is not of 32 bytes"))
}
