//! The home of literal values: from a place in the text to what it means.

use std::borrow::Cow;

use crate::LexSettings;
use crate::facts::Literal;

/// The value of a literal, unescaped; `None` if it cannot be surely decoded.
#[must_use]
pub fn literal_text(_sql: &[u8], _literal: Literal, _settings: LexSettings) -> Option<Cow<'_, [u8]>> {
    None
}
